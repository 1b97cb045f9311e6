"""RFC 4180 files as records with known places (SPEC §1): UTF-8, a byte-order mark tolerated."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from rogo_async.errors import SetupError

MAX_CELL_CHARS: Final = 8 * 1024 * 1024
"""A quoted cell longer than this is taken for a quote that was never closed."""

_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Record:
    """One record that is no blank line. ``defect`` says why ``cells`` are only a guess."""

    offset: int
    line: int
    cells: list[str]
    defect: str | None = None


@dataclass(slots=True)
class _Lines:
    """Decoded lines of a file, with the place that the next one begins at."""

    source: Iterable[bytes]
    offset: int
    line: int = 0
    last: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        for raw in self.source:
            self.line += 1
            self.offset += len(raw)
            text = raw.decode("utf-8")
            self.last.append(text)
            yield text


def records(source: Iterable[bytes], offset: int = 0, line: int = 0) -> Iterator[Record]:
    """The records of some lines of bytes (each with its line end), with offsets and line numbers.

    Quotes are read as the csv module reads them: special only where a cell begins. A record
    that cannot be read at all comes with its commas split and its defect named. Raises
    UnicodeDecodeError where the bytes are no UTF-8 and csv.Error for a cell without an end.
    """
    csv.field_size_limit(MAX_CELL_CHARS)
    lines = _Lines(source, offset, line)
    reader = csv.reader(iter(lines))
    while True:
        start, first_line = lines.offset, lines.line + 1
        lines.last.clear()
        defect = None
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "limit" in str(error):
                raise
            cells, defect = "".join(lines.last).rstrip("\r\n").split(","), str(error)
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield Record(start, first_line, cells, defect)


def scan(path: Path, handle: BinaryIO) -> Iterator[Record]:
    """Every record of a whole file, the header first.

    Raises SetupError, naming file and line, for a file that is not UTF-8 or whose last quoted
    cell never ends: what follows such a quote would be swallowed as one cell.
    """
    offset = len(_BOM) if handle.read(len(_BOM)) == _BOM else 0
    handle.seek(offset)
    last = Record(offset, 1, [])
    try:
        for record in records(handle, offset):
            last = record
            yield record
    except UnicodeDecodeError:
        line = _line_of_bad_byte(handle)
        raise SetupError(
            f"{path}, line {line}: the text is not UTF-8. Export the file as UTF-8 and start again"
        ) from None
    except csv.Error:
        raise _unclosed(path, last.line, "after") from None
    if last.cells and not _is_closed(handle, last.offset):
        raise _unclosed(path, last.line, "in the row that begins at")


def _unclosed(path: Path, line: int, where: str) -> SetupError:
    return SetupError(
        f'{path}: a quoted cell never ends ({where} line {line}). Add the closing " and start again'
    )


def _is_closed(handle: BinaryIO, offset: int) -> bool:
    handle.seek(offset)
    try:
        for _ in csv.reader((raw.decode("utf-8") for raw in handle), strict=True):
            pass
    except csv.Error as error:
        return "unexpected end of data" not in str(error)
    return True


def _line_of_bad_byte(handle: BinaryIO) -> int:
    handle.seek(0)
    for line, raw in enumerate(handle, start=1):
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            return line
    return 0


def open_input(path: Path) -> BinaryIO:
    """Open an input file. Raises SetupError when it is missing, unreadable or of no bytes."""
    try:
        handle = path.open("rb")
        size_bytes = path.stat().st_size
    except FileNotFoundError:
        raise SetupError(
            f"{path}: no such file. Put it there or name another directory "
            "(--data-dir, ROGO_DATA_DIR)"
        ) from None
    except OSError as error:
        raise SetupError(f"{path}: cannot be read: {error.strerror}") from None
    if size_bytes == 0 and path.is_file():
        handle.close()
        raise SetupError(f"{path}: the file has no bytes, not even a header. Export it again")
    return handle


def column_places(path: Path, header: list[str], used: Iterable[str]) -> dict[str, int]:
    """Where each used column stands. Raises SetupError naming every one missing or doubled."""
    names = [name.strip() for name in header]
    missing = [name for name in used if name not in names]
    doubled = [name for name in used if names.count(name) > 1]
    problems = []
    if missing:
        problems.append(
            f"{path}: missing columns: {', '.join(missing)}. Export it with all columns"
        )
    if doubled:
        problems.append(f"{path}: columns that stand there twice: {', '.join(doubled)}")
    if problems:
        raise SetupError(*problems)
    return {name: names.index(name) for name in used}
