"""Each difference between a submission, its rows and its blobs is a problem (specification §2)."""

from dataclasses import replace
from hashlib import md5

import pytest

from rogo_async.commands.verify.comparison import Verdict, compare_blob, compare_rows
from rogo_async.destination.blobs.inventory import BlobContent
from rogo_async.destination.postgres.verification import FileRow, SubmissionRow
from rogo_async.rules.identity import launch_id, submission_id

RUN = "20260101T000000Z-00000001"
SIZE_BYTES, MD5 = 2_000_000, md5(b"bytes", usedforsecurity=False).digest()
FIRST, SECOND = (FileRow(order, "container", f"blob-{order}", "1.9 MB") for order in (1, 2))
ROW = SubmissionRow(
    id=submission_id(RUN, 1),
    launch_id=launch_id(1, "inst"),
    session_record_id="session",
    session_id="session",
    has_launch=True,
    launch_agrees=True,
    session_agrees=True,
    file_count=2,
    total_size="3.8 MB",
    files=(FIRST, SECOND),
    grades=1,
    markings=1,
    mismatched_marks=0,
    rule_missing=False,
    infinite_times="",
)
BLOB = BlobContent(SIZE_BYTES, MD5, SIZE_BYTES, MD5, {"attemptid": "1", "runid": RUN})


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, None),
        ({"has_launch": False, "launch_agrees": False}, Verdict.LAUNCH_MISSING),
        ({"launch_agrees": False}, Verdict.RECORDS_DISAGREE),
        ({"session_agrees": False}, Verdict.RECORDS_DISAGREE),
        ({"session_id": None}, Verdict.SESSION_MISSING),
        ({"session_id": "another"}, Verdict.SESSION_MISSING),
        ({"session_record_id": None}, Verdict.SESSION_MISSING),
        ({"session_id": None, "session_record_id": None}, Verdict.SESSION_MISSING),
        ({"files": (), "file_count": 0}, Verdict.FILE_ROWS_WRONG),
        ({"files": (FIRST,)}, Verdict.FILE_ROWS_WRONG),
        ({"files": (FIRST, FIRST)}, Verdict.FILE_ROWS_WRONG),
        ({"files": (SECOND, FIRST)}, Verdict.FILE_ROWS_WRONG),
        ({"file_count": 3}, Verdict.FILE_ROWS_WRONG),
        ({"file_count": None}, Verdict.FILE_ROWS_WRONG),
        ({"grades": 0}, Verdict.GRADE_MISSING),
        ({"grades": 2}, Verdict.GRADE_MISSING),
        ({"markings": 0}, Verdict.MARKING_MISSING),
        ({"mismatched_marks": 1}, Verdict.MARK_OF_ANOTHER_ASSESSMENT),
        ({"rule_missing": True}, Verdict.ENFORCEMENT_MISSING),
    ],
)
def test_each_difference_between_the_rows(
    change: dict[str, object], verdict: Verdict | None
) -> None:
    row = replace(ROW, **change)  # type: ignore[arg-type] # the fields have different types
    assert [each.verdict for each in compare_rows(row)] == ([verdict] if verdict else [])


@pytest.mark.parametrize(
    ("change", "whole", "quick"),
    [
        ({}, None, None),
        ({"size_bytes": SIZE_BYTES - 1}, Verdict.BLOB_LENGTH_WRONG, None),
        ({"stated_bytes": SIZE_BYTES - 1}, Verdict.BLOB_LENGTH_WRONG, None),
        ({"stated_bytes": None}, Verdict.BLOB_LENGTH_WRONG, Verdict.BLOB_LENGTH_WRONG),
        ({"md5": b"another"}, Verdict.BLOB_MD5_WRONG, None),
        ({"stated_md5": b"another"}, Verdict.BLOB_MD5_WRONG, None),
        ({"stated_md5": None}, Verdict.UNVERIFIABLE, Verdict.UNVERIFIABLE),
        ({"metadata": {"attemptid": "2", "runid": RUN}}, *[Verdict.BLOB_OF_ANOTHER] * 2),
        ({"metadata": {"attemptid": "1", "runid": "another"}}, *[Verdict.BLOB_OF_ANOTHER] * 2),
        ({"metadata": {"attemptid": "1"}}, *[Verdict.BLOB_OF_ANOTHER] * 2),
        ({"metadata": {"runid": RUN}}, *[Verdict.BLOB_OF_ANOTHER] * 2),
    ],
)
def test_each_difference_from_the_blob(
    change: dict[str, object], whole: Verdict | None, quick: Verdict | None
) -> None:
    """``quick``: the bytes were not read, so their length and MD5 are those of no bytes."""
    content = replace(BLOB, **change)  # type: ignore[arg-type] # the fields have different types
    found = compare_blob(1, ROW, FIRST, content, whole=True)
    assert [each.verdict for each in found] == ([whole] if whole else [])
    content = replace(content, size_bytes=0, md5=b"")
    found = compare_blob(1, ROW, FIRST, content, whole=False)
    assert [each.verdict for each in found] == ([quick] if quick else [])


def test_the_size_in_the_row_counts() -> None:
    row = replace(FIRST, size="1.8 MB")
    for whole in (True, False):
        (problem,) = compare_blob(1, ROW, row, BLOB, whole=whole)
        assert problem.verdict is Verdict.BLOB_LENGTH_WRONG
        (problem,) = compare_blob(1, ROW, FIRST, None, whole=whole)
        assert problem.verdict is Verdict.BLOB_MISSING
