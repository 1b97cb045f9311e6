"""The single writer of results: every outcome is on disk within ROGO_WRITE_INTERVAL.

Source: specification §2, files in the data directory.
"""

import asyncio
import csv
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import structlog

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.files import AppendFile
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.reporting.summary import Tally
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.records import Outcome, Status
from rogo_async.sources.csv_reader import MAX_CELL_CHARS
from rogo_async.sources.submissions_csv import ERROR_COLUMN

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
        failed: AppendFile,
        tally: Tally,
        known_failures: "KnownFailures",
        stop_signal: StopSignal,
        write_interval_s: float,
    ) -> None:
        super().__init__(tally, write_interval_s)
        self._migrated = migrated
        self._failed = failed
        self._known_failures = known_failures
        self._stop_signal = stop_signal

    async def write_batch(self, batch: Sequence[Outcome]) -> None:
        """Append to both files. A failed write stops the run."""
        lines = [o.migrated_line for o in batch if o.migrated_line is not None]
        failures = [o for o in batch if o.status is Status.FAILED]
        try:
            if failures:
                await self._failed.append([*o.row.cells, error_cell(o)] for o in failures)
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
        tally.by_code.update(o.code.value for o in batch if o.code is not None)
        tally.failed_new += sum(not self._known_failures.has(o) for o in failures)

    def _stop(self, file: AppendFile, error: OSError) -> None:
        self._stop_signal.stop(
            StopReason.DISK,
            f"{file.path} cannot be written ({os.strerror(error.errno or 0)}). "
            "Free disk space or fix the directory, then run again",
        )


@dataclass(slots=True)
class KnownFailures:
    """The rows that failed in the latest full run, by attempt or, without one, by their cells."""

    keys: set[int] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the failed-rows file of the latest full run; empty when it cannot be read.

        Call this before the file is moved or replaced.
        """
        known = cls()
        try:
            with path.open(newline="", encoding="utf-8") as file:
                csv.field_size_limit(MAX_CELL_CHARS)
                reader = csv.reader(file)
                header = next(reader, [])
                column = header.index("Attempt ID") if "Attempt ID" in header else 0
                width = len(header) - (header[-1:] == [ERROR_COLUMN])
                for cells in reader:
                    if cells:
                        malformed = cells[-1].startswith(FailureCode.ROW_MALFORMED.value)
                        attempt = None if malformed else _attempt(cells, column)
                        known.add(attempt, cells[:width])
        except (OSError, UnicodeDecodeError, csv.Error):
            return known
        return known

    def has(self, outcome: Outcome) -> bool:
        """Whether this row failed in the latest full run."""
        return _key(outcome.attempt, outcome.row.cells) in self.keys

    def add(self, attempt: int | None, cells: Sequence[str]) -> None:
        """Add one row of its failed-rows file."""
        self.keys.add(_key(attempt, cells))


def _attempt(cells: list[str], column: int) -> int | None:
    try:
        return parse_attempt_id(cells[column]) if column < len(cells) else None
    except RowError:
        return None


def _key(attempt: int | None, cells: Sequence[str]) -> int:
    return attempt if attempt is not None else -1 - (hash(tuple(cells)) & 0xFFFFFFFFFFFF)


def error_cell(outcome: Outcome) -> str:
    """The Error cell: ``code: message``."""
    code = outcome.code.value if isinstance(outcome.code, FailureCode) else "failed"
    return f"{code}: {outcome.message}"
