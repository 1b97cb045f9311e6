"""Reads submission_files.csv, from its end; opens both input files.

Source: specification §1, rule 0.
"""

import asyncio
import hashlib
import io
import os
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from pyroaring import BitMap

from rogo_async.common.data_dir import ERROR_COLUMN
from rogo_async.common.errors import FailureCode, InputChanged, RowError, SetupError
from rogo_async.common.shard import Shard
from rogo_async.common.text import cell_text, is_null_text
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.records import SourceRow
from rogo_async.sources.csv_reader import (
    NotUtf8,
    Record,
    column_indexes,
    fingerprint,
    open_input,
    records,
    scan,
)
from rogo_async.sources.mapping_csv import Mapping, load_mapping

BLOCK_ROWS: Final = 256
"""Rows that are indexed and read together."""

USED_COLUMNS: Final = (
    "Attempt ID",
    "First Name",
    "Surname",
    "Learner Email",
    "Assessment ID",
    "Course Title",
    "Rogo User ID",
    "Rogo User Name",
    "Learner File Names",
    "Learner Azure Blob URLs",
    "Marker Azure Blob URLs",
)
_PERSONS_NAMES: Final = frozenset({"First Name", "Surname", "Rogo User Name"})
"""Columns in which the word NULL may be a name."""
_MALFORMED: Final = FailureCode.ROW_MALFORMED.value
_DIGEST_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Layout:
    """Converts a record of this file to a SourceRow."""

    width: int
    used: tuple[int, ...]
    error: int | None
    names: tuple[int, ...] = ()

    def row(self, record: Record) -> SourceRow:
        cells = record.cells
        malformed = self._malformed(record)
        if len(cells) != self.width:
            cells = [*cells[: self.width], *[""] * (self.width - len(cells))]
        used = (
            cells[index].strip() if index in self.names else cell_text(cells[index])
            for index in self.used
        )
        own = (cell for index, cell in enumerate(cells) if index != self.error)
        return SourceRow(record.line, tuple(own), malformed, *used)

    def has_null_name(self, record: Record) -> bool:
        """Whether a person's name is the word NULL."""
        cells = record.cells
        return any(is_null_text(cells[index]) for index in self.names if index < len(cells))

    def _malformed(self, record: Record) -> str | None:
        if record.defect is not None:
            return f"line {record.line}: {record.defect}"
        if len(record.cells) != self.width:
            return f"line {record.line} has {len(record.cells)} cells, the header has {self.width}"
        error = "" if self.error is None else record.cells[self.error].strip()
        if error.startswith(_MALFORMED):
            return error.removeprefix(_MALFORMED).removeprefix(":").strip()
        return None


def _ignore(_: int) -> None:
    """For callers that show no progress."""


