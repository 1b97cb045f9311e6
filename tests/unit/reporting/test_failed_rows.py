"""Failed-rows files are read back, and their rows are grouped (specification §2)."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.files import csv_of
from rogo_async.reporting.failed_rows import (
    NOT_A_CODE,
    FailedRow,
    FailedRowsFile,
    FailureGroup,
    group_failures,
    read_failed_rows,
)

HEADER = ["Surname", "Attempt ID", "Unit Code", "Assessment ID", "Error"]


def written(folder: Path, *rows: list[str], header: list[str] = HEADER) -> Path:
    path = folder / "failed.csv"
    path.write_bytes(csv_of([header, *rows]).encode())
    return path


def test_a_row_has_its_code_message_unit_and_assessment(tmp_path: Path) -> None:
    path = written(tmp_path, ["a", " 007", "U1 ", "A1", "email_missing: no: email"])
    assert list(read_failed_rows(path)) == [
        FailedRow(
            offset=len(csv_of([HEADER])),
            attempt=7,
            attempt_id="007",
            unit="U1",
            assessment="A1",
            code="email_missing",
            message="no: email",
            cells=("a", " 007", "U1 ", "A1"),
        )
    ]


def test_the_cells_of_a_malformed_row_are_not_used(tmp_path: Path) -> None:
    path = written(tmp_path, ["x", "7", "Ada", "ada@x.example", "row_malformed: line 3"])
    (row,) = read_failed_rows(path)
    assert (row.attempt, row.unit, row.assessment) == (None, "", "")


def test_an_incomplete_last_line_is_no_row(tmp_path: Path) -> None:
    path = written(tmp_path, ["a", "1", "U1", "A1", "email_missing: x"])
    path.write_bytes(path.read_bytes() + b'b,2,U1,"A')
    assert [row.attempt for row in read_failed_rows(path)] == [1]


def test_another_file_has_no_failed_rows(tmp_path: Path) -> None:
    assert list(read_failed_rows(written(tmp_path, ["1"], header=["Attempt ID"]))) == []
    (tmp_path / "failed.csv").write_bytes(b"")
    assert list(read_failed_rows(tmp_path / "failed.csv")) == []


_TEXT = st.text('ab\r\n",;=é', max_size=6)


@given(st.lists(st.tuples(_TEXT, st.integers(1, 99), _TEXT, _TEXT), max_size=5), st.booleans())
def test_every_row_is_read_again_at_its_offset(
    rows: list[tuple[str, int, str, str]], with_mark: bool
) -> None:
    lines = [[name, str(attempt), unit, "A1", f"x: {text}"] for name, attempt, unit, text in rows]
    mark = b"\xef\xbb\xbf" if with_mark else b""
    file = FailedRowsFile(io.BytesIO(mark + csv_of([HEADER, *lines]).encode()))
    found = list(file)
    assert [list(row.cells) for row in found] == [line[:-1] for line in lines]
    assert [file.at(row.offset) for row in reversed(found)] == found[::-1]


def test_groups_are_sorted_and_counted(tmp_path: Path) -> None:
    lines = [
        ["x", "3", "U2", "A1", "email_missing: x"],
        ["x", "2", "U1", "A9", "email_missing: y"],
        ["x", "1", "U1", "A1", "report_missing: x"],
        ["x", "no", "U1", "A9", "email_missing: z"],
    ]
    assert group_failures(read_failed_rows(written(tmp_path, *lines))) == [
        FailureGroup("U1", "A1", "report_missing", 1, (1,)),
        FailureGroup("U1", "A9", "email_missing", 2, (2,)),
        FailureGroup("U2", "A1", "email_missing", 1, (3,)),
    ]


def test_a_group_lists_twenty_attempts(tmp_path: Path) -> None:
    lines = [["x", str(n), "U1", "A1", "email_missing: x"] for n in range(1, 31)]
    (group,) = group_failures(read_failed_rows(written(tmp_path, *lines)))
    assert (group.rows, group.attempts) == (30, tuple(range(1, 21)))


@pytest.mark.parametrize("cell", ["Ada Example", "ada@learner.example", "x" * 41])
def test_what_is_no_code_is_not_in_a_group(tmp_path: Path, cell: str) -> None:
    lines = [["x", "1", cell, cell, "email_missing: x"]]
    (group,) = group_failures(read_failed_rows(written(tmp_path, *lines)))
    assert (group.unit, group.assessment) == (NOT_A_CODE, NOT_A_CODE)
