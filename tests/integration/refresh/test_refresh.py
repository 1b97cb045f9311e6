"""``run --refresh``: what changes at the source arrives, what the platform changes stays.

Specification §5.
"""

import asyncio
import csv
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import INSERTED, REFERENCE, TABLES, Scenario, SourceSubmission
from tests.support.cli import CliResult, run_cli, start_cli, summary, table

SECTIONS = [
    *REFERENCE["assessment_sections"],
    {"id": "section-5-3", "assessment_id": "assessment-5", "question_text": "Question 3"},
]
GRADES = "submission_grades"
Change = Callable[[Scenario, int], Awaitable[None]]

ID_OF = "(SELECT id FROM assignment_submissions WHERE lti_launch_id LIKE 'rogo\\_{0}\\_%')"


def report(**values: object) -> Change:
    """Other values in the report of an attempt."""

    async def change(scenario: Scenario, attempt: int) -> None:
        async with scenario.warehouse() as warehouse:
            for column, value in values.items():
                await warehouse.execute(
                    f'UPDATE dbo."Rogo_AssessmentReport" SET "{column}" = $1 '
                    'WHERE "AttemptId" = $2',
                    value,
                    attempt,
                )

    return change


def scores(sql: str) -> Change:
    """A statement for the scores; ``{0}`` is the attempt."""

    async def change(scenario: Scenario, attempt: int) -> None:
        async with scenario.warehouse() as warehouse:
            await warehouse.execute(sql.format(attempt))

    return change


def platform(sql: str) -> Change:
    """A statement of the platform; ``{0}`` is the attempt, ``{id}`` its submission."""

    async def change(scenario: Scenario, attempt: int) -> None:
        async with scenario.target() as target:
            await target.execute(sql.replace("{id}", ID_OF).format(attempt))

    return change


def cell(column: str, text: str) -> Change:
    """Another text in a cell of the input; ``{0}`` is the text before."""

    async def change(scenario: Scenario, attempt: int) -> None:
        path = scenario.data_dir / "submission_files.csv"
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            if row["Attempt ID"] == str(attempt):
                row[column] = text.format(row[column])
        scenario.write_lines(list(row.values()) for row in rows)

    return change


def both(*changes: Change) -> Change:
    """Several changes."""

    async def change(scenario: Scenario, attempt: int) -> None:
        for each in changes:
            await each(scenario, attempt)

    return change


_SCORES = 'dbo."Rogo_AssessmentReportScores"'
REGRADED = report(Grade="Refer", MarksAchieved=12, GradePercent=20)
SOURCE = {
    "regraded": REGRADED,
    "new comment": scores(
        f"UPDATE {_SCORES} SET \"MarkerComment\" = 'better' "
        'WHERE "AttemptId" = {0} AND "ScoreLabelCorrected" = \'Question 1\''
    ),
    "score added": scores(
        f'INSERT INTO {_SCORES} ("AttemptId", "ScoreLabelCorrected", "Score", "DateInserted") '
        "VALUES ({0}, 'Question 3', 9, '2031-05-06')"
    ),
    "score removed": scores(
        f"DELETE FROM {_SCORES} "
        'WHERE "AttemptId" = {0} AND "ScoreLabelCorrected" = \'Question 1\''
    ),
    "malpractice lifted": report(Grade="Pass"),
    "malpractice changed": report(Grade="Malpractice Moderate"),
    "malpractice imposed": report(Grade="Malpractice Severe"),
    "e-mail corrected": cell("Learner Email", "ada@college.example"),
    "name corrected": cell("Surname", "Byron"),
}
PLATFORM = {
    "mark amended": platform(
        "UPDATE submission_section_marks SET marks_awarded = 19.5 WHERE submission_id = {id}"
    ),
    "note added": platform(
        "UPDATE submission_grades SET overall_summary = 'seen' WHERE submission_id = {id}"
    ),
    "all marks deleted": platform(
        "DELETE FROM submission_section_marks WHERE submission_id = {id}"
    ),
    "last mark deleted": platform(
        "DELETE FROM submission_section_marks WHERE section_id = 'section-5-2' "
        "AND submission_id = {id}"
    ),
    "last mark deleted and regraded": both(
        platform(
            "DELETE FROM submission_section_marks WHERE section_id = 'section-5-2' "
            "AND submission_id = {id}"
        ),
        REGRADED,
    ),
    "mark amended and regraded": both(
        platform(
            "UPDATE submission_section_marks SET marks_awarded = 19 WHERE submission_id = {id}"
        ),
        REGRADED,
    ),
    "notes on the marking and regraded": both(
        platform(
            "UPDATE submission_marking_assignments SET notes = 'x' WHERE submission_id = {id}"
        ),
        REGRADED,
    ),
    "limit raised on appeal": platform(
        "UPDATE malpractice_enforcements SET enforced_max_attempts = 9 WHERE submission_id = {id}"
    ),
}
FILES = {
    "file added": cell("Learner Azure Blob URLs", "{0},{0}?second"),
    "file renamed": cell("Learner File Names", "essay.txt"),
}
CHANGES = [*SOURCE.items(), *PLATFORM.items(), *FILES.items()]
OUTCOMES = {
    **dict.fromkeys(SOURCE, ("refresh", "")),
    **dict.fromkeys(PLATFORM, ("skip", "changed_on_platform")),
    **dict.fromkeys(FILES, ("skip", "files_changed")),
}
UNCHANGED = len(CHANGES) + 1
WITH_MALPRACTICE = {"malpractice lifted", "malpractice changed", "limit raised on appeal"}


