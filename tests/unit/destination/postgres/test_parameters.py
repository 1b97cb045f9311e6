"""The values that are written for a submission, all of them (specification §3, derived values)."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest
from yarl import URL

from rogo_async.common.errors import FailureCode
from rogo_async.common.settings import Lms
from rogo_async.destination.postgres.parameters import (
    malpractice_rule_values,
    predict_rejection,
    session_record_id,
    submission_values,
)
from rogo_async.rules.records import (
    Assessment,
    FileKind,
    FileRef,
    Identity,
    Malpractice,
    MalpracticeLevel,
    PreparedSubmission,
    Report,
    SectionMark,
    StoredFile,
)
from tests.unit.rules.builders import a_row, a_score, fault

LMS: Final = Lms("learn.example", "consumer", "Example College", "https://lms.example/course/")
IDENTITY: Final = Identity(
    104711, "rogo_104711_1a62abbe68212709", "cd6ae9f9-89ce-5130-b3dc-14314ce4fd53"
)
INSERTED: Final = datetime(2025, 3, 1, 10, 0, tzinfo=UTC)
APPROVED: Final = datetime(2025, 3, 4, 9, 30, tzinfo=UTC)
MODIFIED: Final = datetime(2025, 3, 5, 8, 15, tzinfo=UTC)
SCORE_INSERTED: Final = datetime(2025, 2, 1, tzinfo=UTC)
SCORE_MODIFIED: Final = datetime(2025, 2, 2, tzinfo=UTC)

REPORT: Final = Report(
    attempt=104711,
    ti_user_id="501",
    ti_section_id="601",
    exercise="Unit 3 Written work",
    marks=Decimal("14.5"),
    marks_available=Decimal(20),
    grade_percent=Decimal("72.5"),
    grade="Malpractice: considerable",
    marker_notes="Well argued",
    results_approved=APPROVED,
    date_inserted=INSERTED,
    date_modified=MODIFIED,
)
SUBMISSION: Final = PreparedSubmission(
    attempt=104711,
    attempt_number=2,
    row=a_row(
        first_name="Ada",
        surname="Example",
        email="ada@learner.example",
        course_title="Writing for Engineers",
        rogo_user_id="u-881",
        rogo_user_name="ada.example",
    ),
    report=REPORT,
    assessment=Assessment("assessment-3", "Unit 3 24_01", "3ENG02", is_active=True),
    final_grade="Refer",
    malpractice=Malpractice(
        MalpracticeLevel("level-considerable", "Considerable"), 3, "Malpractice: considerable"
    ),
    marks=(
        SectionMark(
            "section-1",
            a_score(
                score=Decimal("8.5"),
                marker_comment="Good sources.",
                date_inserted=SCORE_INSERTED,
                date_modified=SCORE_MODIFIED,
            ),
        ),
        SectionMark("section-2", a_score(score=Decimal(6), date_inserted=SCORE_INSERTED)),
        SectionMark("section-3", a_score(score=Decimal(0))),
    ),
    files=(),
)


def stored(kind: FileKind, order: int, name: str, content_type: str, size_bytes: int) -> StoredFile:
    _, _, extension = name.partition(".")
    source = URL(f"https://source.example/{name}")
    ref = FileRef(kind, order, name, extension, content_type, source)
    return StoredFile(ref, f"blobs/{name}", f"https://store.example/{name}", size_bytes, b"")


FILES: Final = (
    stored(FileKind.SUBMISSION, 1, "essay.docx", "application/msword", 1_048_576),
    stored(FileKind.SUBMISSION, 2, "notes", "application/octet-stream", 1_572_864),
    stored(FileKind.FEEDBACK, 3, "feedback.pdf", "application/pdf", 104_858),
)
VALUES: Final = {
    "launch_id": "rogo_104711_1a62abbe68212709",
    "submission_id": "cd6ae9f9-89ce-5130-b3dc-14314ce4fd53",
    "session_record_id": "f8fcc2b0-b204-5cf8-b3ff-915eb6ed30e2",
    "marking_id": "44db6b76-9554-5220-bdf0-ab4a453d9bde",
    "grade_id": "ba31073f-adf0-504c-b16f-faaed69e2b63",
    "attempt_number": 2,
    "container": "container",
    # the learner
    "lms_user_id": "learn.example::501",
    "email": "ada@learner.example",
    "first_name": "Ada",
    "last_name": "Example",
    "full_name": "Ada Example",
    "uploaded_by": "u-881",
    "course_name": "Unit 3 Written work",
    "context_id": "learn.example::601",
    "context_title": "Writing for Engineers",
    "return_url": "https://lms.example/course/601",
    "custom_params": '{"cis":"AIS","cas":"3ENG02"}',
    "assessment_code": "3ENG02",
    # constants
    "consumer_key": "consumer",
    "consumer_name": "Example College",
    "instance_id": "learn.example",
    "role": "Learner",
    "context_type": "CourseSection",
    "lti_message_type": "basic-lti-launch-request",
    "custom_action": "exercise_attempt",
    "assignment_title": "Submission Area",
    "instruction_set": "AIS",
    "never": datetime(2099, 12, 31, tzinfo=UTC),
    # times
    "created_at": INSERTED,
    "updated_at": MODIFIED,
    "effective_at": APPROVED,
    # the grade
    "assessment_id": "assessment-3",
    "marks_awarded": 14.5,
    "marks_possible": 20.0,
    "percentage": 72.5,
    "final_grade": "Refer",
    "overall_summary": "Well argued",
    "malpractice_level_id": "level-considerable",
    "malpractice_notes": "Malpractice: considerable",
    # the marks of the sections
    "mark_ids": [
        "b702d758-87db-599c-97c1-8cf7b299078d",
        "28efeba2-0fe7-594f-be4c-e7eed6025f56",
        "32390334-8336-5f30-92b4-4143bd5dc4e2",
    ],
    "mark_sections": ["section-1", "section-2", "section-3"],
    "mark_feedback": ["Good sources.", None, None],
    "mark_awarded": [8.5, 6.0, 0.0],
    "mark_created": [SCORE_INSERTED, SCORE_INSERTED, INSERTED],
    "mark_updated": [SCORE_MODIFIED, SCORE_INSERTED, MODIFIED],
    # the files
    "file_count": 3,
    "total_file_size": "2.6 MB",
    "file_ids": [
        "1dbd068f-6f22-528d-b1dd-7e25ac340fba",
        "a2d25efe-d293-56ba-b3ea-49d034caca30",
        "a92aa548-c3b2-5ce9-8172-783dfeadde9c",
    ],
    "file_names": ["essay.docx", "notes", "feedback.pdf"],
    "file_sizes": ["1.0 MB", "1.5 MB", "0.1 MB"],
    "file_extensions": ["docx", None, "pdf"],
    "file_mime_types": ["application/msword", "application/octet-stream", "application/pdf"],
    "file_urls": [
        "https://store.example/essay.docx",
        "https://store.example/notes",
        "https://store.example/feedback.pdf",
    ],
    "file_blob_names": ["blobs/essay.docx", "blobs/notes", "blobs/feedback.pdf"],
    "file_orders": [1, 2, 3],
    "file_kinds": ["submission", "submission", "feedback"],
}
RULE: Final = {
    "enforcement_id": "0c3aec33-da0f-5b0c-b968-8c68cdc9a3e0",
    "lms_user_id": "learn.example::501",
    "assessment_code": "3ENG02",
    "context_id": "learn.example::601",
    "context_title": "Writing for Engineers",
    "malpractice_level_id": "level-considerable",
    "submission_id": "cd6ae9f9-89ce-5130-b3dc-14314ce4fd53",
    "attempt_number": 2,
    "max_attempts": 3,
    "applied_by": "user",
    "attempt": 104711,
}


def test_every_value_of_a_submission_is_that_of_the_specification() -> None:
    assert submission_values(SUBMISSION, FILES, IDENTITY, LMS, "container") == VALUES
    assert session_record_id(IDENTITY) == VALUES["session_record_id"]


def test_missing_values_are_null_or_replaced() -> None:
    submission = replace(
        SUBMISSION,
        row=replace(SUBMISSION.row, first_name="", surname="", course_title="", rogo_user_id=""),
        report=replace(REPORT, marker_notes=None, results_approved=None, date_modified=None),
        malpractice=None,
        final_grade="Pass",
        marks=(),
    )
    assert submission_values(submission, (), IDENTITY, LMS, "container") == VALUES | {
        "first_name": None,
        "last_name": None,
        "full_name": "ada.example",
        "uploaded_by": "ada@learner.example",
        "context_title": "Unit 3 Written work",
        "overall_summary": None,
        "effective_at": INSERTED,
        "updated_at": INSERTED,
        "final_grade": "Pass",
        "malpractice_level_id": None,
        "malpractice_notes": None,
        "file_count": 0,
        "total_file_size": "0.0 MB",
        **{name: [] for name, value in VALUES.items() if isinstance(value, list)},
    }


def test_every_value_of_a_malpractice_rule_is_that_of_the_specification() -> None:
    assert malpractice_rule_values(SUBMISSION, IDENTITY, LMS, "user") == RULE
    with pytest.raises(ValueError, match="no malpractice") as raised:
        malpractice_rule_values(replace(SUBMISSION, malpractice=None), IDENTITY, LMS, "user")
    assert str(raised.value) == "the submission has no malpractice"


@pytest.mark.parametrize("number", [Decimal("1e400"), Decimal("-1e400")])
@pytest.mark.parametrize("column", ["marks", "marks_available", "grade_percent", "score"])
def test_a_number_that_no_float_holds_is_refused(column: str, number: Decimal) -> None:
    if column == "score":
        changed = replace(SUBMISSION, marks=(SectionMark("section-1", a_score(score=number)),))
    else:
        changes: dict[str, Any] = {column: number}
        changed = replace(SUBMISSION, report=replace(REPORT, **changes))
    message = fault(
        FailureCode.TARGET_REFUSED,
        lambda: submission_values(changed, FILES, IDENTITY, LMS, "container"),
    )
    assert message == "a number is out of range for its column"


def test_values_that_the_target_stores_are_not_rejected() -> None:
    values = {
        "text": "ordinary, é, \U0001d11e and \ufffd",
        "largest": 2_147_483_647,
        "lowest": -2_147_483_647,
        "real": 3.4028235e38,
        "negative real": -3.4028235e38,
        "texts": ["a", None, ""],
        "numbers": (2_147_483_647, 3.4028235e38),
        "none": None,
        "time": INSERTED,
    }
    assert predict_rejection(values) is None
    assert predict_rejection(VALUES | RULE) is None


@pytest.mark.parametrize("text", ["nul \0 within", "lone \ud800", "\udfff"])
def test_a_text_that_the_target_cannot_store_is_rejected(text: str) -> None:
    for value in (text, ["fine", text], ("fine", text, None)):
        found = predict_rejection({"first": 1, "value": value, "last": "fine"})
        assert found == "a text has a character that PostgreSQL cannot store"


@pytest.mark.parametrize(
    "number", [2_147_483_648, -2_147_483_649, 3.4028236e38, -3.4028236e38, float("inf")]
)
def test_a_number_that_the_column_cannot_store_is_rejected(number: float) -> None:
    for value in (number, [1, number], (0.5, number, None)):
        found = predict_rejection({"first": "fine", "value": value, "last": 1})
        assert found == "a number is out of range for its column"
