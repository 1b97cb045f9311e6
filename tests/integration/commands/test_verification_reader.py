"""``verify`` reads every submission, and compares every part of it (specification §2)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final

import pytest

from rogo_async.commands.verify.comparison import Verdict, compare_rows
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency
from rogo_async.common.shutdown import StopSignal
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres import verification as module
from rogo_async.destination.postgres.verification import SubmissionRow, VerificationReader
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.rules.identity import attempt_of_launch_id
from tests.support.builders import Scenario
from tests.support.rollback_fixtures import malpractice, migrate, settings_of

COUNT: Final = 3
TIMES: Final = {
    "assignment_submissions": ("submitted_at", "created_at", "updated_at"),
    "lti_launch_sessions": ("created_at",),
    "lti_session_records": ("created_at",),
    "submission_files": ("uploaded_at",),
    "submission_marking_assignments": ("status_updated_at", "created_at", "updated_at"),
    "submission_section_marks": ("created_at", "updated_at"),
    "submission_grades": ("completed_at", "created_at", "updated_at"),
}
"""The columns with times of the sources, in the order in which ``verify`` names them."""


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """Migrated submissions; the first has malpractice and marks."""
    made = Scenario(stack, workspace)
    first = malpractice(made, 1, 1)
    first.scores = [{"ScoreLabelCorrected": "Question 1", "Score": 1}]
    await made.load([first, *(made.submission(attempt) for attempt in range(2, COUNT + 1))])
    await migrate(env, *range(1, COUNT + 1))
    return made


@pytest.fixture
async def reader(
    scenario: Scenario,
    env: dict[str, str],
) -> AsyncIterator[VerificationReader]:
    async with AsyncExitStack() as opened:
        factory = ServiceFactory(settings_of(env), StopSignal(), CallStats(), opened)
        connections = await factory.connections()
        breaker = factory.breaker(Dependency.TARGET, connections.probe)
        yield VerificationReader(connections, breaker)


async def rows(reader: VerificationReader) -> dict[int | None, SubmissionRow]:
    """All submissions by attempt; each is read once."""
    found = [row async for page in reader.pages(None) for row in page]
    by_attempt = {attempt_of_launch_id(row.launch_id): row for row in found}
    assert len(found) == len(by_attempt) == COUNT
    return by_attempt


async def verdicts(reader: VerificationReader) -> dict[int | None, set[Verdict]]:
    found = {
        attempt: {problem.verdict for problem in compare_rows(row)}
        for attempt, row in (await rows(reader)).items()
    }
    return {attempt: some for attempt, some in found.items() if some}


async def test_each_part_of_the_key_counts(scenario: Scenario, reader: VerificationReader) -> None:
    """User, course and assessment of the launch, of the session, and of the malpractice rule."""
    disagree, missing = Verdict.RECORDS_DISAGREE, Verdict.ENFORCEMENT_MISSING
    tables = {
        "lti_launch_sessions": ("user_id", disagree),
        "lti_session_records": ("lms_user_id", disagree),
        "malpractice_enforcements": ("lms_user_id", missing),
    }
    assert await verdicts(reader) == {}
    async with scenario.target() as target:
        for table, (user, verdict) in tables.items():
            where = "true" if verdict is missing else "launch_id LIKE 'rogo\\_1\\_%'"
            for column in (user, "context_id", "custom_assessment_code"):
                set_column = f"UPDATE {table} SET {column} = $1 WHERE {where}"
                before = await target.fetchval(f"SELECT {column} FROM {table} WHERE {where}")
                await target.execute(set_column, "another")
                assert await verdicts(reader) == {1: {verdict}}, (table, column)
                await target.execute(set_column, before)
    assert await verdicts(reader) == {}


async def test_each_time_that_is_infinite_is_named(
    scenario: Scenario, reader: VerificationReader
) -> None:
    named = {f"{table}.{column}" for table, columns in TIMES.items() for column in columns}
    async with scenario.target() as target:
        for number, sign in enumerate(("", "-")):
            for table, columns in TIMES.items():
                chosen = columns[number:] or columns
                values = ", ".join(f"{column} = '{sign}infinity'" for column in chosen)
                await target.execute(f"UPDATE {table} SET {values}")
            found = (await rows(reader))[1].infinite_times
            assert set(found.split(", ")) == named


async def test_rows_of_other_submissions_are_not_mixed_in(
    scenario: Scenario, reader: VerificationReader
) -> None:
    async with scenario.target() as target:
        await target.execute(
            "DELETE FROM submission_grades USING assignment_submissions s "
            "WHERE submission_id = s.id AND lti_launch_id LIKE 'rogo\\_2\\_%'"
        )
        await target.execute(
            "UPDATE submission_files SET upload_order = 2 FROM assignment_submissions s "
            "WHERE submission_id = s.id AND lti_launch_id LIKE 'rogo\\_3\\_%'"
        )
    assert await verdicts(reader) == {2: {Verdict.GRADE_MISSING}, 3: {Verdict.FILE_ROWS_WRONG}}


async def test_every_submission_is_read_over_several_pages(
    reader: VerificationReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 1)
    pages = [page async for page in reader.pages(None)]
    assert [len(page) for page in pages] == [1] * COUNT
    assert set(await rows(reader)) == set(range(1, COUNT + 1))
    assert await reader.total() == COUNT
    some = await reader.sample(2)
    assert len(set(some)) == 2
    assert [row.id async for page in reader.pages(some) for row in page] == sorted(some)


async def test_a_launch_or_a_session_without_a_submission_is_found(
    scenario: Scenario, reader: VerificationReader
) -> None:
    assert await reader.launches_without_submission() == []
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
            "VALUES ('rogo_7_a', 'k', now()), ('live-1', 'k', now())"
        )
        await target.execute(
            "INSERT INTO lti_session_records (launch_id, session_expiry) "
            "VALUES ('rogo_8_b', now()), ('live-2', now())"
        )
    assert sorted(await reader.launches_without_submission()) == ["rogo_7_a", "rogo_8_b"]
