"""The single writer of results: what became of each row, on disk within seconds (DESIGN 9)."""

import asyncio
import csv
import errno
import io
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiofiles
import structlog

from rogo_async.control import Control, StopReason
from rogo_async.disk import sync_directory
from rogo_async.errors import FailureCode
from rogo_async.model import Outcome, Receipt, Status

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


@dataclass(slots=True)
class Tally:
    """What has been written down so far. ``total`` is the number of rows of the run."""

    total: int = 0
    by_status: Counter[Status] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    failed_new: int = 0

    @property
    def done(self) -> int:
        """Rows that have an outcome."""
        return sum(self.by_status.values())


def csv_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV. A line break of any kind is quoted, the lone CR too, which ``csv`` forgets."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoting if any("\r" in str(cell) for cell in row) else plain).writerow(row)
    return text.getvalue()


class AppendFile:
    """A CSV file of personal data, its owner's alone, that rows are appended to durably."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._size_bytes = 0

    async def open(self, header: Sequence[str] | None) -> None:
        """Begin the file anew with a header, or go on at its end when there is none given."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | (0 if header is None else os.O_TRUNC)
        descriptor = await asyncio.to_thread(os.open, self.path, flags, 0o600)
        await asyncio.to_thread(sync_directory, self.path.parent)
        self._size_bytes = os.fstat(descriptor).st_size
        self._file = await aiofiles.open(descriptor, "wb", buffering=0)
        if header is not None:
            await self.append([header])

    async def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Write rows; they are on disk when this returns.

        Raises OSError; of these rows nothing is in the file then, and nothing can be added.
        """
        data = memoryview(csv_of(rows).encode("utf-8"))
        if self._file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        size_bytes = self._size_bytes + len(data)
        try:
            while data:
                data = data[await self._file.write(data) :]
            await asyncio.to_thread(os.fdatasync, self._file.fileno())
        except OSError:
            await asyncio.to_thread(os.ftruncate, self._file.fileno(), self._size_bytes)
            await self.close()
            raise
        self._size_bytes = size_bytes

    async def close(self) -> None:
        """Close the file; nothing is left to be written."""
        if self._file is not None:
            await self._file.close()
            self._file = None


class Ledger(ABC):
    """Takes outcomes from all consumers and puts them down in batches, one coroutine alone."""

    def __init__(self, tally: Tally, write_interval_s: float) -> None:
        self.tally = tally
        self.handed_over: Counter[Status] = Counter()
        """Rows that consumers and feeder are done with, whether or not they are written yet."""
        self._write_interval_s = write_interval_s
        self._queue: asyncio.Queue[Sequence[Outcome] | None] = asyncio.Queue(_QUEUED_BATCHES)

    @abstractmethod
    async def put_down(self, batch: Sequence[Outcome]) -> None:
        """Write outcomes and count what is on disk then."""

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Hand outcomes over; waits while the writer is behind."""
        if outcomes:
            await self._queue.put(outcomes)
            self.handed_over.update(outcome.status for outcome in outcomes)

    async def finish(self) -> None:
        """Tell the writer that nothing more comes."""
        await self._queue.put(None)

    async def write_all(self) -> None:
        """The writer: batch, append, sync, until ``finish``. A full disk stops the run."""
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
                await self.put_down(batch)
                batch = []


class RunLedger(Ledger):
    """The results of a run, in migrated.csv and the failed-rows file.

    A row counts when it is written: one whose line could not be written is not reached.
    """

    def __init__(
        self,
        migrated: AppendFile,
        failed: AppendFile,
        tally: Tally,
        known_failures: "KnownFailures",
        control: Control,
        write_interval_s: float,
    ) -> None:
        super().__init__(tally, write_interval_s)
        self._migrated = migrated
        self._failed = failed
        self._known_failures = known_failures
        self._control = control

    async def put_down(self, batch: Sequence[Outcome]) -> None:
        """Append to both files. What cannot be written stops the run."""
        receipts = [line(o.receipt) for o in batch if o.receipt is not None]
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
            if receipts:
                await self._migrated.append(receipts)
        except OSError as error:
            self._stop(self._migrated, error)

    def _count(self, batch: Sequence[Outcome], failures: Sequence[Outcome]) -> None:
        tally = self.tally
        tally.by_status.update(o.status for o in batch)
        tally.by_code.update(o.code.value for o in batch if o.code is not None)
        tally.failed_new += sum(not self._known_failures.has(o) for o in failures)

    def _stop(self, file: AppendFile, error: OSError) -> None:
        self._control.stop(
            StopReason.DISK,
            f"{file.path} cannot be written ({os.strerror(error.errno or 0)}). "
            "Make room or mend the directory, then run again",
        )


@dataclass(slots=True)
class KnownFailures:
    """The rows that failed in the latest full run, by attempt or, without one, by their cells."""

    keys: set[int] = field(default_factory=set)

    def has(self, outcome: Outcome) -> bool:
        """Whether this row failed then, too."""
        return _key(outcome.attempt, outcome.row.cells) in self.keys

    def add(self, attempt: int | None, cells: Sequence[str]) -> None:
        """Take one row of that run's file in."""
        self.keys.add(_key(attempt, cells))


def _key(attempt: int | None, cells: Sequence[str]) -> int:
    return attempt if attempt is not None else -1 - (hash(tuple(cells)) & 0xFFFFFFFFFFFF)


def line(receipt: Receipt) -> tuple[object, ...]:
    """A row of migrated.csv."""
    return (
        receipt.attempt,
        receipt.launch_id,
        receipt.submission_id,
        receipt.session_record_id,
        receipt.user_id,
        receipt.context_id,
    )


def error_cell(outcome: Outcome) -> str:
    """The Error cell: ``code: message``."""
    code = outcome.code.value if isinstance(outcome.code, FailureCode) else "failed"
    return f"{code}: {outcome.message}"
