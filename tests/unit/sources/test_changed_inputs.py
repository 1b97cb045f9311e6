"""An input file that changes while it is read ends the run (specification §1)."""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rogo_async.common.errors import InputChanged
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.sources import mapping_csv
from rogo_async.sources.mapping_csv import load_mapping
from rogo_async.sources.submissions_csv import BLOCK_ROWS, SubmissionsFile
from tests.support.builders import COLUMNS, MAPPING_COLUMNS

ROWS = 2 * BLOCK_ROWS
Change = Callable[[Path], object]


def append_a_row(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x\n")


def append_and_hide_the_time(path: Path) -> None:
    """As a copy that sets the times of its source."""
    at = path.stat()
    append_a_row(path)
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))


def replace_a_cell(path: Path) -> None:
    """The length stays."""
    at = path.stat()
    content = path.read_bytes()
    assert b",99," in content
    path.write_bytes(content.replace(b",99,", b",98,", 1))
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns + 1))


def remove_the_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


in_every_way = pytest.mark.parametrize(
    "change", [append_a_row, append_and_hide_the_time, replace_a_cell, remove_the_end]
)


@pytest.fixture
def submissions(tmp_path: Path) -> Path:
    path = tmp_path / "submission_files.csv"
    index = COLUMNS.index("Attempt ID")
    lines = ([str(n) if at == index else "" for at in range(len(COLUMNS))] for n in range(ROWS))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *lines])
    return path


@in_every_way
async def test_a_change_between_two_blocks(submissions: Path, change: Change) -> None:
    file = await SubmissionsFile.open(submissions)
    try:
        chunks = file.chunks_from_end()
        assert len(await anext(chunks)) == BLOCK_ROWS
        change(submissions)
        with pytest.raises(InputChanged):
            await anext(chunks)
    finally:
        file.close()


@in_every_way
async def test_a_change_while_the_rows_are_counted(submissions: Path, change: Change) -> None:
    changes = [change]

    def on_bytes(_: int) -> None:
        while changes:
            changes.pop()(submissions)

    with pytest.raises(InputChanged):
        await SubmissionsFile.open(submissions, on_bytes)
    assert changes == []


@in_every_way
async def test_a_change_while_the_mapping_is_read(
    tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "attempt_number_mapping.csv"
    lines = [[n, "U", 99, "A", "Attempt 1"] for n in range(1, ROWS)]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([MAPPING_COLUMNS, *lines])
    changes = [change]

    def parse(text: str) -> int:
        while changes:
            changes.pop()(path)
        return parse_attempt_id(text)

    monkeypatch.setattr(mapping_csv, "parse_attempt_id", parse)
    with pytest.raises(InputChanged):
        await load_mapping(path)
