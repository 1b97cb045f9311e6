"""A failure is new when the row's latest known failure had another code (specification §2)."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from rogo_async.common.data_dir import FAILED, DataDir
from rogo_async.common.errors import FailureCode
from rogo_async.common.files import csv_of
from rogo_async.pipeline.known_failures import KnownFailures

HEADER = ["Surname", "Attempt ID", "Error"]
FIRST, SECOND, THIRD, FOURTH = (f"2026010{day}T010000Z-00000000" for day in range(1, 5))
EMAIL, REPORT = FailureCode.EMAIL_MISSING, FailureCode.REPORT_MISSING


def is_new(known: KnownFailures, attempt: int | None, code: FailureCode, *cells: str) -> bool:
    return known.is_new(attempt, cells, code)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    data = DataDir(tmp_path)
    data.make_runs()
    return data


def full_run(data: DataDir, run_id: str, *failed: list[str]) -> None:
    data.begin_full_run(run_id)
    (data.path / FAILED).write_text(csv_of([HEADER, *failed]), encoding="utf-8")


def selection(data: DataDir, run_id: str, *failed: list[str]) -> None:
    (data.runs / f"{run_id}.failed.csv").write_text(csv_of([HEADER, *failed]), encoding="utf-8")


def known(data: DataDir) -> KnownFailures:
    return KnownFailures.read(data.failed_rows_files())


def test_a_run_that_ended_early_makes_no_failure_new(data: DataDir) -> None:
    full_run(data, FIRST, ["a", "1", "email_missing: x"], ["b", "2", "report_missing: x"])
    full_run(data, SECOND)
    full_run(data, THIRD, ["b", "2", "email_missing: x"])
    found = known(data)
    assert not is_new(found, 1, EMAIL)
    assert is_new(found, 1, REPORT)
    assert not is_new(found, 2, EMAIL)
    assert is_new(found, 2, REPORT)
    assert is_new(found, 3, EMAIL)


def test_a_selection_counts_in_the_order_of_the_runs(data: DataDir) -> None:
    full_run(data, FIRST, ["a", "1", "email_missing: x"], ["b", "2", "email_missing: x"])
    selection(data, SECOND, ["a", "1", "report_missing: x"], ["c", "3", "report_missing: x"])
    full_run(data, THIRD, ["c", "3", "email_missing: x"])
    found = known(data)
    assert not is_new(found, 1, REPORT)
    assert not is_new(found, 2, EMAIL)
    assert not is_new(found, 3, EMAIL)
    selection(data, FOURTH, ["c", "3", "report_missing: x"])
    assert not is_new(known(data), 3, REPORT)


def test_rows_without_an_attempt_are_identified_by_their_cells(data: DataDir) -> None:
    full_run(data, FIRST, ["a", "x", "attempt_id_invalid: x"], ["b", "5", "row_malformed: x"])
    found = known(data)
    assert not is_new(found, None, FailureCode.ATTEMPT_ID_INVALID, "a", "x")
    assert is_new(found, None, FailureCode.ATTEMPT_ID_INVALID, "b", "x")
    assert not is_new(found, None, FailureCode.ROW_MALFORMED, "b", "5")
    assert is_new(found, 5, FailureCode.ROW_MALFORMED, "b", "5")


def test_a_file_that_a_spreadsheet_or_a_power_loss_left_is_read(data: DataDir) -> None:
    full_run(data, FIRST, ["a", "1", "email_missing: x"])
    path = data.path / FAILED
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b'"b","2')
    found = known(data)
    assert not is_new(found, 1, EMAIL)
    assert is_new(found, 2, EMAIL)


def test_a_file_that_cannot_be_opened_is_named(data: DataDir) -> None:
    full_run(data, FIRST, ["a", "1", "email_missing: x"])
    unreadable = data.runs / f"{SECOND}.failed.csv"
    unreadable.mkdir()
    with capture_logs() as logs:
        found = known(data)
    assert not is_new(found, 1, EMAIL)
    assert [(line["file"], line["reason"]) for line in logs] == [
        (str(unreadable), "Is a directory")
    ]


def test_bytes_that_are_no_text_are_named(data: DataDir) -> None:
    full_run(data, FIRST, ["a", "1", "email_missing: x"])
    full_run(data, SECOND)
    (data.path / FAILED).write_bytes(b"Surname,Attempt ID,Error\n\xff\xff,2,email_missing: x\n")
    with capture_logs() as logs:
        assert not is_new(known(data), 1, EMAIL)
    assert [line["reason"] for line in logs] == ["no CSV"]
