"""A failed-rows file is in the order of the input at the end of a run (specification §2)."""

import csv
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode
from rogo_async.common.files import csv_of
from rogo_async.pipeline.failed_rows_file import NUMBERED, PLAIN, FailedRowsWriter, RowIndex
from rogo_async.rules.records import Outcome, SourceRow, Status
from tests.unit.rules.builders import a_row


def failure(line: int, *cells: str) -> Outcome:
    empty: SourceRow = a_row()
    row = type(empty)(line, cells, None, *[""] * 11)
    return Outcome(row, Status.FAILED, line, FailureCode.EMAIL_MISSING, "empty")


async def test_rows_are_sorted_by_line_the_highest_first(tmp_path: Path) -> None:
    path = tmp_path / "failed.csv"
    file = FailedRowsWriter(path, PLAIN)
    await file.open(["A", "B"])
    await file.append([failure(9, "9", "two\nlines"), failure(40, "40", "a,b")])
    await file.append([failure(10, "10", "lone\rCR"), failure(300, "300", "é")])
    before = path.read_bytes()
    await file.sort()
    expected = [
        ["A", "B", "Error"],
        *([n, b, "email_missing: empty"] for n, b in (("300", "é"), ("40", "a,b"))),
        *([n, b, "email_missing: empty"] for n, b in (("10", "lone\rCR"), ("9", "two\nlines"))),
    ]
    assert path.read_bytes() == csv_of(expected).encode()
    assert sorted(path.read_bytes()) == sorted(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.new"))


async def test_an_empty_file_keeps_its_header(tmp_path: Path) -> None:
    file = FailedRowsWriter(tmp_path / "failed.csv", PLAIN)
    await file.open(["A"])
    await file.sort()
    assert (tmp_path / "failed.csv").read_bytes() == b"A,Error\n"


async def test_the_rows_of_a_shard_begin_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "failed.csv"
    file = FailedRowsWriter(path, NUMBERED)
    await file.open(["A"])
    await file.append([failure(7, "x")])
    await file.sort()
    with path.open(encoding="utf-8", newline="") as lines:
        assert list(csv.DictReader(lines)) == [
            {"Line": "7", "A": "x", "Error": "email_missing: empty"}
        ]


@given(st.lists(st.integers(2, 10**6), unique=True), st.data())
def test_the_index_finds_every_row_again(lines: list[int], data: st.DataObject) -> None:
    index, content = RowIndex(3), b"hd\n"
    for line in lines:
        row = b"%d" % line + b"x" * data.draw(st.integers(0, 5)) + b"\n"
        content += row
        index.add(line, index.end + len(row))
    found = [(line, content[start : start + size]) for line, start, size in index.newest_first()]
    assert [line for line, _ in found] == sorted(lines, reverse=True)
    assert all(text.startswith(b"%d" % line) and text.endswith(b"\n") for line, text in found)
    assert sum(len(text) for _, text in found) == len(content) - 3
