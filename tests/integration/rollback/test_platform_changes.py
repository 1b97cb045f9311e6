"""``rollback`` keeps submissions that the platform has changed."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from rogo_async.common.errors import SetupError
from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.stack import WRITER, Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import table
from tests.support.rollback_fixtures import Picture, malpractice, migrate, picture, roll_back

UNTOUCHED = (1, 2, 3)
_SECTIONED = [
    {"ScoreLabelCorrected": "Question 1", "Score": 1},
    {"ScoreLabelCorrected": "Question 2", "Score": 2},
]

UNKNOWN_TABLES = """
    CREATE TABLE notes (
        id serial PRIMARY KEY,
        submission varchar REFERENCES assignment_submissions ON DELETE CASCADE);
    CREATE TABLE "Odd name" (
        "the Launch" text REFERENCES lti_launch_sessions (launch_id) ON DELETE SET NULL);
    CREATE TABLE appeals (grade varchar REFERENCES submission_grades);
    CREATE TABLE reviews (rule varchar REFERENCES malpractice_enforcements ON DELETE CASCADE);
    ALTER TABLE submission_files ADD copy_of varchar REFERENCES submission_files;
    ALTER TABLE lti_session_records ADD reopened varchar REFERENCES assignment_submissions;
"""
"""Tables and columns of the platform that this tool does not know."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change to one submission, by SQL in which $1 is its id, and the expected reason."""

    sql: str
    said: str


def update(table: str, column: str, value: str) -> Change:
    where = "id" if table == "assignment_submissions" else "submission_id"
    if table.startswith("lti_"):
        where, id_ = "launch_id", "(SELECT lti_launch_id FROM assignment_submissions WHERE id = $1)"
    else:
        id_ = "$1"
    sql = f"UPDATE {table} SET {column} = {value} WHERE {where} = {id_}"
    return Change(sql, f"{table}: a row was changed")


def delete(table: str, more: str = "") -> Change:
    return Change(
        f"DELETE FROM {table} WHERE submission_id = $1 {more}", f"{table}: a row was deleted"
    )


def add(table: str, columns: str = "", values: str = "") -> Change:
    return Change(
        f"INSERT INTO {table} (submission_id{columns}) VALUES ($1{values})",
        f"{table}: a row was added",
    )


def refer(table: str, sql: str) -> Change:
    return Change(sql, f"{table}: a row refers to the submission")


LAUNCH = "(SELECT lti_launch_id FROM assignment_submissions WHERE id = $1)"
CHANGES = [
    update("submission_grades", "final_grade", "'Pass'"),
    update("submission_grades", "final_grade", "final_grade"),
    update("assignment_submissions", "context_title", "'Renamed'"),
    update("submission_files", "turnitin_status", "'complete'"),
    update("submission_section_marks", "marks_awarded", "7"),
    update("submission_marking_assignments", "marking_status", "'on_hold'"),
    update("lti_launch_sessions", "custom_action", "'review'"),
    update("lti_session_records", "email", "'new@college.example'"),
    delete("submission_files"),
    delete("submission_grades"),
    delete("submission_marking_assignments"),
    delete("submission_section_marks", "AND section_id = 'section-5-1'"),
    add("submission_section_marks", ", section_id", ", 'section-5-1'"),
    add("submission_files", ", file_url", ", 'https://elsewhere.example/x'"),
    add("submission_marking_assignments"),
    Change(
        f"DELETE FROM lti_launch_sessions WHERE launch_id = {LAUNCH}",
        "lti_launch_sessions: a row was deleted",
    ),
    Change(
        "INSERT INTO assignment_submissions (lti_launch_id, lti_session_record_id) "
        "SELECT 'live', lti_session_record_id FROM assignment_submissions WHERE id = $1",
        "assignment_submissions: a row was added",
    ),
    Change(
        "INSERT INTO assignment_submissions (lti_launch_id) "
        "SELECT lti_launch_id FROM assignment_submissions WHERE id = $1",
        "assignment_submissions: a row was added",
    ),
    Change(
        f"UPDATE assignment_submissions SET lti_launch_id = {LAUNCH} || 'x' WHERE id = $1",
        "assignment_submissions: the launch id is of another tool",
    ),
    refer("notes", "INSERT INTO notes (submission) VALUES ($1)"),
    refer('"Odd name"', f'INSERT INTO "Odd name" SELECT {LAUNCH}'),
    refer(
        "appeals", "INSERT INTO appeals SELECT id FROM submission_grades WHERE submission_id = $1"
    ),
    refer(
        "submission_files",
        "INSERT INTO submission_files (file_url, copy_of) SELECT 'https://x.example', id "
        "FROM submission_files WHERE submission_id = $1",
    ),
    refer(
        "lti_session_records",
        "INSERT INTO lti_session_records (session_expiry, reopened) VALUES (now(), $1)",
    ),
]
NOT_KEPT = "malpractice_enforcements: no journal has the row as it was before it was overwritten"
RULE_CHANGES = [
    update("malpractice_enforcements", "enforced_max_attempts", "9"),
    update("malpractice_enforcements", "updated_at", "now()"),
    Change(
        "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, "
        "malpractice_level_id, rule_applied_by, submission_id) "
        "VALUES ('someone', 'X', 'level-minor', 'user-first', $1)",
        "malpractice_enforcements: a row was changed",
    ),
    refer(
        "reviews",
        "INSERT INTO reviews SELECT id FROM malpractice_enforcements WHERE submission_id = $1",
    ),
]
"""Changes to the malpractice rule of a submission."""


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    plain = [made.submission(100 + n) for n in range(len(CHANGES))]
    for each in plain:
        each.scores = list(_SECTIONED)
    ruled = [malpractice(made, 200 + n, 1, learner=n) for n in range(len(RULE_CHANGES))]
    await made.load([*map(made.submission, UNTOUCHED), *plain, *ruled])
    async with made.target() as target:
        await target.execute(UNKNOWN_TABLES)
        await target.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {WRITER}")
    return made


