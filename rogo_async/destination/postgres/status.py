"""Counts the migrated rows in the target, for the command ``status``."""

import heapq
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.run_lock import LOCK_KEY
from rogo_async.rules.identity import attempt_of_launch_id, launch_id

_PREFETCH_ROWS: Final = 5_000
_SCAN_S: Final = 120.0


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
    """Counts of migrated rows, the latest submissions (newest first), and the lock holder."""

    submissions: int
    of_another_tool: int
    files: int
    malpractice_rules: int
    latest: tuple[RecentSubmission, ...]
    holder: LockHolder | None


async def read_target_status(
    connections: Connections, instance_id: str, latest: int
) -> TargetStatus:
    """Count in one scan. Files and rules belong to submissions of this tool.

    Raises a DependencyError.
    """
    ours = others = files = rules = 0
    newest: list[tuple[float, int, RecentSubmission]] = []
    async with connections.session("state") as session, session.raw.transaction(readonly=True):
        rows = session.raw.cursor(
            query("migrated_submissions").sql, prefetch=_PREFETCH_ROWS, timeout=_SCAN_S
        )
        async for row in rows:
            attempt = attempt_of_launch_id(row["launch_id"])
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
        found = await session.row("lock_holder", LOCK_KEY)
    return TargetStatus(
        submissions=ours,
        of_another_tool=others,
        files=files,
        malpractice_rules=rules,
        latest=tuple(migration for _, _, migration in sorted(newest, reverse=True)),
        holder=None if found is None else LockHolder(found["name"], found["since"]),
    )
