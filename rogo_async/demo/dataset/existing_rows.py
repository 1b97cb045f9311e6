"""Rows that stand in the target before the migration runs.

The platform's own live submissions, what an earlier tool has moved under launch ids of its
own, what that tool left half done, and enforcement rows that staff have entered.
"""

from datetime import UTC, datetime, timedelta

from rogo_async.demo.checks.expected import CONTAINER, NEVER
from rogo_async.demo.dataset.builder import World
from rogo_async.demo.dataset.reference_data import LEVELS, Row, fixed_id
from rogo_async.demo.dataset.submission import Case

_EARLIER = datetime(2025, 6, 2, 1, 15, tzinfo=UTC)


def add(world: World, table: str, row: Row) -> Row:
    """Puts a row into the target as it is before the run."""
    world.target.setdefault(table, []).append(row)
    return row


def new_id(world: World) -> str:
    """A random id in the form of gen_random_uuid()."""
    return fixed_id(f"standing {world.rng.getrandbits(120)}")


def launch(world: World, launch_id: str, case: Case) -> None:
    """A launch session that says little more than whose it is."""
    add(
        world,
        "lti_launch_sessions",
        {
            "id": new_id(world),
            "launch_id": launch_id,
            "consumer_key": world.lms.consumer_key,
            "user_id": user_id(world, case),
            "user_email": case.learner.email,
            "user_name": case.full_name,
            "course_name": case.course.exercise,
            "context_id": context_id(world, case),
            "created_at": _EARLIER,
            "expires_at": NEVER,
        },
    )


def record(world: World, launch_id: str, case: Case) -> Row:
    """A session record."""
    return add(
        world,
        "lti_session_records",
        {
            "id": new_id(world),
            "launch_id": launch_id,
            "lms_user_id": user_id(world, case),
            "consumer_name": world.lms.consumer_name,
            "role": "Learner",
            "full_name": case.full_name,
            "email": case.learner.email,
            "context_id": context_id(world, case),
            "session_expiry": NEVER,
            "created_at": _EARLIER,
        },
    )


def submission(world: World, launch_id: str, case: Case, marking_status: str = "released") -> None:
    """A submission with its sessions, a file and a marking assignment."""
    launch(world, launch_id, case)
    session = record(world, launch_id, case)
    row = add(
        world,
        "assignment_submissions",
        {
            "id": new_id(world),
            "lti_session_record_id": session["id"],
            "lti_launch_id": launch_id,
            "file_count": 1,
            "total_file_size": "0.1 MB",
            "submitted_at": _EARLIER,
            "attempt_number": case.attempt_number,
            "lms_user_id": user_id(world, case),
            "full_name": case.full_name,
            "email": case.learner.email,
            "custom_assessment_code": case.course.code,
            "context_id": context_id(world, case),
            "created_at": _EARLIER,
            "updated_at": _EARLIER,
        },
    )
    blob_name = f"LTI_Uploads/{launch_id}/assignment.docx"
    add(
        world,
        "submission_files",
        {
            "id": new_id(world),
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
    add(
        world,
        "submission_marking_assignments",
        {
            "id": new_id(world),
            "submission_id": row["id"],
            "marking_status": marking_status,
            "assigned_at": _EARLIER,
            "created_at": _EARLIER,
            "updated_at": _EARLIER,
        },
    )


def enforcement(
    world: World, case: Case, attempt_number: int | None, level: str, limit: int | None
) -> None:
    """An enforcement row that staff entered for the case's learner, assessment and context."""
    add(
        world,
        "malpractice_enforcements",
        {
            "id": new_id(world),
            "lms_user_id": user_id(world, case),
            "custom_assessment_code": case.course.code,
            "context_id": context_id(world, case),
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


def live_submissions(world: World, count: int) -> None:
    """The platform's own work: submissions that learners made there themselves."""
    for number in range(count):
        case = world.sound(2_000_000 + number)
        status = ("waiting", "being_marked", "approval_needed", "on_hold")[number % 4]
        submission(world, new_id(world), case, status)


def misleading_launches(world: World) -> None:
    """Launch ids that a careless match takes for attempt 1; attempt 12 did migrate before."""
    for number, launch_id in enumerate(("rogo_12_x", "rogo_1x_2", "rogo_demo_1", "rogo-1-x")):
        submission(world, launch_id, world.sound(2_500_000 + number))


def user_id(world: World, case: Case) -> str:
    return f"{world.lms.instance_id}::{case.learner.ti_user_id}"


def context_id(world: World, case: Case) -> str:
    return f"{world.lms.instance_id}::{case.ti_section_id}"
