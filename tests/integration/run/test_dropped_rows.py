"""A platform that drops rows without an error: nothing is counted as written or deleted (rule 15).

A trigger that returns NULL, a rule, and row level security can make a statement write less than it
was asked to, without an error.
"""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import TABLES, Scenario
from tests.support.cli import FAILED, failures, run_cli, summary, table
from tests.support.rollback_fixtures import malpractice, migrate, picture, roll_back
from tests.support.target_changes import run_with_change

DROP = (
    "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;"
)
OF_SUBMISSION = tuple(name for name in TABLES if name != "malpractice_enforcements")


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


async def execute(scenario: Scenario, sql: str) -> None:
    async with scenario.target() as target:
        await target.execute(sql)


def trigger(name: str, event: str = "INSERT", condition: str = "true") -> str:
    return (
        f"{DROP} CREATE TRIGGER drop_row BEFORE {event} ON {name} "
        f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION drop_row()"
    )


async def load(scenario: Scenario) -> None:
    made = scenario.submission(1, Grade="Malpractice Severe")
    made.scores = [{"ScoreLabelCorrected": "Question 2", "Score": 3}]
    await scenario.load([made, scenario.submission(2)])


@pytest.mark.parametrize("name", TABLES)
async def test_a_trigger_that_drops_all_rows_of_a_table_is_found_at_start(
    scenario: Scenario, env: dict[str, str], name: str
) -> None:
    await load(scenario)
    await execute(scenario, trigger(name))
    result = await run_cli(env)
    assert result.code == 2, result.output
    (message,) = result.messages
    assert f"{name}: the target stored 0 of " in message
    assert "trigger" in message
    assert await scenario.nothing_written()
    assert f"{name}: the target stored 0 of " in (await run_cli(env, "check")).stdout


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("submission_files", "CREATE RULE r AS ON INSERT TO submission_files DO INSTEAD NOTHING"),
        (
            "malpractice_enforcements",
            "CREATE RULE r AS ON INSERT TO malpractice_enforcements DO INSTEAD NOTHING",
        ),
        (
            "malpractice_enforcements",
            "CREATE RULE r AS ON UPDATE TO malpractice_enforcements DO INSTEAD NOTHING",
        ),
        (
            "submission_grades",
            (
                "CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "DELETE FROM submission_grades WHERE id = NEW.id; RETURN NULL; END $$;"
                "CREATE TRIGGER undo AFTER INSERT ON submission_grades "
                "FOR EACH ROW EXECUTE FUNCTION undo()"
            ),
        ),
        (
            "submission_files",
            (
                "CREATE TABLE archive (LIKE submission_files);"
                "CREATE FUNCTION redirect() RETURNS trigger LANGUAGE plpgsql "
                "SECURITY DEFINER AS $$ BEGIN INSERT INTO archive SELECT NEW.*; "
                "RETURN NULL; END $$;"
                "CREATE TRIGGER redirect BEFORE INSERT ON submission_files "
                "FOR EACH ROW EXECUTE FUNCTION redirect()"
            ),
        ),
        (
            "malpractice_enforcements",
            (
                "ALTER TABLE malpractice_enforcements ENABLE ROW LEVEL SECURITY;"
                "CREATE POLICY r ON malpractice_enforcements FOR SELECT USING (true);"
                "CREATE POLICY i ON malpractice_enforcements FOR INSERT WITH CHECK (true)"
            ),
        ),
    ],
)
async def test_other_ways_to_drop_rows_are_found_at_start(
    scenario: Scenario, env: dict[str, str], name: str, sql: str
) -> None:
    await load(scenario)
    await execute(scenario, sql)
    result = await run_cli(env)
    assert result.code == 2, result.output
    (message,) = result.messages
    assert name in message
    assert await scenario.nothing_written()


@pytest.mark.parametrize("name", TABLES)
async def test_a_row_whose_rows_are_dropped_fails_and_leaves_nothing(
    scenario: Scenario, env: dict[str, str], name: str
) -> None:
    await load(scenario)
    condition = {
        "lti_launch_sessions": "NEW.launch_id LIKE 'rogo\\_1\\_%'",
        "lti_session_records": "NEW.launch_id LIKE 'rogo\\_1\\_%'",
        "assignment_submissions": "NEW.lti_launch_id LIKE 'rogo\\_1\\_%'",
        "submission_files": "NEW.file_name = '1.txt'",
        "submission_marking_assignments": "NEW.created_at > '2001-01-01'",
        "submission_section_marks": "NEW.marks_awarded = 3",
        "submission_grades": "NEW.malpractice_notes LIKE '% Severe'",
        "malpractice_enforcements": "NEW.lms_user_id LIKE '%::500001'",
    }[name]
    await execute(scenario, trigger(name, condition=condition))
    result = await run_cli(env)
    assert result.code == 1, result.output
    failed = failures(scenario.data_dir / FAILED)
    both = name == "submission_marking_assignments"
    assert failed == dict.fromkeys("12" if both else "1", "target_refused")
    for row in table(scenario.data_dir / FAILED):
        assert f"{name}: the target stored 0 of 1 rows" in row["Error"]
    assert await scenario.attempts() == ([] if both else [2])
    for each in OF_SUBMISSION:
        found = await scenario.rows(each)
        assert len(found) == (0 if both or each == "submission_section_marks" else 1)
    assert {blob.split("/")[1] for blob in await scenario.blobs()} == (
        set() if both else {"rogo_2"}
    )


async def test_a_trigger_that_appears_during_the_run_ends_it_and_no_row_fails(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(n) for n in (1, 2, 3)])
    result = await run_with_change(scenario, env, trigger("submission_files"))
    assert result.code == 3, result.output
    assert "submission_files: the target stored 0 of" in result.stdout
    found = summary(scenario.data_dir)
    assert (found["failed"], found["migrated"], found["not_reached"]) == (0, 0, 3)
    for name in TABLES:
        assert await scenario.rows(name) == []


@pytest.mark.parametrize("name", TABLES)
async def test_a_rollback_keeps_a_submission_whose_rows_are_not_deleted(
    scenario: Scenario, env: dict[str, str], name: str
) -> None:
    made = malpractice(scenario, 1, 1)
    made.scores = [{"ScoreLabelCorrected": "Question 2", "Score": 3}]
    await scenario.load([made])
    await migrate(env)
    await execute(scenario, trigger(name, "DELETE"))
    before = await picture(scenario)
    ended = await roll_back(env, [1])
    assert ended.code == 1, ended
    assert any(name in message for message in ended.messages), ended
    assert await picture(scenario) == before


async def test_a_rollback_keeps_a_submission_whose_rule_cannot_be_restored(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([malpractice(scenario, 1, 1), malpractice(scenario, 2, 2)])
    await migrate(env, 1)
    await migrate(env, 2)
    await execute(scenario, trigger("malpractice_enforcements", "UPDATE"))
    before = await picture(scenario)
    ended = await roll_back(env, [2])
    assert ended.code == 1, ended
    assert any("malpractice_enforcements" in message for message in ended.messages), ended
    assert await picture(scenario) == before