def submission(scenario: Scenario, attempt: int, *, malpractice: bool) -> SourceSubmission:
    """Two scores, a learner file and feedback."""
    grade = "Malpractice Severe" if malpractice else "Pass"
    made = scenario.submission(attempt, Grade=grade)
    made.cells["Marker Azure Blob URLs"] = scenario.serve_file(f"{attempt}-feedback.docx")
    made.scores = [
        {
            "ScoreLabelCorrected": f"Question {number}",
            "Score": 20,
            "MarkerComment": "good",
            "DateInserted": INSERTED,
        }
        for number in (1, 2)
    ]
    return made


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """One migrated submission for each change, and one without."""
    made = Scenario(stack, workspace)
    names = [name for name, _ in CHANGES] + [""]
    await made.load(
        (
            submission(made, attempt, malpractice=name in WITH_MALPRACTICE)
            for attempt, name in enumerate(names, start=1)
        ),
        {**REFERENCE, "assessment_sections": SECTIONS},
    )
    result = await run_cli(env)
    assert result.code == 0, result.output
    return made


async def apply_changes(scenario: Scenario) -> None:
    for attempt, (_, change) in enumerate(CHANGES, start=1):
        await change(scenario, attempt)


async def refresh(env: dict[str, str], **settings: str) -> CliResult:
    result = await run_cli({**env, **settings}, "run", "--refresh")
    assert result.code == 0, result.output
    return result


async def rows(scenario: Scenario) -> dict[str, list[str]]:
    """All rows of the target, byte for byte."""
    return {name: sorted(map(repr, await scenario.rows(name))) for name in TABLES}


APART = {
    "id",
    "assigned_at",
    "azure_blob_name",
    "azure_blob_url",
    "file_url",
    "submission_id",
    "lti_session_record_id",
    "rule_applied_at",
}
"""What a fresh migration writes anew: ids, names of blobs, times of the first writing."""


async def content(scenario: Scenario, attempts: range) -> dict[str, list[str]]:
    """The rows of these attempts without ``APART``, by table."""
    async with scenario.target() as target:
        ids = {
            row["id"]: int(row["lti_launch_id"].split("_")[1])
            for row in await target.fetch("SELECT id, lti_launch_id FROM assignment_submissions")
        }
    found = {}
    for name in TABLES:
        apart = set(APART)
        if name == "malpractice_enforcements":
            apart |= {"created_at", "updated_at"}
        found[name] = sorted(
            repr({column: value for column, value in row.items() if column not in apart})
            for row in await scenario.rows(name)
            if attempt_of(row, ids) in attempts
        )
    return found


