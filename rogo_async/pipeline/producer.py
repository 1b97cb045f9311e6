"""Reads the input from its end, reads the warehouse rows, and fills the queue."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from rogo_async.common.errors import DependencyError
from rogo_async.common.shutdown import StopSignal
from rogo_async.pipeline.refresh import PAGE_ATTEMPTS, Chunk, ExistingRows
from rogo_async.pipeline.source_comparison import with_warehouse_rows
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.rules.records import Outcome, SourceRow, Submission
from rogo_async.rules.row_filter import RowFilter
from rogo_async.sources.submissions_csv import SubmissionsFile
from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS, Warehouse

_CHUNKS_AHEAD: Final = 1
_Settled = list[Outcome | Submission]
log = structlog.get_logger()


class Producer:
    """Fills the queue of the consumers. Reads at most two chunks ahead of them."""

    def __init__(
        self,
        file: SubmissionsFile,
        row_filter: RowFilter,
        warehouse: Warehouse,
        existing: ExistingRows,
        results: ResultWriter,
        queue: asyncio.Queue[Submission | None],
        stop_signal: StopSignal,
    ) -> None:
        self._file = file
        self._row_filter = row_filter
        self._warehouse = warehouse
        self._existing = existing
        self._results = results
        self._queue = queue
        self._stop_signal = stop_signal
        self.unresolved = 0
        """Rows whose query failed although the server is up: not processed."""
        self.rows_read = 0
        self._chunks: asyncio.Queue[tuple[int, asyncio.Task[_Settled | None]] | None] = (
            asyncio.Queue(_CHUNKS_AHEAD)
        )

    async def run(self) -> None:
        """Queue every selected row that passes rules 0 to 7, until the run is stopped.

        Raises an exception group with RunStopped or InputChanged.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fill_queue(), name="producer-queue")
            waiting: list[Submission] = []
            existing: list[Outcome] = []
            async for rows in self._file.chunks_from_end():
                self._stop_signal.raise_if_stopping()
                await self._filter(rows, waiting, existing)
                await self._look_up(group, waiting, all_rows=False)
                await self._settle(group, existing, all_rows=False)
            await self._look_up(group, waiting, all_rows=True)
            await self._settle(group, existing, all_rows=True)
            await self._chunks.put(None)

    async def _filter(
        self, rows: Sequence[SourceRow], waiting: list[Submission], existing: list[Outcome]
    ) -> None:
        """Apply rules 0 to 7; add the rows that are not decided to the two lists."""
        decided = []
        for result in map(self._row_filter.apply, rows):
            if isinstance(result, Submission):
                waiting.append(result)
            elif self._existing.takes(result):
                existing.append(result)
            else:
                decided.append(result)
        self.rows_read += len(rows)
        await self._results.record(decided)

    async def _look_up(
        self, group: asyncio.TaskGroup, waiting: list[Submission], *, all_rows: bool
    ) -> None:
        """Begin to look up new submissions, in full chunks."""
        while len(waiting) >= (1 if all_rows else CHUNK_ATTEMPTS):
            chunk = waiting[:CHUNK_ATTEMPTS]
            del waiting[:CHUNK_ATTEMPTS]
            await self._begin(group, Chunk(len(chunk), self._new(chunk)))

    async def _settle(
        self, group: asyncio.TaskGroup, existing: list[Outcome], *, all_rows: bool
    ) -> None:
        """Begin to settle the rows of migrated attempts, in full pages."""
        while len(existing) >= (1 if all_rows else PAGE_ATTEMPTS):
            page = existing[:PAGE_ATTEMPTS]
            del existing[:PAGE_ATTEMPTS]
            for chunk in self._existing.chunks(page):
                await self._begin(group, chunk)

    async def _begin(self, group: asyncio.TaskGroup, chunk: Chunk) -> None:
        work = group.create_task(_settled(chunk), name="producer-look-up")
        await self._chunks.put((chunk.rows, work))

    async def _new(self, chunk: Sequence[Submission]) -> _Settled:
        rows = await self._warehouse.look_up([submission.attempt for submission in chunk])
        return [with_warehouse_rows(submission, rows) for submission in chunk]

    async def _fill_queue(self) -> None:
        while (item := await self._chunks.get()) is not None:
            count, look_up = item
            settled = await look_up
            if settled is None:
                self.unresolved += count
                continue
            for each in settled:
                if isinstance(each, Submission):
                    await self._queue.put(each)
            await self._results.record([each for each in settled if isinstance(each, Outcome)])


async def _settled(chunk: Chunk) -> _Settled | None:
    try:
        return await chunk.work
    except DependencyError as error:
        log.error("a chunk of attempts cannot be looked up", rows=chunk.rows, reason=error.reason)
        return None