class SubmissionsFile:
    """submission_files.csv, read from its end without keeping its rows in memory.

    A first pass records where each block of ``BLOCK_ROWS`` rows begins and rejects a file that
    is unusable as a whole. Rows are then parsed block by block.
    """

    def __init__(self, path: Path, handle: BinaryIO, shard: Shard | None = None) -> None:
        self.path = path
        self._handle = handle
        self._shard = shard
        self._of_shard = BitMap()
        self._mark = fingerprint(handle)
        self._starts = array("Q")
        self._lines = array("Q")
        self._count = 0
        self.attempts = BitMap()
        """The attempts of all rows; of a shard those of its own rows."""
        self.rows_with_null_name = 0
        self.columns: tuple[str, ...] = ()
        self._layout = _Layout(0, (), None)
        self._selected: Sequence[int] = range(0)

    @classmethod
    async def open(
        cls, path: Path, on_bytes: Callable[[int], object] = _ignore, shard: Shard | None = None
    ) -> Self:
        """Index the file. Raises SetupError if it is unusable as a whole.

        With ``shard``, ``select_shard`` keeps the rows of this shard only.

        ``on_bytes`` receives the number of bytes read so far, from another thread.
        """
        handle = open_input(path)
        try:
            file = cls(path, handle, shard)
            await asyncio.to_thread(file._index, on_bytes)
        except BaseException:
            handle.close()
            raise
        return file

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __len__(self) -> int:
        """Number of selected rows; by default all rows of the file."""
        return len(self._selected)

    def select_newest(self, count: int) -> None:
        """Of the selected rows keep the last ``count``."""
        self._selected = self._selected[-count:]

    def select_shard(self) -> None:
        """Of the selected rows keep those of the shard."""
        if self._shard is not None:
            self._selected = array("Q", (n for n in self._selected if n in self._of_shard))

    def digest(self) -> str:
        """The SHA-256 of the file. Raises InputChanged. Blocks."""
        digest = hashlib.sha256()
        offset = 0
        while block := os.pread(self._handle.fileno(), _DIGEST_BYTES, offset):
            digest.update(block)
            offset += len(block)
        self._check_unchanged()
        return digest.hexdigest()

    async def select(self, matches: Callable[[SourceRow], bool]) -> None:
        """Of the selected rows keep those that match.

        If an attempt has several rows, the newest decides for all of them, since only that one
        is processed (rule 2).
        """
        kept = array("Q")
        matching, seen = BitMap(), BitMap()
        end = len(self._selected)
        async for rows in self.chunks_from_end():
            for row in rows:
                end -= 1
                attempt = attempt_of(row)
                is_match = matches(row)
                if attempt is not None:
                    if attempt not in seen:
                        seen.add(attempt)
                        if is_match:
                            matching.add(attempt)
                    is_match = attempt in matching
                if is_match:
                    kept.append(self._selected[end])
        self._selected = kept[::-1]

    async def chunks_from_end(self) -> AsyncIterator[list[SourceRow]]:
        """The selected rows, newest first, one block at a time.

        Raises InputChanged if the file changed after it was indexed.
        """
        end = len(self._selected)
        while end > 0:
            block = self._selected[end - 1] // BLOCK_ROWS
            begin = bisect_left(self._selected, block * BLOCK_ROWS, 0, end)
            yield await asyncio.to_thread(self._read, block, self._selected[begin:end])
            end = begin

    def _index(self, on_bytes: Callable[[int], object]) -> None:
        reader = scan(self.path, self._handle)
        header = next(reader, None)
        if header is None:
            raise SetupError(f"{self.path}: no header. Export it again")
        indexes = column_indexes(self.path, header.cells, USED_COLUMNS)
        names = [name.strip() for name in header.cells]
        error = names.index(ERROR_COLUMN) if ERROR_COLUMN in names else None
        self.columns = tuple(n for index, n in enumerate(header.cells) if index != error)
        self._layout = _Layout(
            len(names),
            tuple(indexes[name] for name in USED_COLUMNS),
            error,
            tuple(indexes[name] for name in USED_COLUMNS if name in _PERSONS_NAMES),
        )
        attempt_id = indexes["Attempt ID"]
        shard = self._shard
        for record in reader:
            attempt = _attempt_in(record, attempt_id)
            if shard is not None and shard.owns(attempt, record.line):
                self._of_shard.add(self._count)
            if attempt is not None and (shard is None or self._count in self._of_shard):
                self.attempts.add(attempt)
            if self._count % BLOCK_ROWS == 0:
                self._starts.append(record.offset)
                self._lines.append(record.line)
                on_bytes(record.offset)
            self._count += 1
            self.rows_with_null_name += self._layout.has_null_name(record)
        self._selected = range(self._count)
        self._check_unchanged()

    def _read(self, block: int, numbers: Sequence[int]) -> list[SourceRow]:
        """The rows of these ascending numbers, all in this block, the highest first."""
        first = block * BLOCK_ROWS
        found = self._read_block(block)
        rows = [self._layout.row(found[number - first]) for number in reversed(numbers)]
        self._check_unchanged()
        return rows

    def _read_block(self, block: int) -> list[Record]:
        is_last = block == len(self._starts) - 1
        start = self._starts[block]
        end = self._mark[0] if is_last else self._starts[block + 1]
        content = os.pread(self._handle.fileno(), end - start, start)
        line_before = self._lines[block] - 1
        try:
            found = list(records(io.BytesIO(content), start, line_before, self._layout.width))
        except NotUtf8:
            raise InputChanged(self.path) from None
        if len(found) != min(BLOCK_ROWS, self._count - block * BLOCK_ROWS):
            raise InputChanged(self.path)
        return found

    def _check_unchanged(self) -> None:
        if fingerprint(self._handle) != self._mark:
            raise InputChanged(self.path)


def attempt_of(row: SourceRow) -> int | None:
    """The attempt of a row, or None if it fails rule 0 or 1."""
    try:
        return None if row.malformed else parse_attempt_id(row.attempt_id)
    except RowError:
        return None


def _attempt_in(record: Record, index: int) -> int | None:
    try:
        return parse_attempt_id(cell_text(record.cells[index]))
    except (RowError, IndexError):
        return None


async def open_inputs(
    submissions: Path,
    mapping: Path,
    on_bytes: Callable[[int], object],
    shard: Shard | None = None,
) -> tuple[SubmissionsFile, Mapping]:
    """Read both files concurrently; the caller closes the first one.

    ``on_bytes`` receives the number of bytes of the first one that have been read.
    Raises one SetupError with the problems of both, or InputChanged.
    """
    file, rows = await asyncio.gather(
        SubmissionsFile.open(submissions, on_bytes, shard),
        load_mapping(mapping),
        return_exceptions=True,
    )
    if isinstance(file, SubmissionsFile) and isinstance(rows, Mapping):
        return file, rows
    if isinstance(file, SubmissionsFile):
        file.close()
    errors = [found for found in (file, rows) if isinstance(found, BaseException)]
    problems = [p for error in errors if isinstance(error, SetupError) for p in error.problems]
    raise SetupError(*problems) if problems else errors[0]
