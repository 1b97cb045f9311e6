"""Reads the migrated rows in the target once, for the command ``status``."""

import heapq
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.lock_claims import LOCK_KEY
from rogo_async.destination.postgres.queries import query
from rogo_async.rules.identity import attempt_of_launch_id, launch_id
from rogo_async.rules.row_filter import MigratedAttempts

_PREFETCH_ROWS: Final = 5_000
_SCAN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RecentSubmission:
    """A submission of this tool; ``written_at`` is None if the target does not have the time."""

    attempt: int
    submission_id: str
    written_at: datetime | None


@dataclass(frozen=True, slots=True)
class LockHolder:
    """The session that holds the run lock, and its start; None if they are not visible."""

    name: str | None
    since: datetime | None


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """Counts of migrated rows, the latest (newest first), all attempts, and the lock holder."""

    submissions: int
    of_another_tool: int
    files: int
    malpractice_rules: int
    latest: tuple[RecentSubmission, ...]
    existing: MigratedAttempts
    holder: LockHolder | None


async def read_target_status(
    connections: Connections, instance_id: str, latest: int, on_rows: Callable[[int], object]
) -> TargetStatus:
    """Read each table once. Files and rules belong to submissions of this tool.

    ``on_rows`` receives the number of rows read since it was last called. Raises a
    DependencyError.
    """
    ours = others = files = rules = 0
    newest: list[tuple[float, int, RecentSubmission]] = []
    existing = MigratedAttempts()
    async with connections.session("state") as session, session.raw.transaction(readonly=True):
        async for row in _scan(session, "migrated_submissions", on_rows):
            attempt = attempt_of_launch_id(row["launch_id"])
            if attempt is not None:
                existing.migrated.add(attempt)
            if attempt is None or row["launch_id"] != launch_id(attempt, instance_id):
                others += 1
                continue
            ours += 1
            files += row["files"]
            rules += row["rules"]
            at: datetime | None = row["written_at"]
            migration = RecentSubmission(attempt, row["id"], at)
            heapq.heappush(newest, (at.timestamp() if at else 0.0, ours, migration))
            if len(newest) > latest:
                heapq.heappop(newest)
        async for row in _scan(session, "started_attempts", on_rows):
            if (attempt := attempt_of_launch_id(row["launch_id"])) is not None:
                existing.started.add(attempt)
        found = await session.row("lock_holder", LOCK_KEY)
    return TargetStatus(
        submissions=ours,
        of_another_tool=others,
        files=files,
        malpractice_rules=rules,
        latest=tuple(migration for _, _, migration in sorted(newest, reverse=True)),
        existing=existing,
        holder=None if found is None else LockHolder(found["name"], found["since"]),
    )


async def _scan(
    session: Session, name: str, on_rows: Callable[[int], object]
) -> AsyncIterator[Any]:
    rows = session.raw.cursor(query(name).sql, prefetch=_PREFETCH_ROWS, timeout=_SCAN_S)
    count = 0
    async for row in rows:
        yield row
        count += 1
        if count % _PREFETCH_ROWS == 0:
            on_rows(_PREFETCH_ROWS)
    on_rows(count % _PREFETCH_ROWS)
