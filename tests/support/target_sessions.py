"""The sessions of a command in the target: hold them in their inserts, and end them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tests.support.builders import Scenario

RUN_SESSIONS: Final = (
    "SELECT pid FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'rogo_async'"
)
"""All sessions of the tool."""

LOCK_SESSIONS: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
"""The session that holds the run lock."""

_TABLE: Final = "lti_launch_sessions"
_WAITING_INSERTS: Final = (
    f"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{_TABLE}'::regclass"
)


async def end_sessions(target: asyncpg.Connection, sessions: str) -> int:
    """End sessions and wait until they are gone. Returns how many there were."""
    ended: int = await target.fetchval(
        f"SELECT count(pg_terminate_backend(pid, 30000)) FROM ({sessions}) AS found"
    )
    return ended


class HeldInserts:
    """Inserts that wait in the target for a table lock."""

    def __init__(self, observer: asyncpg.Connection) -> None:
        self._observer = observer

    async def wait_for(self, number: int) -> None:
        """Wait until at least that many are sent and wait."""
        while await self._observer.fetchval(_WAITING_INSERTS) < number:
            await asyncio.sleep(0.02)


@asynccontextmanager
async def held_inserts(scenario: Scenario) -> AsyncIterator[HeldInserts]:
    """In this block the inserts of submissions wait in the target."""
    async with scenario.target() as holder, scenario.target() as observer:
        await holder.execute(f"BEGIN; LOCK TABLE {_TABLE} IN SHARE MODE")
        yield HeldInserts(observer)
        await holder.execute("ROLLBACK")


async def until_waiting(scenario: Scenario, sessions: int) -> None:
    """Wait until this number of sessions wait for a lock in the target."""
    async with scenario.target() as target, asyncio.timeout(20):
        while sessions != await target.fetchval(
            "SELECT count(DISTINCT pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database()"
        ):
            await asyncio.sleep(0.01)
