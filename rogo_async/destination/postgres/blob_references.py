"""Finds blobs that the target refers to, and runs that may still write (invariant 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import OF_SHARD, RUN

_SCAN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RunSessions:
    """Number of sessions of runs, and the start of the oldest; None if it is not visible."""

    count: int
    since: datetime | None

    def __str__(self) -> str:
        when = f"{self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else "a time that is not visible"
        return f"{self.count} since {when}"


class BlobReferences:
    """Queries about blobs and sessions, behind a circuit breaker."""

    def __init__(self, connections: Connections, breaker: CircuitBreaker) -> None:
        self._connections = connections
        self._breaker = breaker

    async def referenced(self, names: Sequence[str], urls: Sequence[str]) -> frozenset[str]:
        """Return the names that a submission_files row refers to, by name or by URL.

        ``urls`` are the blobs' URLs in the order of ``names``. Raises RunStopped.
        """

        async def ask() -> frozenset[str]:
            async with self._connections.session("references") as session:
                values = {"names": list(names), "urls": list(urls)}
                rows = await session.rows("referenced_blobs", values, _SCAN_S)
            return frozenset(row["name"] for row in rows)

        return await self._breaker.call("references", ask)

    async def run_sessions(self) -> "RunSessions | None":
        """Return the sessions of runs that are connected now, or None.

        Raises RunStopped.
        """

        async def ask() -> RunSessions | None:
            async with self._connections.session("sessions") as session:
                row = await session.row("run_sessions", {"name": RUN, "of_shard": OF_SHARD})
            # Every user sees that a session exists, but only the same user sees its start.
            return RunSessions(row["count"], row["since"]) if row["count"] else None

        return await self._breaker.call("sessions", ask)
