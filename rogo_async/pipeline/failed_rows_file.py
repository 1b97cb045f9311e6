"""Writes a failed-rows file: appended while the run goes on, in the order of the input at its end.

The newest row of the input comes first, as rows are read. So the file does not depend on the order
in which rows finish, nor on the number of processes (specification §2).
"""

import asyncio
import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Final

from rogo_async.common.data_dir import ERROR_COLUMN
from rogo_async.common.errors import FailureCode
from rogo_async.common.files import AppendFile, csv_of, write_private_parts
from rogo_async.rules.records import Outcome

LINE_COLUMN: Final = "Line"
"""The first column in the file of a shard: the line of the input at which the row begins."""


def _error_cell(outcome: Outcome) -> str:
    """The Error cell: ``code: message``."""
    code = outcome.code.value if isinstance(outcome.code, FailureCode) else "failed"
    return f"{code}: {outcome.message}"


@dataclass(frozen=True, slots=True)
class RowLayout:
    """The columns before those of the input, and the cells of a row."""

    leading: tuple[str, ...]
    cells_of: Callable[[Outcome], list[object]]


PLAIN: Final = RowLayout((), lambda o: [*o.row.cells, _error_cell(o)])
NUMBERED: Final = RowLayout((LINE_COLUMN,), lambda o: [o.row.line, *o.row.cells, _error_cell(o)])
"""For a shard: the rows of all shards are put into one order."""


class RowIndex:
    """Where the rows of a file begin, and the line of the input that each comes from.

    It takes 16 bytes for each row, and some 40 more while the order is computed.
    """

    def __init__(self, header_bytes: int) -> None:
        self._begin = header_bytes
        self._lines = array("Q")
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: int, end: int) -> None:
        """Add the next row of the file; ``end`` is the offset after it."""
        self._lines.append(line)
        self._ends.append(end)

    @property
    def end(self) -> int:
        """The offset after the last row."""
        return self._ends[-1] if self._ends else self._begin

    def newest_first(self) -> Iterator[tuple[int, int, int]]:
        """Line, offset and size in bytes of each row, the highest line first."""
        for number in sorted(range(len(self._lines)), key=self._lines.__getitem__, reverse=True):
            start = self._ends[number - 1] if number else self._begin
            yield self._lines[number], start, self._ends[number] - start


class FailedRowsWriter:
    """Appends failed rows durably."""

    def __init__(self, path: Path, layout: RowLayout) -> None:
        self.path = path
        self._file = AppendFile(path)
        self._layout = layout
        self._index = RowIndex(0)
        self._header = b""

    async def open(self, columns: Sequence[str]) -> None:
        """Start a new file with the columns of the input. Raises OSError."""
        self._header = csv_of([[*self._layout.leading, *columns, ERROR_COLUMN]]).encode()
        self._index = RowIndex(len(self._header))
        await self._file.start(self._header)

    async def append(self, outcomes: Sequence[Outcome]) -> None:
        """Write rows; they are on disk when this returns.

        Raises OSError; in that case the file has none of these rows and is closed.
        """
        rows = [csv_of([self._layout.cells_of(outcome)]).encode() for outcome in outcomes]
        await self._file.append_bytes(b"".join(rows))
        for outcome, row in zip(outcomes, rows, strict=True):
            self._index.add(outcome.row.line, self._index.end + len(row))

    async def sort(self) -> None:
        """Put the rows into the order of the input. Raises OSError; then the file is unchanged."""
        await self._file.close()
        await asyncio.to_thread(self._sort)

    async def close(self) -> None:
        """Close the file. All appended rows are on disk already."""
        await self._file.close()

    def _sort(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            rows = (
                os.pread(descriptor, size, start) for _, start, size in self._index.newest_first()
            )
            write_private_parts(self.path, chain([self._header], rows))
        finally:
            os.close(descriptor)
