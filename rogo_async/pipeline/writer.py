"""The single writer of results: every outcome is on disk within ROGO_WRITE_INTERVAL.

Source: specification §2, files in the data directory.
"""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Final

import structlog

from rogo_async.common.files import AppendFile
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.failed_rows_file import FailedRowsWriter
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.reporting.summary import Tally
from rogo_async.rules.records import Outcome, Status
from rogo_async.sources.accepted_failures import AcceptedFailures

MIGRATED_COLUMNS: Final = (
    "Attempt ID",
    "Launch ID",
    "Submission ID",
    "Session Record ID",
    "User ID",
    "LTI Context ID",
)
_QUEUED_BATCHES: Final = 1_000
_FLUSH_ROWS: Final = 5_000
log = structlog.get_logger()


class ResultWriter(ABC):
    """Collects outcomes from all consumers; one coroutine writes them in batches."""

    def __init__(self, tally: Tally, write_interval_s: float) -> None:
        self.tally = tally
        self.handed_over: Counter[Status] = Counter()
        """Rows with an outcome, written or not."""
        self._write_interval_s = write_interval_s
        self._queue: asyncio.Queue[Sequence[Outcome] | None] = asyncio.Queue(_QUEUED_BATCHES)

    @abstractmethod
    async def write_batch(self, batch: Sequence[Outcome]) -> None:
        """Write outcomes and count those that are on disk."""

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Queue outcomes; waits while the queue is full."""
        if outcomes:
            await self._queue.put(outcomes)
            self.handed_over.update(outcome.status for outcome in outcomes)

    async def finish(self) -> None:
        """Let the writer end after it has written all queued outcomes."""
        await self._queue.put(None)

    async def run(self) -> None:
        """Write batches until ``finish`` is called."""
        batch: list[Outcome] = []
        due = 0.0
        ended = False
        while not ended:
            try:
                async with asyncio.timeout(due - time.monotonic() if batch else None):
                    item = await self._queue.get()
            except TimeoutError:
                item = ()
            if item is None:
                ended = True
            elif item:
                if not batch:
                    due = time.monotonic() + self._write_interval_s
                batch.extend(item)
            if batch and (ended or len(batch) >= _FLUSH_ROWS or time.monotonic() >= due):
                await self.write_batch(batch)
                batch = []


class CsvResultWriter(ResultWriter):
    """Writes migrated.csv and the failed-rows file.

    A row is counted when it is on disk. A row that could not be written counts as not processed
    (invariant 1).
    """

    def __init__(
        self,
        migrated: AppendFile,
        failed: FailedRowsWriter,
        tally: Tally,
        known_failures: KnownFailures,
        accepted: AcceptedFailures,
        stop_signal: StopSignal,
        write_interval_s: float,
    ) -> None:
        super().__init__(tally, write_interval_s)
        self._migrated = migrated
        self._failed = failed
        self._known_failures = known_failures
        self._accepted = accepted
        self._stop_signal = stop_signal

    async def write_batch(self, batch: Sequence[Outcome]) -> None:
        """Append to both files. A failed write stops the run."""
        lines = [o.migrated_line for o in batch if o.migrated_line is not None]
        failures = [o for o in batch if o.status is Status.FAILED]
        try:
            if failures:
                await self._failed.append(failures)
        except OSError as error:
            self._stop(self._failed, error)
            batch = [o for o in batch if o.status is not Status.FAILED]
            failures = []
        self._count(batch, failures)
        try:
            if lines:
                await self._migrated.append(lines)
        except OSError as error:
            self._stop(self._migrated, error)

    def _count(self, batch: Sequence[Outcome], failures: Sequence[Outcome]) -> None:
        tally = self.tally
        tally.by_status.update(o.status for o in batch)
        for outcome in batch:
            for route, size_bytes in outcome.stored:
                tally.count_file(route, size_bytes)
        tally.by_code.update(o.code.value for o in batch if o.code is not None)
        for failure in failures:
            attempt, code = failure.attempt, failure.code or ""
            if self._accepted.has(attempt, code):
                tally.failed_accepted += 1
            else:
                tally.failed_new += self._known_failures.is_new(attempt, failure.row.cells, code)

    def _stop(self, file: AppendFile | FailedRowsWriter, error: OSError) -> None:
        self._stop_signal.stop(
            StopReason.DISK,
            f"{file.path} cannot be written ({os.strerror(error.errno or 0)}). "
            "Free disk space or fix the directory, then run again",
        )
