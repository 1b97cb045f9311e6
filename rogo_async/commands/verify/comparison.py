"""Compares one migrated submission with its rows and its blobs; no input or output."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from rogo_async.destination.blobs.inventory import BlobContent
from rogo_async.destination.postgres.verification import FileRow, SubmissionRow
from rogo_async.rules.files import size_text
from rogo_async.rules.identity import submission_id


class Verdict(StrEnum):
    """The possible problems of a submission. The values are stable: operators search for them."""

    SUBMISSION_DOUBLED = "submission_doubled"
    SUBMISSION_MISSING = "submission_missing"
    LAUNCH_MISSING = "launch_missing"
    SESSION_MISSING = "session_missing"
    RECORDS_DISAGREE = "records_disagree"
    FILE_ROWS_WRONG = "file_rows_wrong"
    GRADE_MISSING = "grade_missing"
    MARKING_MISSING = "marking_missing"
    MARK_OF_ANOTHER_ASSESSMENT = "mark_of_another_assessment"
    ENFORCEMENT_MISSING = "enforcement_missing"
    TIMESTAMP_INFINITE = "timestamp_infinite"
    BLOB_MISSING = "blob_missing"
    BLOB_LENGTH_WRONG = "blob_length_wrong"
    BLOB_MD5_WRONG = "blob_md5_wrong"
    BLOB_OF_ANOTHER = "blob_of_another"
    UNVERIFIABLE = "unverifiable"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a submission, or that cannot be verified."""

    verdict: Verdict
    text: str


def compare_rows(row: SubmissionRow) -> Iterator[Problem]:
    """The problems that are visible in the tables, without the blobs."""
    if not row.has_launch:
        yield Problem(Verdict.LAUNCH_MISSING, "no row in lti_launch_sessions")
    elif not row.launch_agrees:
        text = "the launch session has another user, context or assessment"
        yield Problem(Verdict.RECORDS_DISAGREE, text)
    if row.session_id is None or row.session_id != row.session_record_id:
        yield Problem(Verdict.SESSION_MISSING, "no row in lti_session_records")
    elif not row.session_agrees:
        text = "the session record has another user, context or assessment"
        yield Problem(Verdict.RECORDS_DISAGREE, text)
    orders = [file.order for file in row.files]
    if len(orders) != row.file_count or orders != list(range(1, len(orders) + 1)) or not orders:
        text = f"file_count is {row.file_count}, the files are numbered {orders}"
        yield Problem(Verdict.FILE_ROWS_WRONG, text)
    if row.grades != 1:
        yield Problem(Verdict.GRADE_MISSING, f"{row.grades} rows in submission_grades")
    if not row.markings:
        yield Problem(Verdict.MARKING_MISSING, "no row in submission_marking_assignments")
    if row.mismatched_marks:
        text = f"{row.mismatched_marks} section marks belong to sections of another assessment"
        yield Problem(Verdict.MARK_OF_ANOTHER_ASSESSMENT, text)
    if row.rule_missing:
        text = "a malpractice grade without a row in malpractice_enforcements"
        yield Problem(Verdict.ENFORCEMENT_MISSING, text)


def compare_times(row: SubmissionRow) -> Iterator[Problem]:
    """The problem of times that no source has."""
    if row.infinite_times:
        text = f"infinity instead of a time in {row.infinite_times}"
        yield Problem(Verdict.TIMESTAMP_INFINITE, text)


def compare_blob(
    attempt: int, row: SubmissionRow, file: FileRow, content: BlobContent | None, *, whole: bool
) -> Iterator[Problem]:
    """The problems of one file's blob. ``whole``: its bytes were read."""
    name = f"file {file.order}"
    if content is None:
        yield Problem(Verdict.BLOB_MISSING, f"{name}: the blob does not exist")
        return
    size_bytes = content.size_bytes if whole else content.stated_bytes or 0
    if content.stated_bytes != size_bytes or file.size != size_text(size_bytes):
        text = f"{name}: the blob has {size_bytes} bytes, its row says {file.size}"
        yield Problem(Verdict.BLOB_LENGTH_WRONG, text)
    if content.stated_md5 is None:
        yield Problem(Verdict.UNVERIFIABLE, f"{name}: the blob has no stored MD5")
    elif whole and content.md5 != content.stated_md5:
        text = f"{name}: the bytes do not match the stored MD5"
        yield Problem(Verdict.BLOB_MD5_WRONG, text)
    run_id = content.metadata.get("runid", "")
    belongs = content.metadata.get("attemptid") == str(attempt)
    if not belongs or submission_id(run_id, attempt) != row.id:
        text = f"{name}: the blob's metadata name another attempt or run"
        yield Problem(Verdict.BLOB_OF_ANOTHER, text)
