"""Which blobs the target refers to, and whether another run could still write (invariant 7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import RUN, Connections

_SCAN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class RunSessions:
    """How many there are, and since when the oldest stands; None where we may not see it."""

    count: int
    since: datetime | None

    def __str__(self) -> str:
        when = f"{self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else "a time not visible here"
        return f"{self.count} since {when}"


class BlobReferences:
    """Questions about blobs, asked through a gate."""

    def __init__(self, connections: Connections, breaker: CircuitBreaker) -> None:
        self._connections = connections
        self._breaker = breaker

    async def referenced(self, names: Sequence[str], urls: Sequence[str]) -> frozenset[str]:
        """Those of the names that some submission_files row refers to, by name or by URL.

        ``urls`` are the blobs' addresses in the order of ``names``. Raises RunStopped.
        """

        async def ask() -> frozenset[str]:
            async with self._connections.session("references") as session:
                values = {"names": list(names), "urls": list(urls)}
                rows = await session.rows("referenced_blobs", values, _SCAN_S)
            return frozenset(row["name"] for row in rows)

        return await self._breaker.call("references", ask)

    async def run_sessions(self) -> "RunSessions | None":
        """The sessions of runs that are connected at the moment; None when there is none.

        Raises RunStopped.
        """

        async def ask() -> RunSessions | None:
            async with self._connections.session("sessions") as session:
                row = await session.row("run_sessions", {"name": RUN})
            # The time is for a session's own user to see, that there is one for everybody.
            return RunSessions(row["count"], row["since"]) if row["count"] else None

        return await self._breaker.call("sessions", ask)