async def ids_of(scenario: Scenario) -> dict[int, str]:
    rows = await scenario.rows("assignment_submissions")
    return {int(row["lti_launch_id"].split("_")[1]): row["id"] for row in rows}


def same(before: Picture, after: Picture, attempt: int) -> bool:
    found = before.of(attempt)
    return after.of(attempt) == found and all(found)


async def test_each_change_keeps_only_its_submission(
    scenario: Scenario, env: dict[str, str]
) -> None:
    changes = dict(enumerate(CHANGES, 100)) | dict(enumerate(RULE_CHANGES, 200))
    run = await migrate(env, *UNTOUCHED, *changes)
    ids = await ids_of(scenario)
    async with scenario.target() as target:
        for attempt, change in changes.items():
            if "INSERT INTO malpractice" in change.sql:
                await target.execute(
                    "DELETE FROM malpractice_enforcements WHERE submission_id = $1", ids[attempt]
                )
            done = await target.execute(change.sql, ids[attempt])
            assert not done.endswith(" 0"), change
    before = await picture(scenario)
    result = await roll_back(env, run)
    assert result.code == 1
    said = {line.split()[1]: line.partition("kept: ")[2] for line in result.messages}
    assert said == {
        str(attempt): change.said.replace("enforcements: a row", "enforcements: the row")
        for attempt, change in changes.items()
    }
    after = await picture(scenario)
    assert [n for n in changes if not same(before, after, n)] == []
    assert all(after.of(attempt) == [[], []] for attempt in UNTOUCHED)
    again = await roll_back(env, run)
    assert (again.code, sorted(again.messages)) == (1, sorted(result.messages))
    assert await picture(scenario) == after


async def migrated(
    scenario: Scenario, env: dict[str, str], *attempts: int
) -> tuple[str, dict[int, str]]:
    return await migrate(env, *attempts), await ids_of(scenario)


