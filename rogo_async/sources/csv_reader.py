"""RFC 4180 files as records with known places: UTF-8, a byte-order mark tolerated."""

import csv
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from rogo_async.common.errors import SetupError

MAX_CELL_CHARS: Final = 1024 * 1024
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
    """Lines of a file, decoded one by one, that can be given back."""

    source: Iterator[bytes]
    offset: int
    line: int
    taken: list[tuple[int, str]] = field(default_factory=list)
    given_back: deque[tuple[int, str]] = field(default_factory=deque)
    at_end: bool = False

    def __iter__(self) -> Iterator[str]:
        while True:
            if self.given_back:
                size_bytes, text = self.given_back.popleft()
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

    def give_back_all_but_first(self) -> None:
        """Let the lines after the first of this record be read again."""
        for size_bytes, text in reversed(self.taken[1:]):
            self.line -= 1
            self.offset -= size_bytes
            self.given_back.appendleft((size_bytes, text))
        self.at_end = False
        del self.taken[1:]


def records(
    source: Iterable[bytes], offset: int = 0, line: int = 0, width: int | None = None
) -> Iterator[Record]:
    """The records of some lines of bytes (each with its line end), with offsets and line numbers.

    Quotes are read as the csv module reads them: special only where a cell begins. A quote that
    is not closed where its cell ends would swallow the rows that follow, so such a record ends
    with its first line, and reading goes on with the second; so it is where a line inside of a
    quoted cell is by itself a row of ``width`` cells. A record that cannot be read comes with
    its commas split and its defect named. Raises UnicodeDecodeError where the bytes are no UTF-8.
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
            lines.give_back_all_but_first()
            cells = lines.taken[0][1].rstrip("\r\n").split(",")
        if len(cells) > 1 or (cells and cells[0].strip()):
            yield Record(start, first_line, cells, defect)


def _swallowed(texts: list[str], width: int | None, *, at_end: bool) -> str | None:
    """Why the lines of a record are not one record; None for a sound one."""
    if len(texts) < 2 and not (at_end and texts and '"' in texts[0]):
        return None
    try:
        for _ in csv.reader(texts, strict=True):
            pass
    except csv.Error:
        return "a quote is not closed where its cell ends"
    if width is not None and any(_is_row(text, width) for text in texts[1:]):
        return "a quoted cell has a whole row in it: is a quote not closed?"
    return None


def _is_row(text: str, width: int) -> bool:
    """Whether a line inside of a quoted cell is by itself a row of the file."""
    if text.count(",") < width - 1 or text.count('"') % 2:
        return False
    return len(next(csv.reader([text]), [])) == width


def scan(path: Path, handle: BinaryIO) -> Iterator[Record]:
    """Every record of a whole file, the header first.

    Raises SetupError, naming file and line, for a file that is not UTF-8.
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
            f"{path}, line {line}: the text is not UTF-8. Export the file as UTF-8 and start again"
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


def column_indexes(path: Path, header: list[str], used: Iterable[str]) -> dict[str, int]:
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
