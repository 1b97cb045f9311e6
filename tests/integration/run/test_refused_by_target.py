"""The target refuses the statement or our constants, not the values of a row (rule 15)."""

from collections.abc import AsyncIterator
from importlib import resources

import asyncpg
import pytest

from rogo_async.demo.servers import schema
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import TABLES, Scenario
from tests.support.cli import FAILED, failures, run_cli, summary
from tests.support.target_changes import run_with_change

AT_START = {
    "enum_label_renamed": (
        "ALTER TYPE marking_status RENAME VALUE 'released' TO 'published'",
        ("submission_marking_assignments", "column marking_status", "released"),
    ),
    "file_type_label_renamed": (
        "ALTER TYPE submission_file_type RENAME VALUE 'feedback' TO 'returned'",
        ("submission_files", "column submission_file_type", "feedback"),
    ),
    "enum_renamed": (
        "ALTER TYPE marking_status RENAME TO state_of_marking",
        ("submission_marking_assignments", "column marking_status"),
    ),
    "generated_column": (
        (
            "ALTER TABLE submission_grades DROP COLUMN final_grade;"
            "ALTER TABLE submission_grades ADD COLUMN final_grade text "
            "GENERATED ALWAYS AS (overall_summary) STORED"
        ),
        ("submission_grades", "final_grade (generated)"),
    ),
    "identity_column": (
        (
            "ALTER TABLE assignment_submissions DROP COLUMN attempt_number;"
            "ALTER TABLE assignment_submissions ADD COLUMN attempt_number int "
            "GENERATED ALWAYS AS IDENTITY"
        ),
        ("assignment_submissions", "attempt_number (generated)"),
    ),
    "text_became_integer": (
        "ALTER TABLE submission_files ALTER file_size TYPE integer USING 0",
        ("table submission_files", "column file_size"),
    ),
    "time_became_date": (
        "ALTER TABLE submission_grades ALTER completed_at TYPE date",
        ("submission_grades", "completed_at (date)"),
    ),
    "marks_became_integer": (
        "ALTER TABLE submission_section_marks ALTER marks_awarded TYPE integer",
        ("submission_section_marks", "marks_awarded (integer)"),
    ),
    "row_level_security": (
        "ALTER TABLE lti_session_records ENABLE ROW LEVEL SECURITY",
        ("lti_session_records", "row level security"),
    ),
    "row_level_security_on_reference_data": (
        (
            "ALTER TABLE assessments ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY part ON assessments USING (code LIKE 'x%')"
        ),
        ("assessments", "row level security", "BYPASSRLS"),
    ),
    "row_level_security_on_insert": (
        (
            "ALTER TABLE submission_grades ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY r ON submission_grades FOR SELECT USING (true)"
        ),
        ("submission_grades", "42501"),
    ),
    "check_of_a_constant": (
        (
            "ALTER TABLE submission_files ADD CONSTRAINT known "
            "CHECK (turnitin_status IN ('complete', 'none'))"
        ),
        ("submission_files", "constraint known"),
    ),
    "domain_of_a_constant": (
        (
            "CREATE DOMAIN action AS text CHECK (VALUE IN ('launch'));"
            "ALTER TABLE lti_session_records ALTER custom_action TYPE action"
        ),
        ("23514", "action_check"),
    ),
    "key_of_a_constant": (
        (
            "CREATE TABLE consumers (consumer_key text PRIMARY KEY);"
            "ALTER TABLE lti_launch_sessions ADD CONSTRAINT consumer "
            "FOREIGN KEY (consumer_key) REFERENCES consumers"
        ),
        ("lti_launch_sessions", "constraint consumer"),
    ),
    "constant_too_long": (
        "ALTER TABLE lti_session_records ALTER role TYPE varchar(4)",
        ("table lti_session_records", "column role"),
    ),
    "required_column_that_stays_empty": (
        "ALTER TABLE submission_grades ALTER marker_id SET NOT NULL",
        ("table submission_grades", "column marker_id"),
    ),
    "column_right_missing": (
        (
            "REVOKE INSERT ON submission_grades FROM rogo_writer;"
            "GRANT INSERT (id) ON submission_grades TO rogo_writer"
        ),
        ("submission_grades", "Grant"),
    ),
    "admin_is_no_label": (
        "ALTER TYPE user_role RENAME VALUE 'admin' TO 'administrator'",
        ("admin", "ROGO_MIGRATION_USER_ID"),
    ),
    "read_only_database": (
        'ALTER DATABASE "{database}" SET default_transaction_read_only = on',
        ("read-only", "default_transaction_read_only"),
    ),
    "read_only_role": (
        'ALTER ROLE rogo_writer IN DATABASE "{database}" SET default_transaction_read_only = on',
        ("read-only", "default_transaction_read_only"),
    ),
    "view_that_accepts_no_rows": (
        (
            "ALTER TABLE submission_files RENAME TO all_files;"
            "CREATE VIEW submission_files AS SELECT DISTINCT * FROM all_files;"
            "GRANT ALL ON submission_files TO rogo_writer"
        ),
        ("submission_files",),
    ),
    "key_missing": (
        "ALTER TABLE lti_launch_sessions DROP CONSTRAINT lti_launch_sessions_launch_id_key",
        ("42P10",),
    ),
    "levels_without_text": (
        "ALTER TABLE malpractice_levels ALTER sort_order TYPE json USING NULL",
        ("target", "42883"),
    ),
}


