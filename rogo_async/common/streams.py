"""Standard streams whose errors cost output only, never the work or its exit code."""

import contextlib
import io
import os
import select
import sys
import textwrap
from collections.abc import Sequence
from typing import Final, TextIO

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_BUFFER_BYTES: Final = 8192


def open_standard_streams() -> None:
    """Prepare the standard streams; call this before anything else is imported or opened.

    A stream that the caller closed becomes /dev/null. Without this the next file or socket would
    get its number, and output would go into that file. Output to a closed pipe or a full disk is
    dropped, and a character that the encoding does not have is written as an escape.
    """
    for number in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(number)
        except OSError:
            # The lower numbers are open, so this one is the lowest that is free.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
    if sys.stdin is None:
        sys.stdin = open(_STDIN, encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    sys.stdout = _output(_STDOUT, sys.stdout)
    sys.stderr = _output(_STDERR, sys.stderr)


def print_lines(lines: Sequence[str], *, to_both: bool) -> None:
    """Print lines to standard output. ``to_both``: to standard error, too.

    They are printed once if both are the same terminal, file or pipe.
    """
    streams = [sys.stdout]
    if to_both:
        streams = [sys.stderr] if _same_file(sys.stdout, sys.stderr) else [sys.stderr, sys.stdout]
    for stream in streams:
        stream.write("".join(f"{wrapped(line, stream)}\n" for line in lines))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def wrapped(line: str, stream: TextIO, indent: int = 4) -> str:
    """A line, broken between words if ``stream`` is a terminal; further lines begin indented.

    Paths stay whole, so that they can be copied.
    """
    columns = 0
    with contextlib.suppress(OSError, ValueError):  # no terminal, or one that was closed
        columns = os.get_terminal_size(stream.fileno()).columns
    if len(line) <= columns or columns <= 2 * indent:  # 0 for a terminal of unknown size
        return line
    return textwrap.fill(
        line,
        columns,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def can_move_cursor(stream: TextIO) -> bool:
    """Whether a stream is a terminal on which a display can be drawn in place."""
    return stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def show_cursor() -> None:
    """Show the cursor, which a progress bar on the terminal has hidden, on a new line."""
    if os.isatty(_STDERR) and os.environ.get("TERM") not in {None, "", "dumb", "unknown"}:
        # Not through sys.stderr: the bar has replaced it.
        with contextlib.suppress(OSError):
            os.write(_STDERR, b"\x1b[?25h\n")


def _same_file(one: TextIO, other: TextIO) -> bool:
    return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))


class _DroppingFile(io.FileIO):
    """A file that drops what cannot be written."""

    def write(self, data: "io.ReadableBuffer", /) -> int:  # type: ignore[name-defined]
        size = memoryview(data).nbytes
        try:
            written = super().write(data)
            while written is None:  # a non-blocking pipe that is full
                poller = select.poll()
                poller.register(self.fileno(), select.POLLOUT)
                poller.poll()
                written = super().write(data)
        except OSError:
            return size
        return written


def _output(number: int, before: TextIO | None) -> TextIO:
    file = _DroppingFile(number, "wb", closefd=False)
    by_line = number == _STDERR or file.isatty()
    if isinstance(before, io.TextIOWrapper):
        before.flush()
        by_line = before.line_buffering or before.write_through
    return io.TextIOWrapper(
        io.BufferedWriter(file, _BUFFER_BYTES),
        encoding="utf-8" if before is None else before.encoding,
        errors="backslashreplace",
        line_buffering=by_line,
    )
