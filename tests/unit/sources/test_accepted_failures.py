"""accepted_failures.csv accepts exactly what its valid lines say (specification §1)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode
from rogo_async.common.files import csv_of
from rogo_async.sources.accepted_failures import AcceptedFailures, read_accepted_failures
from rogo_async.sources.csv_reader import Record

HEADER = "Attempt ID,Code,Who,Why\n"


def read(folder: Path, text: str | bytes) -> AcceptedFailures:
    path = folder / "accepted_failures.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_accepted_failures(path)


def test_a_line_accepts_one_code_of_one_attempt(tmp_path: Path) -> None:
    found = read(tmp_path, "\ufeff" + HEADER + '007, email_missing ,AB,"left, 2019"\r\n\n')
    assert found == AcceptedFailures(frozenset({(7, "email_missing")}))
    assert found.has(7, FailureCode.EMAIL_MISSING)
    assert not found.has(7, FailureCode.REPORT_MISSING)
    assert not found.has(8, FailureCode.EMAIL_MISSING)
    assert not found.has(None, FailureCode.EMAIL_MISSING)


def test_without_a_file_nothing_is_accepted(tmp_path: Path) -> None:
    assert read_accepted_failures(tmp_path / "none.csv") == AcceptedFailures()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("x,email_missing,AB,why", "Attempt ID"),
        ("0,email_missing,AB,why", "Attempt ID"),
        ("2,email_mising,AB,why", "Code"),
        ("2,already_migrated,AB,why", "Code"),
        ("2,row_malformed,AB,why", "cannot be accepted"),
        ("2,email_missing,,why", "Who or Why"),
        ("2,email_missing,AB,NULL", "Who or Why"),
        ("2,email_missing,AB", "3 cells"),
        ("2,email_missing,AB,why,more", "5 cells"),
        ('2,email_missing,AB,"why', "a quote is not closed"),
    ],
)
def test_a_malformed_line_is_named_and_accepts_nothing(
    tmp_path: Path, line: str, reason: str
) -> None:
    found = read(tmp_path, f"{HEADER}1,email_missing,AB,why\n{line}\n")
    assert found.entries == {(1, "email_missing")}
    (problem,) = found.problems
    assert f"{tmp_path / 'accepted_failures.csv'}, line 3: " in problem
    assert reason in problem


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n", "no header"),
        (b"Attempt ID,Code,Who\n1,email_missing,AB\n", "missing columns: Why"),
        (b"Attempt ID;Code;Who;Why\n1;email_missing;AB;why\n", "missing columns"),
        (HEADER.encode() + b"1,email_missing,AB,why\n2,email_missing,J\xe9,why\n", "line 3"),
    ],
)
def test_a_file_that_is_unusable_as_a_whole_accepts_nothing(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    found = read(tmp_path, content)
    assert found.entries == frozenset()
    (problem,) = found.problems
    assert reason in problem


def test_a_directory_or_a_link_to_nothing_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("nothing")
    for name in ("directory", "link"):
        found = read_accepted_failures(tmp_path / name)
        assert (found.entries, len(found.problems)) == (frozenset(), 1)


def test_a_disk_that_fails_while_it_is_read_accepts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path, _handle: BinaryIO) -> Iterator[Record]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("rogo_async.sources.accepted_failures.scan", broken)
    found = read(tmp_path, HEADER + "1,email_missing,AB,why\n")
    assert found.entries == frozenset()
    assert "Input/output error" in found.problems[0]


@given(st.lists(st.tuples(st.text(), st.text(), st.text(), st.text()), max_size=5))
def test_any_text_is_accepted_only_as_it_is_meant(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, ...]]
) -> None:
    text = HEADER + csv_of([*lines, (5, "email_missing", "AB", "why")])
    found = read(tmp_path_factory.mktemp("any"), text.encode("utf-8", "replace"))
    codes = {line[1].strip() for line in lines} | {"email_missing"}
    assert {code for _, code in found.entries} <= codes
    assert found.has(5, "email_missing")
