"""Rows that exist in the target before the run.

These are the platform's own submissions, submissions that an earlier tool migrated completely or
in part, and malpractice rules that staff entered.
"""

from datetime import UTC, datetime, timedelta

from rogo_async.demo.checks.expected import CONTAINER, NEVER
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.reference_data import LEVELS, Row, fixed_id
from rogo_async.demo.dataset.submission import SubmissionCase

_CREATED_AT = datetime(2025, 6, 2, 1, 15, tzinfo=UTC)


def add_row(builder: DatasetBuilder, table: str, row: Row) -> Row:
    """Adds a row to a table."""
    builder.target.setdefault(table, []).append(row)
    return row


def new_id(builder: DatasetBuilder) -> str:
    """A random id in the form of gen_random_uuid()."""
    return fixed_id(f"standing {builder.rng.getrandbits(120)}")


def add_launch_session(builder: DatasetBuilder, launch_id: str, case: SubmissionCase) -> None:
    """Adds a launch session with few columns."""
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
            "created_at": _CREATED_AT,
            "expires_at": NEVER,
        },
    )


def add_session_record(builder: DatasetBuilder, launch_id: str, case: SubmissionCase) -> Row:
    """Adds a session record."""
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
            "created_at": _CREATED_AT,
        },
    )


def add_submission(
    builder: DatasetBuilder, launch_id: str, case: SubmissionCase, marking_status: str = "released"
) -> None:
    """Adds a submission with its sessions, a file and a marking assignment."""
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
            "submitted_at": _CREATED_AT,
            "attempt_number": case.attempt_number,
            "lms_user_id": user_id(builder, case),
            "full_name": case.full_name,
            "email": case.learner.email,
            "custom_assessment_code": case.course.code,
            "context_id": context_id(builder, case),
            "created_at": _CREATED_AT,
            "updated_at": _CREATED_AT,
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
            "uploaded_at": _CREATED_AT,
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
            "assigned_at": _CREATED_AT,
            "created_at": _CREATED_AT,
            "updated_at": _CREATED_AT,
        },
    )


def add_malpractice_rule(
    builder: DatasetBuilder,
    case: SubmissionCase,
    attempt_number: int | None,
    level: str,
    limit: int | None,
) -> None:
    """Adds a malpractice rule for the learner, assessment and context of ``case``."""
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
            "rule_applied_at": _CREATED_AT,
            "created_at": _CREATED_AT,
            "updated_at": _CREATED_AT + timedelta(days=1),
        },
    )


def add_platform_submissions(builder: DatasetBuilder, count: int) -> None:
    """Adds submissions that learners made on the platform itself."""
    for number in range(count):
        case = builder.valid_submission(2_000_000 + number)
        status = ("waiting", "being_marked", "approval_needed", "on_hold")[number % 4]
        add_submission(builder, new_id(builder), case, status)


def add_similar_launch_ids(builder: DatasetBuilder) -> None:
    """Adds launch ids that resemble those of attempt 1, such as that of the migrated attempt 12."""
    for number, launch_id in enumerate(("rogo_12_x", "rogo_1x_2", "rogo_demo_1", "rogo-1-x")):
        add_submission(builder, launch_id, builder.valid_submission(2_500_000 + number))


def user_id(builder: DatasetBuilder, case: SubmissionCase) -> str:
    return f"{builder.lms.instance_id}::{case.learner.ti_user_id}"


def context_id(builder: DatasetBuilder, case: SubmissionCase) -> str:
    return f"{builder.lms.instance_id}::{case.ti_section_id}"
