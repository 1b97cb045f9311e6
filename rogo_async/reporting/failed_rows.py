"""Reads failed-rows files, and groups their rows for those who mend them (specification §2)."""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from rogo_async.common.data_dir import ERROR_COLUMN
from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.files import MAX_CELL_CHARS
from rogo_async.rules.identity import parse_attempt_id

_BOM: Final = b"\xef\xbb\xbf"
_ATTEMPT: Final = "Attempt ID"
_UNIT: Final = "Unit Code"
_ASSESSMENT: Final = "Assessment ID"
_LISTED_ATTEMPTS: Final = 20
_CODE: Final = re.compile(r"[A-Za-z0-9_./-]{1,40}")
NOT_A_CODE: Final = "(not a code)"
"""Stands for a unit or an assessment that has blanks or other unusual characters."""


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row of a failed-rows file.

    ``attempt`` is None without a valid Attempt ID. ``message`` and ``cells`` may have personal
    data. Unit and assessment of a malformed row are empty: its cells may be shifted.
    """

    offset: int
    """The position of the row in its file, in bytes."""
    attempt: int | None
    attempt_id: str
    unit: str
    assessment: str
    code: str
    message: str
    cells: tuple[str, ...]
    """The cells of the input, without Error."""


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The failed rows of one unit, assessment and code. Has no personal data."""

    unit: str
    assessment: str
    code: str
    rows: int
    attempts: tuple[int, ...]
    """The attempts of its first 20 rows that have a valid Attempt ID."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of one failed-rows file. A missing unit or assessment is empty."""

    names: tuple[str, ...]

    def row(self, cells: list[str], offset: int) -> FailedRow | None:
        """The row; None when it is incomplete, as after a power loss."""
        if len(cells) != len(self.names):
            return None
        *own, error = cells
        code, _, message = error.partition(":")
        malformed = code.strip() == FailureCode.ROW_MALFORMED
        attempt_id = self._cell(cells, _ATTEMPT)
        return FailedRow(
            offset=offset,
            attempt=None if malformed else _attempt(attempt_id),
            attempt_id=attempt_id,
            unit="" if malformed else self._cell(cells, _UNIT),
            assessment="" if malformed else self._cell(cells, _ASSESSMENT),
            code=code.strip(),
            message=message.strip(),
            cells=tuple(own),
        )

    def _cell(self, cells: list[str], name: str) -> str:
        return cells[self.names.index(name)].strip() if name in self.names else ""


class FailedRowsFile:
    """An open failed-rows file. The caller opens and closes ``handle``."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle = handle
        if handle.read(len(_BOM)) != _BOM:  # a spreadsheet adds it
            handle.seek(0)
        csv.field_size_limit(MAX_CELL_CHARS)
        names = tuple(name.strip() for name in next(self._records(), []))
        self._columns = _Columns(names)
        self._is_usable = names[-1:] == (ERROR_COLUMN,) and _ATTEMPT in names

    def __iter__(self) -> Iterator[FailedRow]:
        """The rows after the header, in the order of the file.

        Raises OSError, UnicodeDecodeError and csv.Error.
        """
        if not self._is_usable:
            return
        reader = self._records()
        while True:
            offset = self._handle.tell()
            cells = next(reader, None)
            if cells is None:
                return
            row = self._columns.row(cells, offset)
            if row is not None:
                yield row

    def at(self, offset: int) -> FailedRow:
        """The row that begins at this offset. Raises ValueError if the file has changed."""
        self._handle.seek(offset)
        row = self._columns.row(next(self._records(), []), offset)
        if row is None:
            raise ValueError(f"no row at byte {offset}")
        return row

    def _records(self) -> Iterator[list[str]]:
        return csv.reader(line.decode() for line in self._handle)


def read_failed_rows(path: Path) -> Iterator[FailedRow]:
    """The rows of a failed-rows file. Raises OSError, UnicodeDecodeError and csv.Error."""
    with path.open("rb") as handle:
        yield from FailedRowsFile(handle)


def group_failures(rows: Iterable[FailedRow]) -> list[FailureGroup]:
    """One group for each unit, assessment and code, sorted by these.

    A unit or an assessment that does not look like a code is not shown: it may be personal data.
    """
    counts: dict[tuple[str, str, str], int] = {}
    attempts: dict[tuple[str, str, str], list[int]] = {}
    for row in rows:
        key = (_shown(row.unit), _shown(row.assessment), row.code)
        counts[key] = counts.get(key, 0) + 1
        listed = attempts.setdefault(key, [])
        if row.attempt is not None and len(listed) < _LISTED_ATTEMPTS:
            listed.append(row.attempt)
    return [
        FailureGroup(*key, count, tuple(attempts[key])) for key, count in sorted(counts.items())
    ]


def _shown(text: str) -> str:
    """A code as it is; any other text of an input cell may be personal data."""
    return text if not text or _CODE.fullmatch(text) else NOT_A_CODE


def _attempt(text: str) -> int | None:
    try:
        return parse_attempt_id(text)
    except RowError:
        return None