def attempt_of(row: dict[str, Any], ids: dict[str, int]) -> int:
    launch_id = row.get("launch_id") or row.get("lti_launch_id")
    return int(launch_id.split("_")[1]) if launch_id else ids[row["submission_id"]]


async def test_changes_of_the_source_arrive_as_a_fresh_migration_would_write_them(
    scenario: Scenario, env: dict[str, str]
) -> None:
    attempts = range(1, len(SOURCE) + 1)
    for attempt, change in zip(attempts, SOURCE.values(), strict=True):
        await change(scenario, attempt)
    before = await content(scenario, attempts)
    result = await refresh(env)
    assert f"0 migrated, {len(SOURCE)} refreshed, 0 failed" in result.stdout
    refreshed = await content(scenario, attempts)
    assert refreshed != before
    second = await refresh(env)
    assert "refreshed" not in second.stdout
    async with scenario.target() as target:
        await target.execute(f"TRUNCATE {', '.join(TABLES)}")
    assert (await run_cli(env)).code == 0
    assert refreshed == await content(scenario, attempts)


async def test_changes_of_the_platform_stay_byte_for_byte(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await apply_changes(scenario)
    planned = await run_cli(env, "plan", "--refresh")
    assert planned.code == 0, planned.output
    outcomes = {
        row["Attempt ID"]: (row["Outcome"], row["Code"])
        for row in table(scenario.data_dir / "plan.csv")
    }
    assert outcomes == {
        **{str(attempt): OUTCOMES[name] for attempt, (name, _) in enumerate(CHANGES, start=1)},
        str(UNCHANGED): ("skip", "already_migrated"),
    }
    others = range(len(SOURCE) + 1, UNCHANGED + 1)
    before = await content(scenario, others)
    await refresh(env)
    assert await content(scenario, others) == before
    found = summary(scenario.data_dir)
    assert (found["refreshed"], found["migrated"], found["failed"]) == (len(SOURCE), 0, 0)
    assert found["by_code"] == {
        "already_migrated": 1,
        "changed_on_platform": len(PLATFORM),
        "files_changed": len(FILES),
    }


async def test_a_rollback_puts_every_former_value_back(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await apply_changes(scenario)
    before = await rows(scenario)
    await refresh(env, ROGO_CONCURRENCY="5")
    refreshed = await rows(scenario)
    assert refreshed != before
    run_id = summary(scenario.data_dir)["run_id"]
    result = await run_cli(env, "rollback", "--run", run_id, "--yes")
    assert result.code == 0, result.output
    assert f"former values of {len(SOURCE)} refreshed submissions put back" in result.stdout
    assert await rows(scenario) == before
    again = await run_cli(env, "rollback", "--run", run_id, "--yes")
    assert (again.code, "nothing to roll back" in again.stdout) == (0, True), again.output
    await refresh(env, ROGO_CONCURRENCY="1")
    assert summary(scenario.data_dir)["refreshed"] == len(SOURCE)


async def test_a_change_of_the_platform_between_reading_and_writing_wins(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await REGRADED(scenario, 1)
    async with scenario.target() as platform_session, scenario.target() as observer:
        change = platform_session.transaction()
        await change.start()
        await platform_session.execute(
            "UPDATE submission_grades SET overall_summary = 'seen' WHERE submission_id = "
            + ID_OF.format(1)
        )
        async with start_cli(env, "run", "--refresh") as command:
            # The run has read the submission, and waits for the row's lock to write it.
            while not await observer.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name = 'rogo_async' AND wait_event_type = 'Lock'"
            ):
                assert command.process.returncode is None
                await asyncio.sleep(0.05)
            await change.commit()
            result = await command.wait()
    assert result.code == 0, result.output
    assert summary(scenario.data_dir)["by_code"]["changed_on_platform"] == 1
    assert summary(scenario.data_dir)["refreshed"] == 0
    grades = {row["overall_summary"]: row["final_grade"] for row in await scenario.rows(GRADES)}
    assert grades["seen"] == "Pass"
