"""The isolation level that the platform set for its database changes no result (rule 13, §5).

Each transaction that depends on its level names it. A statement by itself takes the level of the
database: with a higher one than READ COMMITTED it fails with 40001 in a race, and is repeated.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.writer import Writer, WriteResult, lock_key
from rogo_async.rules.identity import identify
from tests.support.builders import REFERENCE, Scenario
from tests.support.rollback_fixtures import malpractice, migrate, picture, roll_back
from tests.support.target_sessions import until_waiting
from tests.support.writing import LMS, NO_FILES, Finding, open_writer, prepared

HIGHER = ("repeatable read", "serializable")
KEY = {"lms_user_id": "inst::one", "assessment_code": "5AB01", "context_id": "inst::81"}


async def set_level(scenario: Scenario, level: str) -> None:
    async with scenario.target() as target:
        await target.execute(
            f'ALTER DATABASE "{scenario.workspace.target}" '
            f"SET default_transaction_isolation = '{level}'"
        )


@pytest.fixture(params=HIGHER)
async def scenario(request: pytest.FixtureRequest, stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([], REFERENCE)
    await set_level(made, request.param)
    return made


@pytest.fixture
async def writers(scenario: Scenario, tmp_path: Path) -> AsyncIterator[tuple[Writer, Writer]]:
    dsn = scenario.stack.writer_dsn(scenario.workspace)
    async with open_writer(dsn, tmp_path / "one") as one, open_writer(dsn, tmp_path / "two") as two:
        yield one, two


@asynccontextmanager
async def held(scenario: Scenario, statement: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of the platform that holds a lock; it ends with the block."""
    async with scenario.target() as platform, platform.transaction():
        await platform.execute(statement)
        yield platform


async def test_a_rule_that_is_committed_before_the_lock_is_seen(
    scenario: Scenario, writers: tuple[Writer, Writer]
) -> None:
    """The snapshot is not older than the lock: no second rule for the key, and none overwritten."""
    submission, identity = prepared(Finding(1, 2, "severe"), "one"), identify(1, "run", "inst")
    async with held(scenario, f"SELECT pg_advisory_xact_lock({lock_key(KEY)})") as other_run:
        writing = asyncio.create_task(writers[0].write(submission, NO_FILES, identity))
        await until_waiting(scenario, 1)
        await other_run.execute(
            "INSERT INTO malpractice_enforcements (id, lms_user_id, custom_assessment_code, "
            "context_id, malpractice_level_id, attempt_number, rule_applied_by) "
            "VALUES ('theirs', $1, $2, $3, 'level-minor', 5, 'user-late')",
            *KEY.values(),
        )
    assert await writing is WriteResult.INSERTED
    (rule,) = await scenario.rows("malpractice_enforcements")
    assert (rule["id"], rule["attempt_number"]) == ("theirs", 5)


async def test_an_attempt_that_two_runs_write_at_once_has_one_submission(
    scenario: Scenario, writers: tuple[Writer, Writer]
) -> None:
    with_rule = prepared(Finding(1, 2, "severe"), "one")
    for attempt, submission in enumerate((with_rule, replace(with_rule, malpractice=None)), 1):
        identities = [identify(attempt, run, LMS.instance_id) for run in ("one", "two")]
        async with held(scenario, "LOCK TABLE lti_launch_sessions IN SHARE MODE"):
            writing = [
                asyncio.create_task(writer.write(submission, NO_FILES, identity))
                for writer, identity in zip(writers, identities, strict=True)
            ]
            await until_waiting(scenario, 2)
        results = await asyncio.gather(*writing)
        assert set(results) == {WriteResult.INSERTED, WriteResult.ALREADY_EXISTS}
        winner = identities[results.index(WriteResult.INSERTED)]
        rows = await scenario.rows("assignment_submissions")
        found = [row["id"] for row in rows if row["lti_launch_id"] == winner.launch_id]
        assert found == [winner.submission_id]


async def test_runs_and_rollbacks_have_the_same_result(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load(malpractice(scenario, attempt, attempt) for attempt in range(1, 5))
    await set_level(scenario, HIGHER[-1])
    empty = await picture(scenario)
    await migrate(env, 1, 2)
    some = await picture(scenario)
    run = await migrate(env, 3, 4)
    (rule,) = await scenario.rows("malpractice_enforcements")
    assert rule["attempt_number"] == 4
    assert (await roll_back(env, run)).code == 0
    (rule,) = await scenario.rows("malpractice_enforcements")
    assert rule["attempt_number"] == 2
    assert len((await picture(scenario)).blobs) == len(some.blobs) == 2
    assert (await roll_back(env, [1, 2])).code == 0
    assert await picture(scenario) == empty