async def test_rows_that_were_all_rewritten_are_kept(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """The state after a restore from a dump in one transaction."""
    run, _ = await migrated(scenario, env, 1, 2)
    async with scenario.target() as target, target.transaction():
        for name in (
            "lti_launch_sessions", "lti_session_records", "assignment_submissions",
            "submission_files", "submission_marking_assignments", "submission_grades",
        ):  # fmt: skip
            await target.execute(f"UPDATE {name} SET id = id")
    before = await picture(scenario)
    result = await roll_back(env, run)
    assert result.code == 1
    assert (
        len([line for line in result.messages if "rewrote the row together with others" in line])
        == 2
    )
    assert await picture(scenario) == before


async def test_the_rest_of_a_deleted_submission_is_kept(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """A launch session or a session record is enough."""
    _, ids = await migrated(scenario, env, 1, 2, 3, 100)
    async with scenario.target() as target:
        for attempt in (1, 2, 3):
            await target.execute("DELETE FROM assignment_submissions WHERE id = $1", ids[attempt])
        await target.execute("DELETE FROM lti_launch_sessions WHERE launch_id LIKE 'rogo_2_%'")
        await target.execute("DELETE FROM lti_session_records WHERE launch_id LIKE 'rogo_3_%'")
    before = await picture(scenario)
    result = await roll_back(env, [1, 2, 3, 100])
    assert sorted(result.messages) == [
        f"attempt {attempt}  kept: assignment_submissions: the row was deleted"
        for attempt in (1, 2, 3)
    ]
    after = await picture(scenario)
    for attempt in (1, 2, 3):
        assert after.of(attempt) == before.of(attempt)
    assert after.of(100) == [[], []]


async def platform_rule(scenario: Scenario, learner: int) -> None:
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, "
            "context_id, malpractice_level_id, rule_applied_by) "
            "VALUES ($1, '5AB01', $2, 'level-minor', 'user-first')",
            f"{DEMO_LMS.instance_id}::{learner}",
            f"{DEMO_LMS.instance_id}::81",
        )


async def test_without_the_journal_an_overwritten_rule_is_kept(
    scenario: Scenario, env: dict[str, str], tmp_path: Path
) -> None:
    await platform_rule(scenario, 0)
    empty = await picture(scenario)
    run, _ = await migrated(scenario, env, 200, 201)
    before = await picture(scenario)
    (journal,) = (scenario.data_dir / "runs").glob("*.journal.jsonl")
    hidden = journal.rename(tmp_path / "hidden")
    result = await roll_back(env, run)
    assert result.messages == [
        f"attempt 200  kept: {NOT_KEPT}",
    ]
    after = await picture(scenario)
    assert after.of(200) == before.of(200)
    assert after.of(201) == [[], []]
    hidden.rename(journal)
    assert (await roll_back(env, run)).code == 0
    assert await picture(scenario) == empty


MEANWHILE = {
    1: ("INSERT INTO notes (submission) VALUES ($1)", "notes: a row refers to the submission"),
    2: (
        "UPDATE submission_grades SET final_grade = 'Pass' WHERE submission_id = $1",
        "submission_grades: a row was changed",
    ),
    3: (
        "INSERT INTO submission_section_marks (submission_id) VALUES ($1)",
        "submission_section_marks: a row was added",
    ),
}


async def test_concurrent_changes_of_the_platform_are_not_lost(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """Its transaction commits while the deletion waits for it."""
    await migrate(env, *MEANWHILE)
    ids = await ids_of(scenario)
    async with scenario.target() as platform, scenario.target() as watcher:
        for attempt, (sql, said) in MEANWHILE.items():
            transaction = platform.transaction()
            await transaction.start()
            await platform.execute(sql, ids[attempt])
            rolling = asyncio.create_task(roll_back(env, [attempt]))
            async with asyncio.timeout(20):
                while not await watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND application_name = 'rogo_async rollback'"
                ):
                    await asyncio.sleep(0.02)
            await transaction.commit()
            before = await picture(scenario)
            result = await rolling
            assert result.messages == [f"attempt {attempt}  kept: {said}"]
            assert await picture(scenario) == before
    reports = [table(path) for path in (scenario.data_dir / "runs").glob("*.rollback.csv")]
    reasons = [row["Reason"] for report in reports for row in report]
    assert sorted(reasons) == sorted(said for _, said in MEANWHILE.values())


async def test_a_missing_right_is_found_before_anything_is_deleted(
    scenario: Scenario, env: dict[str, str]
) -> None:
    run, _ = await migrated(scenario, env, 1)
    before = await picture(scenario)
    for right in ("DELETE on submission_grades", "SELECT on notes"):
        async with scenario.target() as target:
            await target.execute(f"REVOKE {right} FROM {WRITER}")
        with pytest.raises(SetupError, match=right.replace(" on ", " right on ")):
            await roll_back(env, run)
    assert await picture(scenario) == before
