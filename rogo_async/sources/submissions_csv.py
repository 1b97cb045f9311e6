"""Reads the two input files, submission_files.csv and attempt_number_mapping.csv.

Source: specification §1, rule 0.
"""

import asyncio
import io
import os
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from rogo_async.common.errors import FailureCode, InputChanged, RowError, SetupError
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.records import MappingRow, SourceRow
from rogo_async.sources.csv_reader import Record, column_indexes, open_input, records, scan

ERROR_COLUMN: Final = "Error"
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
_MAPPING_COLUMNS: Final = ("Attempt ID", "Unit Code Version", "Submission")
_MALFORMED: Final = FailureCode.ROW_MALFORMED.value


@dataclass(frozen=True, slots=True)
class _Layout:
    """Converts a record of this file to a SourceRow."""

    width: int
    used: tuple[int, ...]
    error: int | None

    def row(self, record: Record) -> SourceRow:
        cells = record.cells
        malformed = self._malformed(record)
        if len(cells) != self.width:
            cells = [*cells[: self.width], *[""] * (self.width - len(cells))]
        used = (cells[index].strip() for index in self.used)
        own = (cell for index, cell in enumerate(cells) if index != self.error)
        return SourceRow(record.line, tuple(own), malformed, *used)

    def _malformed(self, record: Record) -> str | None:
        if record.defect is not None:
            return f"line {record.line}: {record.defect}"
        if len(record.cells) != self.width:
            return f"line {record.line} has {len(record.cells)} cells, the header has {self.width}"
        error = "" if self.error is None else record.cells[self.error].strip()
        if error.startswith(_MALFORMED):
            return error.removeprefix(_MALFORMED).removeprefix(":").strip()
        return None


class SubmissionsFile:
    """submission_files.csv, read from its end without keeping its rows in memory.

    A first pass records where each block of ``BLOCK_ROWS`` rows begins and rejects a file that
    is unusable as a whole. Rows are then parsed block by block.
    """

    def __init__(self, path: Path, handle: BinaryIO) -> None:
        self.path = path
        self._handle = handle
        self._mark = _fingerprint(handle)
        self._starts = array("Q")
        self._lines = array("Q")
        self._count = 0
        self.columns: tuple[str, ...] = ()
        self._layout = _Layout(0, (), None)
        self._selected: Sequence[int] = range(0)

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Index the file. Raises SetupError if it is unusable as a whole."""
        handle = open_input(path)
        try:
            file = cls(path, handle)
            await asyncio.to_thread(file._index)
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
        """Select the last ``count`` rows."""
        self._selected = range(max(0, self._count - count), self._count)

    async def select_attempts(self, attempts: Iterable[int]) -> None:
        """Select the rows of these attempts. Raises SetupError for attempts without a row."""
        wanted = set(attempts)
        kept = array("Q")
        found = set()
        number = self._count
        async for rows in self.chunks_from_end():
            for row in rows:
                number -= 1
                attempt = _attempt_or_none(row)
                if attempt in wanted:
                    kept.append(number)
                    found.add(attempt)
        if missing := sorted(wanted - found):
            raise SetupError(
                f"{self.path}: no row for attempt {', '.join(map(str, missing))}. Check --attempt"
            )
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

    def _index(self) -> None:
        reader = scan(self.path, self._handle)
        header = next(reader, None)
        if header is None:
            raise SetupError(f"{self.path}: no header. Export it again")
        indexes = column_indexes(self.path, header.cells, USED_COLUMNS)
        names = [name.strip() for name in header.cells]
        error = names.index(ERROR_COLUMN) if ERROR_COLUMN in names else None
        self.columns = tuple(n for index, n in enumerate(header.cells) if index != error)
        self._layout = _Layout(len(names), tuple(indexes[name] for name in USED_COLUMNS), error)
        for record in reader:
            if self._count % BLOCK_ROWS == 0:
                self._starts.append(record.offset)
                self._lines.append(record.line)
            self._count += 1
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
        except UnicodeDecodeError:
            raise InputChanged(self.path) from None
        if len(found) != min(BLOCK_ROWS, self._count - block * BLOCK_ROWS):
            raise InputChanged(self.path)
        return found

    def _check_unchanged(self) -> None:
        if _fingerprint(self._handle) != self._mark:
            raise InputChanged(self.path)


def _fingerprint(handle: BinaryIO) -> tuple[int, int]:
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns


def _attempt_or_none(row: SourceRow) -> int | None:
    try:
        return None if row.malformed else parse_attempt_id(row.attempt_id)
    except RowError:
        return None


@dataclass(frozen=True, slots=True)
class Mapping:
    """attempt_number_mapping.csv by attempt, and counts of its irregular lines."""

    rows: dict[int, MappingRow]
    lines: int
    without_attempt: int
    disagreeing: int

    def get(self, attempt: int) -> MappingRow | None:
        """The last row of this attempt, or None."""
        return self.rows.get(attempt)


async def load_mapping(path: Path) -> Mapping:
    """Read the mapping file. Irregular lines are counted and never stop the run."""
    return await asyncio.to_thread(_load_mapping, path)


def _load_mapping(path: Path) -> Mapping:
    with open_input(path) as handle:
        mark = _fingerprint(handle)
        reader = scan(path, handle)
        header = next(reader, None)
        if header is None:
            raise SetupError(f"{path}: no header. Export it again")
        indexes = column_indexes(path, header.cells, _MAPPING_COLUMNS)
        cell = _cell_getter([indexes[name] for name in _MAPPING_COLUMNS])
        rows: dict[int, MappingRow] = {}
        shared: dict[MappingRow, MappingRow] = {}
        lines = without_attempt = 0
        disagreeing: set[int] = set()
        for record in reader:
            lines += 1
            text, version, submission = cell(record.cells)
            try:
                attempt = parse_attempt_id(text)
            except RowError:
                without_attempt += 1
                continue
            row = MappingRow(version, submission)
            row = shared.setdefault(row, row)
            if rows.get(attempt, row) != row:
                disagreeing.add(attempt)
            rows[attempt] = row
        if _fingerprint(handle) != mark:
            raise InputChanged(path)
    return Mapping(rows, lines, without_attempt, len(disagreeing))


def _cell_getter(indexes: list[int]) -> Callable[[list[str]], tuple[str, ...]]:
    def get(cells: list[str]) -> tuple[str, ...]:
        return tuple(cells[index].strip() if index < len(cells) else "" for index in indexes)

    return get


async def open_inputs(submissions: Path, mapping: Path) -> tuple[SubmissionsFile, Mapping]:
    """Read both files concurrently; the caller closes the first one.

    Raises one SetupError with the problems of both, or InputChanged.
    """
    file, rows = await asyncio.gather(
        SubmissionsFile.open(submissions), load_mapping(mapping), return_exceptions=True
    )
    if isinstance(file, SubmissionsFile) and isinstance(rows, Mapping):
        return file, rows
    if isinstance(file, SubmissionsFile):
        file.close()
    errors = [found for found in (file, rows) if isinstance(found, BaseException)]
    problems = [p for error in errors if isinstance(error, SetupError) for p in error.problems]
    raise SetupError(*problems) if problems else errors[0]
