"""Reads CSV files (RFC 4180, UTF-8, optional byte-order mark) as records with file positions."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from rogo_async.common.errors import SetupError

MAX_CELL_CHARS: Final = 1024 * 1024
"""A longer quoted cell counts as an unclosed quote."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One record that is not blank. With a ``defect`` its ``cells`` are only a guess."""

    offset: int
    line: int
    cells: list[str]
    defect: str | None = None


@dataclass(slots=True)
class _Lines:
    """Decodes the lines of a file one by one; lines can be pushed back."""

    source: Iterator[bytes]
    offset: int
    line: int
    taken: list[tuple[int, str]] = field(default_factory=list)
    pushed_back: deque[tuple[int, str]] = field(default_factory=deque)
    at_end: bool = False

    def __iter__(self) -> Iterator[str]:
        while True:
            if self.pushed_back:
                size_bytes, text = self.pushed_back.popleft()
            else:
                raw = next(self.source, b"")
                if not raw:
                    self.at_end = True
                    return
                size_bytes, text = len(raw), raw.decode("utf-8")
            self.line += 1
            self.offset += size_bytes
            self.taken.append((size_bytes, text))
            yield text

    def push_back_all_but_first(self) -> None:
        """Read the lines after the first one of this record again."""
        for size_bytes, text in reversed(self.taken[1:]):
            self.line -= 1
            self.offset -= size_bytes
            self.pushed_back.appendleft((size_bytes, text))
        self.at_end = False
        del self.taken[1:]


def records(
    source: Iterable[bytes], offset: int = 0, line: int = 0, width: int | None = None
) -> Iterator[Record]:
    """Parse lines of bytes, each with its line end, into records with offsets and line numbers.

    A quote is special only at the start of a cell, as in the csv module. An unclosed quote would
    hide the rows that follow. Such a record therefore ends with its first line, and reading
    continues with the second line. The same applies if a line inside a quoted cell is itself a
    row of ``width`` cells. A malformed record is split at its commas and has a ``defect``. Raises
    UnicodeDecodeError for bytes that are not UTF-8.
    """
    csv.field_size_limit(MAX_CELL_CHARS)
    lines = _Lines(iter(source), offset, line)
    while True:
        start, first_line = lines.offset, lines.line + 1
        lines.taken.clear()
        try:
            cells = next(csv.reader(lines), None)
            defect = _swallowed([text for _, text in lines.taken], width, at_end=lines.at_end)
        except csv.Error as error:
            cells, defect = [], "a quote is not closed" if "limit" in str(error) else str(error)
        if cells is None:
            return
        if defect is not None:
            lines.push_back_all_but_first()
            cells = lines.taken[0][1].rstrip("\r\n").split(",")
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield Record(start, first_line, cells, defect)


def _swallowed(texts: list[str], width: int | None, *, at_end: bool) -> str | None:
    """Why the lines are not one record; None for a valid record."""
    if len(texts) < 2 and not (at_end and texts and '"' in texts[0]):
        return None
    try:
        for _ in csv.reader(texts, strict=True):
            pass
    except csv.Error:
        return "a quote is not closed where its cell ends"
    if width is not None and any(_is_row(text, width) for text in texts[1:]):
        return "a quoted cell contains a complete row; probably a quote is not closed"
    return None


def _is_row(text: str, width: int) -> bool:
    """Whether a line inside a quoted cell is itself a row of the file."""
    if text.count(",") < width - 1 or text.count('"') % 2:
        return False
    return len(next(csv.reader([text]), [])) == width


def scan(path: Path, handle: BinaryIO) -> Iterator[Record]:
    """All records of a file, the header first.

    Raises SetupError with file and line for a file that is not UTF-8.
    """
    offset = len(_BOM) if handle.read(len(_BOM)) == _BOM else 0
    handle.seek(offset)
    try:
        header = next(records(handle, offset), None)
        handle.seek(offset)
        yield from records(handle, offset, width=len(header.cells) if header else None)
    except UnicodeDecodeError:
        line = _line_of_bad_byte(handle)
        raise SetupError(
            f"{path}, line {line}: not valid UTF-8. Export the file as UTF-8 and run again"
        ) from None


def _line_of_bad_byte(handle: BinaryIO) -> int:
    handle.seek(0)
    for line, raw in enumerate(handle, start=1):
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            return line
    return 0


def open_input(path: Path) -> BinaryIO:
    """Open an input file. Raises SetupError if it is missing, unreadable or empty."""
    try:
        handle = path.open("rb")
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        raise SetupError(
            f"{path}: file not found. Put it there, or use another directory "
            "(--data-dir, ROGO_DATA_DIR)"
        ) from None
    except OSError as error:
        raise SetupError(f"{path}: cannot read the file: {error.strerror}") from None
    if size_bytes == 0 and path.is_file():
        handle.close()
        raise SetupError(f"{path}: the file is empty, without a header. Export it again")
    return handle


def column_indexes(path: Path, header: list[str], used: Iterable[str]) -> dict[str, int]:
    """Index of each used column. Raises SetupError with all missing and duplicate columns."""
    names = [name.strip() for name in header]
    missing = [name for name in used if name not in names]
    duplicates = [name for name in used if names.count(name) > 1]
    problems = []
    if missing:
        problems.append(
            f"{path}: missing columns: {', '.join(missing)}. Export it with all columns"
        )
    if duplicates:
        problems.append(
            f"{path}: duplicate columns: {', '.join(duplicates)}. Export it with each column once"
        )
    if problems:
        raise SetupError(*problems)
    return {name: names.index(name) for name in used}
