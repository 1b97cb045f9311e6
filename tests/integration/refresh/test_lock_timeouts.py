"""A lock that a refresh does not get in time: nothing stays locked, and the row is retried (§5)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.errors import TransientError
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.transactions import locked_transaction
from tests.support.builders import Scenario
from tests.support.cli import run_cli, start_cli, summary
from tests.support.rollback_fixtures import malpractice

TIMEOUT = "?lock_timeout=200ms"
ADVISORY_LOCKS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


@asynccontextmanager
async def one_connection(env: dict[str, str]) -> AsyncIterator[Connections]:
    url = DatabaseUrl.parse(env["DATABASE_URL"] + TIMEOUT)
    connections = await Connections.open(ConnectOptions.of(url), 1)
    try:
        yield connections
    finally:
        await connections.aclose()


async def lock_grades(connections: Connections, keys: list[int]) -> None:
    async with (
        connections.session("refresh", writing=True) as session,
        locked_transaction(session, keys),
    ):
        await session.raw.execute("LOCK TABLE submission_grades")


async def test_a_lock_timeout_leaves_no_lock(scenario: Scenario, env: dict[str, str]) -> None:
    """Neither one in the transaction, nor one for the second of two keys."""
    waits = ("BEGIN; LOCK TABLE submission_grades", "SELECT pg_advisory_lock(2)")
    ends = ("ROLLBACK", "SELECT pg_advisory_unlock(2)")
    async with (
        scenario.target() as platform,
        scenario.target() as observer,
        one_connection(env) as connections,
    ):
        for wait, end, others in zip(waits, ends, (0, 1), strict=True):
            await platform.execute(wait)
            with pytest.raises(TransientError):
                await lock_grades(connections, [1, 2, 3])
            assert await observer.fetchval(ADVISORY_LOCKS) == others
            await platform.execute(end)
            await lock_grades(connections, [1, 2, 3])
            assert await observer.fetchval(ADVISORY_LOCKS) == 0


async def waits_for_a_lock(observer: asyncpg.Connection) -> bool:
    """Whether a statement of the tool waits, which the lock timeout ends."""
    found: int = await observer.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'rogo_async' AND wait_event_type = 'Lock'"
    )
    return found > 0


async def test_a_refresh_that_waits_for_the_platform_is_retried(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([malpractice(scenario, 1, 1, "Moderate")])
    assert (await run_cli(env)).code == 0
    async with scenario.warehouse() as warehouse:
        await warehouse.execute('UPDATE dbo."Rogo_AssessmentReport" SET "Grade" = \'Pass\'')
    with_timeout = {**env, "DATABASE_URL": env["DATABASE_URL"] + TIMEOUT}
    async with scenario.target() as platform, scenario.target() as observer:
        await platform.execute("BEGIN; SELECT FROM submission_grades FOR UPDATE")
        async with start_cli(with_timeout, "run", "--refresh") as command:
            for state in (True, False, True):  # the first try has failed, the second one waits
                while await waits_for_a_lock(observer) is not state:
                    assert command.process.returncode is None
                    await asyncio.sleep(0.01)
            await platform.execute("ROLLBACK")
            result = await command.wait()
    assert result.code == 0, result.output
    found = summary(scenario.data_dir)
    assert (found["refreshed"], found["failed"], found["not_reached"]) == (1, 0, 0)
    assert found["retries"]["target.refresh"] >= 1
    assert await scenario.rows("malpractice_enforcements") == []
