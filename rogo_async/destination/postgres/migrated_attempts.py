"""Reads the attempts that are already in the target (rule 3), once per run, under its lock."""

from collections.abc import Awaitable, Callable
from typing import Final

from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.queries import query
from rogo_async.rules.identity import SQL_INT_MAX
from rogo_async.rules.row_filter import MigratedAttempts

_PREFETCH_ROWS: Final = 5_000
_SCAN_S: Final = 600.0


async def read_migrated_attempts(connections: Connections) -> MigratedAttempts:
    """Scan the three tables with launch ids. Raises a DependencyError."""
    existing = MigratedAttempts()
    async with connections.session("existing") as session, session.raw.transaction():
        rows = session.raw.cursor(
            query("existing_attempts").sql, prefetch=_PREFETCH_ROWS, timeout=_SCAN_S
        )
        async for attempt, has_submission in rows:
            if attempt <= SQL_INT_MAX:
                (existing.migrated if has_submission else existing.started).add(attempt)
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