END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE application_name = 'rogo_async' AND datname = current_database()"
)


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


async def execute(scenario: Scenario, sql: str) -> None:
    async with scenario.target() as target:
        await target.execute(sql.replace("{database}", scenario.workspace.target))


@pytest.mark.parametrize("name", AT_START)
async def test_what_is_certain_at_start_ends_the_run_before_a_file_moves(
    scenario: Scenario, env: dict[str, str], name: str
) -> None:
    sql, says = AT_START[name]
    await scenario.load([scenario.submission(1)])
    await execute(scenario, sql)
    result = await run_cli(env)
    assert result.code == 2, result.output
    assert "Traceback" not in result.output
    assert result.events("internal error") == []
    (message,) = result.messages
    for text in says:
        assert text in message, message
    assert scenario.source.requests == []
    assert await scenario.nothing_written()
    checked = await run_cli(env, "check")
    assert checked.code in {1, 2}, checked.output


@pytest.fixture
async def ascii_target(
    scenario: Scenario, env: dict[str, str]
) -> AsyncIterator[asyncpg.Connection]:
    """A target with the encoding SQL_ASCII; ``env`` points to it."""
    name = f"{scenario.workspace.target}_ascii"
    async with scenario.target() as target:
        await target.execute(
            f"CREATE DATABASE \"{name}\" TEMPLATE template0 ENCODING 'SQL_ASCII' "
            "LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        connection = await asyncpg.connect(scenario.stack.postgres.dsn(name))
        for file in ("target.sql", "target_grants.sql"):
            await connection.execute((resources.files(schema) / file).read_text(encoding="utf-8"))
        env["DATABASE_URL"] = env["DATABASE_URL"].replace(scenario.workspace.target, name)
        yield connection
        await connection.close()
        await target.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


async def test_a_text_that_is_not_utf8_names_its_column(
    scenario: Scenario, env: dict[str, str], ascii_target: asyncpg.Connection
) -> None:
    await scenario.load([scenario.submission(1)])
    await ascii_target.execute(
        "INSERT INTO users (id, role) VALUES ('u', 'admin');"
        "INSERT INTO assessments (id, name, code) "
        r"VALUES ('a', convert_from('\xe9'::bytea, 'SQL_ASCII'), 'x')"
    )
    result = await run_cli(env)
    assert result.code == 2, result.output
    assert "assessments.name" in result.messages[0]
    assert "UTF-8" in result.messages[0]
    assert "Traceback" not in result.output
    assert await scenario.blobs() == []
    assert "SQL_ASCII" in (await run_cli(env, "check")).stdout


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("ALTER TABLE submission_grades DROP COLUMN final_grade", "column final_grade"),
        ("REVOKE INSERT ON submission_files FROM rogo_writer", "submission_files"),
        (
            "ALTER TABLE submission_files ALTER file_size TYPE integer USING 0",
            "table submission_files, column file_size",
        ),
        (
            "ALTER TABLE submission_grades ADD CONSTRAINT late CHECK (final_grade = 'x') NOT VALID",
            "constraint late",
        ),
        ('ALTER DATABASE "{database}" SET default_transaction_read_only = on', "read-only"),
    ],
)
async def test_a_change_during_the_run_ends_it_soon_and_no_row_fails(
    scenario: Scenario, env: dict[str, str], sql: str, says: str
) -> None:
    await scenario.load([scenario.submission(n) for n in (1, 2, 3)])
    statements = [sql.replace("{database}", scenario.workspace.target)]
    if "DATABASE" in sql:
        statements.append(END_SESSIONS)  # new sessions have the setting
    result = await run_with_change(scenario, {**env, "ROGO_OUTAGE_LIMIT": "12"}, *statements)
    assert result.code == 3, result.output
    assert says in result.stdout, result.stdout
    found = summary(scenario.data_dir)
    assert (found["failed"], found["migrated"], found["not_reached"]) == (0, 0, 3)
    assert list(found["stopped_by"]) == ["outage"]
    for name in TABLES:
        assert await scenario.rows(name) == []


