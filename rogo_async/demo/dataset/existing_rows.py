"""Rows that stand in the target before the migration runs.

The platform's own live submissions, what an earlier tool has moved under launch ids of its
own, what that tool left half done, and enforcement rows that staff have entered.
"""

from datetime import UTC, datetime, timedelta

from rogo_async.demo.checks.expected import CONTAINER, NEVER
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.reference_data import LEVELS, Row, fixed_id
from rogo_async.demo.dataset.submission import SubmissionCase

_EARLIER = datetime(2025, 6, 2, 1, 15, tzinfo=UTC)


def add_row(builder: DatasetBuilder, table: str, row: Row) -> Row:
    """Puts a row into the target as it is before the run."""
    builder.target.setdefault(table, []).append(row)
    return row


def new_id(builder: DatasetBuilder) -> str:
    """A random id in the form of gen_random_uuid()."""
    return fixed_id(f"standing {builder.rng.getrandbits(120)}")


def add_launch_session(builder: DatasetBuilder, launch_id: str, case: SubmissionCase) -> None:
    """A launch session that says little more than whose it is."""
    add_row(
        builder,
        "lti_launch_sessions",
        {
            "id": new_id(builder),
            "launch_id": launch_id,
            "consumer_key": builder.lms.consumer_key,
            "user_id": user_id(builder, case),
            "user_email": case.learner.email,
            "user_name": case.full_name,
            "course_name": case.course.exercise,
            "context_id": context_id(builder, case),
            "created_at": _EARLIER,
            "expires_at": NEVER,
        },
    )


def add_session_record(builder: DatasetBuilder, launch_id: str, case: SubmissionCase) -> Row:
    """A session record."""
    return add_row(
        builder,
        "lti_session_records",
        {
            "id": new_id(builder),
            "launch_id": launch_id,
            "lms_user_id": user_id(builder, case),
            "consumer_name": builder.lms.consumer_name,
            "role": "Learner",
            "full_name": case.full_name,
            "email": case.learner.email,
            "context_id": context_id(builder, case),
            "session_expiry": NEVER,
            "created_at": _EARLIER,
        },
    )


def add_submission(
    builder: DatasetBuilder, launch_id: str, case: SubmissionCase, marking_status: str = "released"
) -> None:
    """A submission with its sessions, a file and a marking assignment."""
    add_launch_session(builder, launch_id, case)
    session = add_session_record(builder, launch_id, case)
    row = add_row(
        builder,
        "assignment_submissions",
        {
            "id": new_id(builder),
            "lti_session_record_id": session["id"],
            "lti_launch_id": launch_id,
            "file_count": 1,
            "total_file_size": "0.1 MB",
            "submitted_at": _EARLIER,
            "attempt_number": case.attempt_number,
            "lms_user_id": user_id(builder, case),
            "full_name": case.full_name,
            "email": case.learner.email,
            "custom_assessment_code": case.course.code,
            "context_id": context_id(builder, case),
            "created_at": _EARLIER,
            "updated_at": _EARLIER,
        },
    )
    blob_name = f"LTI_Uploads/{launch_id}/assignment.docx"
    add_row(
        builder,
        "submission_files",
        {
            "id": new_id(builder),
            "submission_id": row["id"],
            "file_name": "assignment.docx",
            "original_file_name": "assignment.docx",
            "file_size": "0.1 MB",
            "file_type": "docx",
            "file_url": f"https://files.platform.example/{CONTAINER}/{blob_name}",
            "azure_container_name": CONTAINER,
            "azure_blob_name": blob_name,
            "upload_order": 1,
            "uploaded_at": _EARLIER,
            "submission_file_type": "submission",
        },
    )
    add_row(
        builder,
        "submission_marking_assignments",
        {
            "id": new_id(builder),
            "submission_id": row["id"],
            "marking_status": marking_status,
            "assigned_at": _EARLIER,
            "created_at": _EARLIER,
            "updated_at": _EARLIER,
        },
    )


def add_malpractice_rule(
    builder: DatasetBuilder,
    case: SubmissionCase,
    attempt_number: int | None,
    level: str,
    limit: int | None,
) -> None:
    """An enforcement row that staff entered for the case's learner, assessment and context."""
    add_row(
        builder,
        "malpractice_enforcements",
        {
            "id": new_id(builder),
            "lms_user_id": user_id(builder, case),
            "custom_assessment_code": case.course.code,
            "context_id": context_id(builder, case),
            "context_title": "Entered by hand",
            "malpractice_level_id": LEVELS[level],
            "submission_id": None,
            "attempt_number": attempt_number,
            "enforced_max_attempts": limit,
            "rule_applied_by": fixed_id("user admin two"),
            "rule_applied_at": _EARLIER,
            "created_at": _EARLIER,
            "updated_at": _EARLIER + timedelta(days=1),
        },
    )


def add_platform_submissions(builder: DatasetBuilder, count: int) -> None:
    """The platform's own work: submissions that learners made there themselves."""
    for number in range(count):
        case = builder.valid_submission(2_000_000 + number)
        status = ("waiting", "being_marked", "approval_needed", "on_hold")[number % 4]
        add_submission(builder, new_id(builder), case, status)


def add_similar_launch_ids(builder: DatasetBuilder) -> None:
    """Launch ids that a careless match takes for attempt 1; attempt 12 did migrate before."""
    for number, launch_id in enumerate(("rogo_12_x", "rogo_1x_2", "rogo_demo_1", "rogo-1-x")):
        add_submission(builder, launch_id, builder.valid_submission(2_500_000 + number))


def user_id(builder: DatasetBuilder, case: SubmissionCase) -> str:
    return f"{builder.lms.instance_id}::{case.learner.ti_user_id}"


def context_id(builder: DatasetBuilder, case: SubmissionCase) -> str:
    return f"{builder.lms.instance_id}::{case.ti_section_id}"
