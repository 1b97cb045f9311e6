"""failures_by_assessment.csv opens in a spreadsheet without damage (specification §2)."""

import csv
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.files import csv_of
from rogo_async.reporting.failures_csv import COLUMNS, spreadsheet_text, write_failures

HEADER = ["Surname", "Attempt ID", "Unit Code", "Assessment ID", "Error"]


def table(folder: Path, *rows: list[str]) -> list[list[str]]:
    source, target = folder / "failed.csv", folder / "table.csv"
    source.write_bytes(csv_of([HEADER, *rows]).encode())
    write_failures(source, target, lambda row: row.attempt in {1, 3}, lambda row: row.attempt == 3)
    assert target.read_bytes().startswith(b"\xef\xbb\xbf")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    header, *lines = csv.reader(target.read_text("utf-8-sig").splitlines(), strict=True)
    assert header == list(COLUMNS)
    return lines


def test_rows_are_grouped_by_unit_assessment_and_code(tmp_path: Path) -> None:
    assert table(
        tmp_path,
        ["é", "3", "U2", "A1", "email_missing: no email"],
        ["é", "2", "U1", "A9", "report_missing: no, report"],
        ["é", "x", "U1", "A9", "attempt_id_invalid: 'x'"],
        ["é", "1", "U1", "A9", "report_missing: none"],
    ) == [
        ["U1", "A9", "attempt_id_invalid", "1", "no", "no", "x", "'x'"],
        ["U1", "A9", "report_missing", "2", "no", "no", "2", "no, report"],
        ["U1", "A9", "report_missing", "2", "yes", "no", "1", "none"],
        ["U2", "A1", "email_missing", "1", "no", "yes", "3", "no email"],
    ]


def test_a_run_without_failures_writes_the_header(tmp_path: Path) -> None:
    assert table(tmp_path) == []


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    (line,) = table(tmp_path, ["=1", "@x", "=SUM(A1:A9)", "+1", "email_missing: -2"])
    assert line == ["'=SUM(A1:A9)", "'+1", "email_missing", "1", "no", "no", "'@x", "'-2"]


@pytest.mark.parametrize(
    "text",
    [
        *("0012", "3E02", "1.50", "1,234", "9" * 16, "50%", "$5", "5 €", "(5)", "TRUE"),
        *("1-2", "1/2/2025", "12:30", "2025-03-01T10:00:00", "5 PM", "12:30 am", "5 Mar", "MAR10"),
        "\t=1",
    ],
)
def test_a_text_that_a_spreadsheet_changes_gets_an_apostrophe(text: str) -> None:
    assert spreadsheet_text(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "U1", "3ENG02", "104711", "email_missing", "A-77", "market", "5A", "4t2"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert spreadsheet_text(text) == text


@given(st.text())
def test_nothing_is_lost(text: str) -> None:
    written = spreadsheet_text(text)
    assert written in {text, f"'{text}"}
    assert written[:1] not in set("=+-@\t\r\n")
