"""What an earlier try of a shard has migrated counts as migrated by the run (specification §7).

The ids of the submissions of a run are derived from run id and attempt, so the target shows which
ones an earlier try wrote, wherever it ran. Which ones it refreshed only its journal shows.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

from pyroaring import BitMap

from rogo_async.common.errors import SkipCode
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections
from rogo_async.pipeline.refresh import Chunk, ExistingRows
from rogo_async.rules.identity import submission_id
from rogo_async.rules.records import MigratedLine, Outcome, Status, Submission


class OwnSubmissions:
    """Finds the rows of migrated attempts that this run itself has written.

    All others are left to ``others``. ``refreshed`` are the attempts in the run's journal.
    """

    def __init__(
        self,
        run_id: str,
        connections: Connections,
        breaker: CircuitBreaker,
        refreshed: BitMap,
        others: ExistingRows,
    ) -> None:
        self._run_id = run_id
        self._connections = connections
        self._breaker = breaker
        self._refreshed = refreshed
        self._others = others

    def takes(self, outcome: Outcome) -> bool:
        """The rows of migrated attempts."""
        return outcome.code is SkipCode.ALREADY_MIGRATED

    def chunks(self, outcomes: Sequence[Outcome]) -> Iterator[Chunk]:
        """The work of ``others``; then the rows that this run has written get their outcome."""
        own = _OwnLines(self, [o.attempt for o in outcomes if o.attempt is not None])
        for chunk in self._others.chunks(outcomes):
            yield Chunk(chunk.rows, self._settled(chunk, own))

    async def _settled(self, chunk: Chunk, own: "_OwnLines") -> list[Outcome | Submission]:
        settled = await chunk.work
        lines = await own.read()
        return [
            Outcome(each.row, Status.MIGRATED, line.attempt, migrated_line=line)
            if (line := lines.get(each.attempt or 0)) is not None
            else self._refreshed_before(each)
            for each in settled
        ]

    async def written(self, attempts: Sequence[int]) -> dict[int, MigratedLine]:
        """The lines of migrated.csv of the attempts that this run has written.

        Raises RunStopped and DependencyErrors.
        """
        by_id = {submission_id(self._run_id, attempt): attempt for attempt in attempts}

        async def ask() -> dict[int, MigratedLine]:
            async with self._connections.session("own") as session:
                rows = await session.rows("submissions_by_id", {"ids": list(by_id)})
            return {
                by_id[row["id"]]: MigratedLine(
                    by_id[row["id"]],
                    row["launch_id"],
                    row["id"],
                    row["session_record_id"],
                    row["user_id"],
                    row["context_id"],
                )
                for row in rows
            }

        return await self._breaker.call("own", ask)

    def _refreshed_before(self, settled: Outcome | Submission) -> Outcome | Submission:
        """An attempt is in the journal before its refresh is committed.

        So it counts as refreshed only if it is up to date now.
        """
        if (
            isinstance(settled, Outcome)
            and settled.code is SkipCode.ALREADY_MIGRATED
            and (settled.attempt or 0) in self._refreshed
        ):
            return replace(settled, status=Status.REFRESHED, code=None, message="")
        return settled


class _OwnLines:
    """Read once for all chunks of a page."""

    def __init__(self, own: OwnSubmissions, attempts: Sequence[int]) -> None:
        self._own = own
        self._attempts = attempts
        self._lock = asyncio.Lock()
        self._lines: dict[int, MigratedLine] | None = None

    async def read(self) -> dict[int, MigratedLine]:
        async with self._lock:
            if self._lines is None:
                self._lines = await self._own.written(self._attempts)
            return self._lines
