"""Reads the attempts that are already in the target (rule 3), once per run, under its lock."""

from collections.abc import Awaitable, Callable
from typing import Final

from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.queries import query
from rogo_async.rules.identity import SQL_INT_MAX
from rogo_async.rules.row_filter import MigratedAttempts

_PREFETCH_ROWS: Final = 5_000
_SCAN_S: Final = 600.0


async def read_migrated_attempts(
    connections: Connections, on_attempts: Callable[[int], object]
) -> MigratedAttempts:
    """Scan the three tables with launch ids. Raises a DependencyError.

    ``on_attempts`` receives the number of attempts read so far.
    """
    count = 0
    existing = MigratedAttempts()
    async with connections.session("existing") as session, session.raw.transaction():
        rows = session.raw.cursor(
            query("existing_attempts").sql, prefetch=_PREFETCH_ROWS, timeout=_SCAN_S
        )
        async for attempt, has_submission in rows:
            if attempt <= SQL_INT_MAX:
                (existing.migrated if has_submission else existing.started).add(attempt)
            count += 1
            if count % _PREFETCH_ROWS == 0:
                on_attempts(count)
    return existing


async def export_migrated(
    connections: Connections, sink: Callable[[bytes], Awaitable[None]]
) -> None:
    """Write migrated.csv with its header from the target's rows.

    Raises a DependencyError.
    """
    async with connections.session("export") as session:
        await session.raw.copy_from_query(
            query("migrated_rows").sql,
            output=sink,
            format="csv",
            header=True,
            encoding="utf-8",
            timeout=_SCAN_S,
        )
