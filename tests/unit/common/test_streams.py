"""Lines for terminals of any width."""

import fcntl
import os
import struct
import termios
from pathlib import Path

import pytest

from rogo_async.common.streams import wrapped

LINE = "rogo_async: 43 failed (41 new); failed rows: /srv/rogo/runs/20261127T141610Z-64e46595.csv"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (200, [LINE]),
        (0, [LINE]),
        (
            40,
            [
                "rogo_async: 43 failed (41 new); failed",
                "    rows:",
                "    /srv/rogo/runs/20261127T141610Z-64e46595.csv",
            ],
        ),
    ],
)
def test_a_line_is_broken_between_words(columns: int, expected: list[str]) -> None:
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with open(terminal, "w", encoding="utf-8") as stream:  # noqa: PTH123 - a file descriptor
            assert wrapped(LINE, stream).split("\n") == expected
    finally:
        os.close(controller)


def test_a_line_for_a_file_stays_whole(tmp_path: Path) -> None:
    with (tmp_path / "mail").open("w", encoding="utf-8") as stream:
        assert wrapped(LINE * 9, stream) == LINE * 9
