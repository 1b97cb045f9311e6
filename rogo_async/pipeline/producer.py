"""From the end of the file to rows ready for the consumers (SPEC §3 rules 0 to 7, DESIGN 1)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from pyroaring import BitMap

from rogo_async.common.errors import DependencyError, FailureCode, RowError, RowSkip, SkipCode
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.postgres.migrated_attempts import MigratedAttempts
from rogo_async.pipeline.migrate import Work, failed, skipped
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.mapping import attempt_number, require_email
from rogo_async.rules.records import Outcome, SourceRow
from rogo_async.sources.submissions_csv import Mapping, SubmissionsFile
from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS, LookUp, Warehouse

_AHEAD_CHUNKS: Final = 1
_NOTHING: Final = LookUp((), ())
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A row that rules 0 to 7 have let pass."""

    row: SourceRow
    attempt: int
    attempt_number: int
    version: str


class RowFilter:
    """Rules 0 to 7, row after row from the end of the file."""

    def __init__(
        self, mapping: Mapping, existing: MigratedAttempts, prefixes: tuple[str, ...]
    ) -> None:
        self._mapping = mapping
        self._existing = existing
        self._prefixes = prefixes
        self._seen = BitMap()

    def apply(self, row: SourceRow) -> Outcome | Candidate:
        """The row's outcome where these rules decide it, else the candidate."""
        attempt = None
        if row.malformed is not None:
            return failed(row, None, RowError(FailureCode.ROW_MALFORMED, row.malformed))
        try:
            attempt = parse_attempt_id(row.attempt_id)
            return self._candidate(row, attempt)
        except RowError as fault:
            return failed(row, attempt, fault)
        except RowSkip as skip:
            return skipped(row, attempt, skip)

    def _candidate(self, row: SourceRow, attempt: int) -> Candidate:
        if attempt in self._seen:
            raise RowSkip(SkipCode.DUPLICATE_ROW, "a row nearer the end has this Attempt ID")
        self._seen.add(attempt)
        if self._existing.is_migrated(attempt):
            raise RowSkip(SkipCode.ALREADY_MIGRATED, "the target has a submission of this attempt")
        if self._existing.is_incomplete(attempt):
            raise RowError(
                FailureCode.TARGET_INCOMPLETE,
                "the target has a launch or session record of this attempt and no submission",
            )
        mapped = self._mapping.get(attempt)
        number = attempt_number(mapped, self._prefixes)
        require_email(row)
        return Candidate(row, attempt, number, mapped.version if mapped else "")


class Producer:
    """Fills the consumers' queue; reads ahead of them by two chunks and no more."""

    def __init__(
        self,
        file: SubmissionsFile,
        row_filter: RowFilter,
        warehouse: Warehouse,
        results: ResultWriter,
        queue: "asyncio.Queue[Work | None]",
        stop_signal: StopSignal,
    ) -> None:
        self._file = file
        self._row_filter = row_filter
        self._warehouse = warehouse
        self._results = results
        self._queue = queue
        self._stop_signal = stop_signal
        self.unresolved = 0
        """Rows that could not be looked up although the warehouse is up: not reached."""
        self._chunks: asyncio.Queue[_Chunk | None] = asyncio.Queue(_AHEAD_CHUNKS)

    async def feed(self) -> None:
        """Feed every selected row, or until the run is told to stop.

        Raises a group of RunStopped or InputChanged.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dispatch(), name="feeder-dispatch")
            candidates: list[Candidate] = []
            async for rows in self._file.chunks_from_end():
                self._stop_signal.check()
                candidates.extend(await self._sifted(rows))
                while len(candidates) >= CHUNK_ATTEMPTS:
                    await self._look_up(group, candidates[:CHUNK_ATTEMPTS])
                    del candidates[:CHUNK_ATTEMPTS]
            if candidates:
                await self._look_up(group, candidates)
            await self._chunks.put(None)

    async def _sifted(self, rows: Sequence[SourceRow]) -> list[Candidate]:
        results = [self._row_filter.apply(row) for row in rows]
        await self._results.record([r for r in results if isinstance(r, Outcome)])
        return [r for r in results if isinstance(r, Candidate)]

    async def _look_up(self, group: asyncio.TaskGroup, candidates: list[Candidate]) -> None:
        attempts = [candidate.attempt for candidate in candidates]
        found = group.create_task(self._found(attempts), name="feeder-look-up")
        await self._chunks.put(_Chunk(candidates, found))

    async def _found(self, attempts: Sequence[int]) -> dict[int, LookUp] | None:
        try:
            return await self._warehouse.look_up(attempts)
        except DependencyError as fault:
            log.error(
                "a chunk of attempts cannot be looked up", rows=len(attempts), reason=fault.reason
            )
            return None

    async def _dispatch(self) -> None:
        while (chunk := await self._chunks.get()) is not None:
            found = await chunk.found
            if found is None:
                self.unresolved += len(chunk.candidates)
                continue
            for c in chunk.candidates:
                await self._queue.put(
                    Work(
                        c.row,
                        c.attempt,
                        c.attempt_number,
                        c.version,
                        found.get(c.attempt, _NOTHING),
                    )
                )


@dataclass(frozen=True, slots=True)
class _Chunk:
    candidates: list[Candidate]
    found: "asyncio.Task[dict[int, LookUp] | None]"
