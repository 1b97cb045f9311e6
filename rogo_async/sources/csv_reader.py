"""Reads CSV files (RFC 4180, UTF-8, optional byte-order mark) as records with file positions."""

import csv
import io
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from rogo_async.common.errors import SetupError
from rogo_async.common.files import MAX_CELL_CHARS

_BLANK_BEFORE_QUOTE: Final = "a blank before the quote of a quoted cell"
_OTHER_BLANKS: Final = frozenset("\t\N{NO-BREAK SPACE}")
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One record that is not blank. With a ``defect`` its ``cells`` are only a guess."""

    offset: int
    line: int
    cells: list[str]
    defect: str | None = None


class NotUtf8(Exception):
    """A line of the file is not UTF-8."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is not valid UTF-8")
        self.line = line


@dataclass(slots=True)
class _Lines:
    """The lines of a file one by one; lines can be pushed back."""

    source: Iterator[str]
    offset: int
    line: int
    taken: list[str] = field(default_factory=list)
    pushed_back: deque[str] = field(default_factory=deque)

    def __iter__(self) -> Iterator[str]:
        while True:
            text = self.pushed_back.popleft() if self.pushed_back else next(self.source, "")
            if not text:
                return
            self.line += 1
            try:
                self.offset += _size_bytes(text)
            except UnicodeEncodeError:
                raise NotUtf8(self.line) from None
            self.taken.append(text)
            yield text

    def push_back_all_but_first(self) -> None:
        """Read the lines after the first one of this record again."""
        for text in reversed(self.taken[1:]):
            self.line -= 1
            self.offset -= _size_bytes(text)
            self.pushed_back.appendleft(text)
        del self.taken[1:]


def _size_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class _Text(io.TextIOWrapper):
    """The lines of an open binary file, from its position. The file stays open."""

    def close(self) -> None:
        """The file belongs to the caller."""


def _lines_of(source: BinaryIO) -> Iterator[str]:
    """The lines from the current position, each with its line end: LF, CRLF or CR alone.

    Bytes that are not UTF-8 become surrogates. An error would come too early: the text is decoded
    in advance.
    """
    return _Text(source, encoding="utf-8", errors="surrogateescape", newline="")


def records(
    source: BinaryIO, offset: int = 0, line: int = 0, width: int | None = None
) -> Iterator[Record]:
    """Parse bytes from the current position into records with offsets and line numbers.

    A quote is special only at the start of a cell, and such a cell ends with a quote, as RFC 4180
    demands. An unclosed quote would hide the rows that follow. Such a record therefore ends with
    its first line, and reading continues with the second line. The same applies if a line inside a
    quoted cell is itself a row of ``width`` cells. A malformed record is split at its commas and
    has a ``defect``. Raises NotUtf8.
    """
    csv.field_size_limit(MAX_CELL_CHARS)
    lines = _Lines(_lines_of(source), offset, line)
    while True:
        start, first_line = lines.offset, lines.line + 1
        lines.taken.clear()
        try:
            cells = next(csv.reader(lines, strict=True), None)
            defect = None if cells is None else _hidden_defect(cells, lines.taken, width)
        except csv.Error as error:
            cells, defect = [], _defect_of(error, len(lines.taken))
        if cells is None:
            return
        if defect is not None:
            lines.push_back_all_but_first()
            cells = lines.taken[0].rstrip("\r\n").split(",")
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield Record(start, first_line, cells, defect)


def _defect_of(error: csv.Error, lines: int) -> str:
    text = str(error)
    if lines > 1 or "limit" in text or "unexpected end" in text:
        return "a quote is not closed"
    if "expected after" in text:
        return "a quote inside a quoted cell. RFC 4180 doubles it; a backslash does not escape it"
    return text


def _hidden_defect(cells: list[str], texts: list[str], width: int | None) -> str | None:
    """Why lines that can be parsed are not one record; None for a valid record."""
    if len(texts) > 1 and width is not None and any(_is_row(text, width) for text in texts[1:]):
        return "a quoted cell contains a complete row; probably a quote is not closed"
    if any(' "' in text for text in texts):
        without_blanks = next(csv.reader(texts, strict=True, skipinitialspace=True))
        if [cell.lstrip(" ") for cell in cells] != [cell.lstrip(" ") for cell in without_blanks]:
            return _BLANK_BEFORE_QUOTE
    if any(cell[:1] in _OTHER_BLANKS and cell.lstrip()[:1] == '"' for cell in cells):
        return _BLANK_BEFORE_QUOTE
    return None


def _is_row(text: str, width: int) -> bool:
    """Whether a line inside a quoted cell is itself a row of the file."""
    if text.count(",") < width - 1 or text.count('"') % 2:
        return False
    try:
        return len(next(csv.reader([text], strict=True), [])) == width
    except csv.Error:
        return False


def scan(path: Path, handle: BinaryIO) -> Iterator[Record]:
    """All records of a file, the header first.

    Raises SetupError with file and line for a file that is not UTF-8, or whose header is malformed.
    """
    offset = len(_BOM) if handle.read(len(_BOM)) == _BOM else 0
    handle.seek(offset)
    try:
        header = next(records(handle, offset), None)
        if header is not None:
            _require_valid(path, header)
        handle.seek(offset)
        yield from records(handle, offset, width=len(header.cells) if header else None)
    except NotUtf8 as error:
        raise SetupError(
            f"{path}, line {error.line}: not valid UTF-8. Export the file as UTF-8 and run again"
        ) from None


def _require_valid(path: Path, header: Record) -> None:
    defect = header.defect
    if defect is None and any("\n" in cell or "\r" in cell for cell in header.cells):
        defect = "a line break in the name of a column; probably a quote is not closed"
    if defect is not None:
        raise SetupError(f"{path}, line {header.line}: malformed header: {defect}. Export it again")


def fingerprint(handle: BinaryIO) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns, which differ when the file has changed."""
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns


def open_input(path: Path) -> BinaryIO:
    """Open an input file. Raises SetupError if it is missing, unreadable, no file, or empty."""
    try:
        # Before it is opened: the open of a named pipe waits for a writer.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SetupError(
                f"{path}: {_kind_of(status.st_mode)}, not a regular file. It is read from its end: "
                "save it to a file and use that"
            )
        handle = path.open("rb")
    except FileNotFoundError:
        raise SetupError(
            f"{path}: file not found. Put it there, or use another directory "
            "(--data-dir, ROGO_DATA_DIR)"
        ) from None
    except OSError as error:
        raise SetupError(f"{path}: cannot read the file: {error.strerror}") from None
    if status.st_size == 0:
        handle.close()
        raise SetupError(f"{path}: the file is empty, without a header. Export it again")
    return handle


def _kind_of(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


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
