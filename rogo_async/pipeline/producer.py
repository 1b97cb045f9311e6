"""Reads the input from its end, reads the warehouse rows, and fills the queue."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from rogo_async.common.errors import DependencyError
from rogo_async.common.shutdown import StopSignal
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.rules.records import Outcome, SourceRow, Submission, WarehouseRows
from rogo_async.rules.row_filter import RowFilter
from rogo_async.sources.submissions_csv import SubmissionsFile
from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS, Warehouse

_CHUNKS_AHEAD: Final = 1
_NO_ROWS: Final = WarehouseRows()
_LookUp = asyncio.Task[dict[int, WarehouseRows] | None]
log = structlog.get_logger()


class Producer:
    """Fills the queue of the consumers. Reads at most two chunks ahead of them."""

    def __init__(
        self,
        file: SubmissionsFile,
        row_filter: RowFilter,
        warehouse: Warehouse,
        results: ResultWriter,
        queue: asyncio.Queue[Submission | None],
        stop_signal: StopSignal,
    ) -> None:
        self._file = file
        self._row_filter = row_filter
        self._warehouse = warehouse
        self._results = results
        self._queue = queue
        self._stop_signal = stop_signal
        self.unresolved = 0
        """Rows whose query failed although the warehouse is up: not processed."""
        self._chunks: asyncio.Queue[tuple[list[Submission], _LookUp] | None] = asyncio.Queue(
            _CHUNKS_AHEAD
        )

    async def run(self) -> None:
        """Queue every selected row that passes rules 0 to 7, until the run is stopped.

        Raises an exception group with RunStopped or InputChanged.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fill_queue(), name="producer-queue")
            waiting: list[Submission] = []
            async for rows in self._file.chunks_from_end():
                self._stop_signal.raise_if_stopping()
                waiting.extend(await self._filter(rows))
                while len(waiting) >= CHUNK_ATTEMPTS:
                    await self._look_up(group, waiting[:CHUNK_ATTEMPTS])
                    del waiting[:CHUNK_ATTEMPTS]
            if waiting:
                await self._look_up(group, waiting)
            await self._chunks.put(None)

    async def _filter(self, rows: Sequence[SourceRow]) -> list[Submission]:
        filtered = [self._row_filter.apply(row) for row in rows]
        await self._results.record([each for each in filtered if isinstance(each, Outcome)])
        return [each for each in filtered if isinstance(each, Submission)]

    async def _look_up(self, group: asyncio.TaskGroup, chunk: list[Submission]) -> None:
        attempts = [submission.attempt for submission in chunk]
        look_up = group.create_task(self._warehouse_rows(attempts), name="producer-look-up")
        await self._chunks.put((chunk, look_up))

    async def _warehouse_rows(self, attempts: Sequence[int]) -> dict[int, WarehouseRows] | None:
        try:
            return await self._warehouse.look_up(attempts)
        except DependencyError as error:
            log.error(
                "a chunk of attempts cannot be looked up", rows=len(attempts), reason=error.reason
            )
            return None

    async def _fill_queue(self) -> None:
        while (item := await self._chunks.get()) is not None:
            chunk, look_up = item
            found = await look_up
            if found is None:
                self.unresolved += len(chunk)
                continue
            for submission in chunk:
                rows = found.get(submission.attempt, _NO_ROWS)
                await self._queue.put(replace(submission, warehouse_rows=rows))