@pytest.mark.parametrize(
    ("sql", "undo"),
    [
        (
            "ALTER TABLE submission_files RENAME TO away",
            "ALTER TABLE away RENAME TO submission_files",
        ),
        (
            "REVOKE INSERT ON submission_files FROM rogo_writer",
            "GRANT INSERT ON submission_files TO rogo_writer",
        ),
    ],
)
async def test_a_brief_change_costs_no_row(
    scenario: Scenario, env: dict[str, str], sql: str, undo: str
) -> None:
    await scenario.load([scenario.submission(n) for n in (1, 2, 3)])
    result = await run_with_change(scenario, env, sql, undo, undo_after="outage began")
    assert result.code == 0, result.output
    assert await scenario.attempts() == [1, 2, 3]


@pytest.mark.parametrize(
    "sql",
    [
        (
            "CREATE FUNCTION reject() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'no' USING ERRCODE = 'QX001'; END $$;"
            "CREATE TRIGGER reject BEFORE INSERT ON submission_files FOR EACH ROW "
            "WHEN (NEW.file_name = '1.txt') EXECUTE FUNCTION reject()"
        ),
        (
            "ALTER TABLE submission_files ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY r ON submission_files FOR SELECT USING (true);"
            "CREATE POLICY i ON submission_files FOR INSERT WITH CHECK (file_name <> '1.txt')"
        ),
        "ALTER TABLE submission_files ADD CHECK (file_name <> '1.txt')",
        "ALTER TABLE submission_files ALTER file_name TYPE varchar(8)",
    ],
)
async def test_a_refusal_that_depends_on_the_row_fails_this_row_only(
    scenario: Scenario, env: dict[str, str], sql: str
) -> None:
    await scenario.load([scenario.submission(1), scenario.submission(2)])
    if "varchar" in sql:
        scenario.serve_file("a-long-name.txt", b"text")
        first = scenario.submission(1)
        first.cells["Learner Azure Blob URLs"] = scenario.source.url("/a-long-name.txt")
        scenario.write_lines([first.line(), scenario.submission(2).line()])
    await execute(scenario, sql)
    result = await run_cli(env)
    assert result.code == 1, result.output
    assert failures(scenario.data_dir / FAILED) == {"1": "target_refused"}
    assert await scenario.attempts() == [2]
    assert {blob.split("/")[1] for blob in await scenario.blobs()} == {"rogo_2"}


async def test_a_rejection_of_the_test_submission_alone_does_not_stop_a_run(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(1)])
    await execute(
        scenario,
        "ALTER TABLE lti_session_records ADD CONSTRAINT college "
        "CHECK (email LIKE '%@college.example')",
    )
    result = await run_cli(env)
    assert result.code == 0, result.output
    (event,) = result.events("test submission rejected")
    assert "college" in event["reason"]
    assert await scenario.attempts() == [1]


async def test_a_required_column_that_a_trigger_fills_is_no_problem(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(1)])
    await execute(
        scenario,
        "ALTER TABLE submission_files ADD COLUMN tenant text NOT NULL;"
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN NEW.tenant := 'x'; RETURN NEW; END $$;"
        "CREATE TRIGGER fill BEFORE INSERT ON submission_files "
        "FOR EACH ROW EXECUTE FUNCTION fill()",
    )
    assert (await run_cli(env, "check")).code == 0
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == [1]
