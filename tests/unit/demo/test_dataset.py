"""The generated data set is reproducible, has every outcome, and matches its expected results."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import pytest

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.demo.dataset.dataset import Dataset, generate
from rogo_async.demo.dataset.failure_cases import FAILURE_CASES, MAX_FORBIDDEN
from rogo_async.demo.dataset.valid_variants import VALID_VARIANTS
from rogo_async.demo.dataset.writers import MAPPING_COLUMNS, SUBMISSION_COLUMNS
from rogo_async.rules.records import FileKind, Status
from tests.support.codes import FIRST_RUN_CODES

AZURE = "http://127.0.0.1:1234/account/rogo-source"
SCRIPTED = "http://127.0.0.1:5678"


@lru_cache(maxsize=4)
def data_set(rows: int, seed: int) -> Dataset:
    return generate(rows, seed, AZURE, SCRIPTED)


def parsed(text: Iterator[str]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("".join(text).removeprefix("\ufeff"), newline="")))


def test_the_same_seed_gives_the_same_data_set() -> None:
    one, two = generate(300, 5, AZURE, SCRIPTED), generate(300, 5, AZURE, SCRIPTED)
    assert "".join(one.submission_csv()) == "".join(two.submission_csv())
    assert "".join(one.mapping_csv()) == "".join(two.mapping_csv())
    assert list(one.reports()) == list(two.reports())
    assert list(one.scores()) == list(two.scores())
    assert list(one.blobs()) == list(two.blobs())
    assert (one.target, one.routes) == (two.target, two.routes)
    assert one.expected_malpractice_rules == two.expected_malpractice_rules


def test_another_seed_gives_another_data_set() -> None:
    assert "".join(data_set(300, 5).submission_csv()) != "".join(data_set(300, 6).submission_csv())


@pytest.mark.parametrize(("rows", "seed"), [(150, 1), (150, 7), (500, 7), (2_000, 7)])
def test_every_code_occurs_and_most_rows_migrate(rows: int, seed: int) -> None:
    dataset = data_set(rows, seed)
    assert set(dataset.by_code()) == {code.value for code in FIRST_RUN_CODES}
    assert dataset.counts()[Status.MIGRATED] > rows * 0.6


def test_few_rows_fail_and_fewer_are_forbidden() -> None:
    for rows in (150, 2_000, 5_000):
        dataset = data_set(rows, 7)
        assert dataset.by_code()["source_forbidden"] <= MAX_FORBIDDEN
    assert data_set(2_000, 7).counts()[Status.FAILED] <= 2_000 * 0.08
    assert data_set(5_000, 7).counts()[Status.FAILED] <= 120


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 19, 20, 21, 50, 149, 1_000])
def test_any_number_of_rows_is_possible(rows: int) -> None:
    dataset = data_set(rows, 7)
    assert len(dataset.expected) == rows
    assert sum(dataset.counts().values()) == rows
    assert dataset.counts()[Status.MIGRATED] * 2 > rows


def test_a_data_set_without_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one"):
        generate(0, 1, AZURE, SCRIPTED)


def test_two_thousand_rows_have_every_failure_case() -> None:
    failed = data_set(2_000, 7).by_code()
    assert all(failed[code.value] >= min(len(causes), 4) for code, causes in FAILURE_CASES.items())
    assert data_set(2_000, 7).counts()[Status.MIGRATED] > len(VALID_VARIANTS)


def test_the_csv_file_parses_back_to_its_rows() -> None:
    dataset = data_set(500, 7)
    header, *lines = parsed(dataset.submission_csv())
    rows = [row for row in lines if row]
    assert tuple(header) == SUBMISSION_COLUMNS
    assert len(rows) == 500
    assert len(lines) == 500 + len(dataset.blank_lines)
    width = len(SUBMISSION_COLUMNS) - 1
    for row, expected in zip(rows, dataset.expected, strict=True):
        assert tuple((row + [""] * width)[:width]) == expected.cells
        malformed = len(row) != len(SUBMISSION_COLUMNS) or row[-1].startswith("row_malformed")
        assert malformed == (expected.code is FailureCode.ROW_MALFORMED)


def test_line_numbers_are_those_of_the_first_line_of_a_row() -> None:
    dataset = data_set(500, 7)
    lines = "".join(dataset.submission_csv()).split("\n")
    for expected in dataset.expected:
        first_cell = expected.cells[0].split("\n")[0].rstrip("\r")
        assert lines[expected.line - 1].lstrip('"').startswith(first_cell)


def test_the_csv_file_has_every_special_case_of_rfc_4180() -> None:
    text = "".join(data_set(2_000, 7).submission_csv())
    assert text.startswith("\ufeffMembership Number,")
    assert text.endswith("\r\n")
    assert "\r\n\r\n" in text
    assert '""best practice""' in text
    assert "課題" in text
    assert "%20" in text
    assert "in Times of Change" in text


def test_the_mapping_has_every_special_case() -> None:
    dataset = data_set(2_000, 7)
    header, *lines = parsed(dataset.mapping_csv())
    assert tuple(header) == MAPPING_COLUMNS
    joined = [line for line in lines if "|" in line[0]]
    assert len(lines) / 160 < len(joined) < len(lines) / 40
    by_attempt = Counter(line[0].lstrip("0") for line in lines)
    assert max(by_attempt.values()) > 1
    assert any(line[2] == "" for line in lines)
    assert any(line[4].startswith("Retake Attempt") for line in lines)


def test_only_rows_without_a_valid_attempt_id_have_no_attempt() -> None:
    for row in data_set(500, 7).expected:
        without_attempt = row.code in {
            FailureCode.ROW_MALFORMED,
            FailureCode.ATTEMPT_ID_MISSING,
            FailureCode.ATTEMPT_ID_INVALID,
        }
        assert (row.attempt is None) == without_attempt
        assert (row.submission is not None) == (row.status is Status.MIGRATED)
        assert (row.code is None) == (row.status is Status.MIGRATED)


def test_only_the_last_row_of_an_attempt_migrates() -> None:
    dataset = data_set(2_000, 7)
    attempts = [row.attempt for row in dataset.expected if row.status is Status.MIGRATED]
    assert len(attempts) == len(set(attempts))
    last = {row.attempt: row.index for row in dataset.expected if row.attempt is not None}
    for row in dataset.expected:
        if row.attempt is not None:
            assert (row.index == last[row.attempt]) == (row.code is not SkipCode.DUPLICATE_ROW)


def test_attempt_1_migrates_despite_similar_launch_ids() -> None:
    dataset = data_set(20, 7)
    assert dataset.expected[0].attempt == 1
    assert dataset.expected[0].status is Status.MIGRATED
    launches = {row["launch_id"] for row in dataset.target["lti_launch_sessions"]}
    assert {"rogo_12_x", "rogo_1x_2"} <= launches


def test_files_have_their_order_and_folder() -> None:
    kinds = set()
    for submission in data_set(500, 7).submissions():
        files = submission.files()
        assert [file.order for file in files] == list(range(1, len(files) + 1))
        assert [file.row["upload_order"] for file in files] == [file.order for file in files]
        ordered = [file.kind for file in files]
        assert ordered == sorted(ordered, key=[FileKind.SUBMISSION, FileKind.FEEDBACK].index)
        for file in files:
            assert file.folder.endswith(f"/rogo_{submission.attempt}")
            kinds.add(file.kind)
    assert kinds == set(FileKind)


def test_file_sizes_are_realistic() -> None:
    sizes = [blob.size_bytes for blob in data_set(2_000, 7).blobs()]
    assert min(sizes) == 0
    assert 300_000 < max(sizes) < 1_500_000
    ordinary = [size for size in sizes if 2_000 <= size <= 60_000]
    assert len(ordinary) > 0.98 * len(sizes)


def test_blob_names_are_unique_and_sizes_correct() -> None:
    blobs = list(data_set(150, 7).blobs())
    assert len({blob.path for blob in blobs}) == len(blobs)
    assert all(len(blob.body()) == blob.size_bytes for blob in blobs)


def test_a_large_file_is_generated_on_request_only() -> None:
    size_bytes = 50_000_000
    dataset = generate(30, 1, AZURE, SCRIPTED, large_file_bytes=size_bytes)
    assert max(blob.size_bytes for blob in dataset.blobs()) == size_bytes
    assert max(blob.size_bytes for blob in data_set(30, 1).blobs()) < 2_000_000
