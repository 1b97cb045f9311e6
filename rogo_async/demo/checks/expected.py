"""The expected rows of the target for each submission, table by table.

They are computed from the specification and the generated facts. To keep the check independent,
this module shares no logic with the migration. Ids that the migration generates are left out.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.common.settings import Lms
from rogo_async.demo.dataset.documents import CONTENT_TYPES, BlobSpec
from rogo_async.demo.dataset.reference_data import ADMIN_ID, Row
from rogo_async.demo.dataset.submission import SectionScore, SubmissionCase
from rogo_async.rules.records import FileKind, Status

NEVER = datetime(2099, 12, 31, tzinfo=UTC)
TIME_OF_INSERT = object()
"""Placeholder for a time that only the run knows: any value but NULL is correct."""
FOLDERS = {FileKind.SUBMISSION: "LTI_Uploads", FileKind.FEEDBACK: "Marker_files"}
CONTAINER = "migrated"


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """A file as expected in the target and in the destination container.

    ``row`` is its submission_files row. The name of the blob is
    ``{folder}/{submission id}/{order}_`` plus a safe form of ``row['file_name']``.
    """

    kind: FileKind
    order: int
    folder: str
    content_type: str
    source: BlobSpec
    row: Row

    @property
    def exact_name(self) -> str | None:
        """The file name if it is safe as it is, else None."""
        name = str(self.row["file_name"])
        plain = re.fullmatch(r"[A-Za-z0-9_-]+\.[a-z0-9]+", name)
        return name if plain else None


class ExpectedSubmission:
    """All expected rows of one migrated submission, computed on each call."""

    __slots__ = ("_case", "_lms")

    def __init__(self, case: SubmissionCase, lms: Lms) -> None:
        self._case = case
        self._lms = lms

    @property
    def attempt(self) -> int:
        return self._case.attempt

    @property
    def launch_prefix(self) -> str:
        return f"rogo_{self._case.attempt}_"

    @property
    def user_id(self) -> str:
        return f"{self._lms.instance_id}::{self._case.learner.ti_user_id}"

    @property
    def context_id(self) -> str:
        return f"{self._lms.instance_id}::{self._case.ti_section_id}"

    @property
    def malpractice_key(self) -> tuple[str, str, str]:
        """lms_user_id, custom_assessment_code and context_id (rule 13)."""
        return (self.user_id, self._case.course.code, self.context_id)

    @property
    def context_title(self) -> str:
        return self._case.course_title or self._case.course.exercise.strip()

    @property
    def return_url(self) -> str:
        return f"{self._lms.return_url_base}{self._case.ti_section_id}"

    def launch_session(self) -> Row:
        """The row of lti_launch_sessions."""
        case, lms = self._case, self._lms
        return {
            "consumer_key": lms.consumer_key,
            "user_id": self.user_id,
            "user_email": case.learner.email,
            "user_name": case.full_name,
            "course_name": case.course.exercise.strip(),
            "return_url": self.return_url,
            "resource_link_id": None,
            "context_id": self.context_id,
            "tool_consumer_instance_guid": lms.instance_id,
            "custom_params": f'{{"cis":"AIS","cas":"{case.course.code}"}}',
            "lti_message_type": "basic-lti-launch-request",
            "context_type": "CourseSection",
            "context_title": self.context_title,
            "roles": "Learner",
            "lis_person_name_given": case.first_name,
            "lis_person_name_family": case.surname,
            "lis_person_name_full": case.full_name,
            "lis_person_contact_email_primary": case.learner.email,
            "tool_consumer_instance_name": lms.consumer_name,
            "custom_action": "exercise_attempt",
            "assignment_title": "Submission Area",
            "custom_instruction_set": "AIS",
            "custom_assessment_code": case.course.code,
            "created_at": in_utc(case.inserted),
            "expires_at": NEVER,
        }

    def session_record(self) -> Row:
        """The row of lti_session_records."""
        return self._person() | {
            "resource_link_id": None,
            "resource_link_title": self.context_title,
            "consumer_key": self._lms.consumer_key,
            "tool_consumer_instance_guid": self._lms.instance_id,
            "return_url": self.return_url,
            "has_file_submission": "true",
            "session_expiry": NEVER,
            "created_at": in_utc(self._case.inserted),
        }

    def assignment_submission(self) -> Row:
        """The row of assignment_submissions."""
        files = self.files()
        return self._person() | {
            "file_count": len(files),
            "total_file_size": size_text(sum(file.source.size_bytes for file in files)),
            "submitted_at": in_utc(self._case.approved_or_inserted),
            "attempt_number": self._case.attempt_number,
            "created_at": in_utc(self._case.inserted),
            "updated_at": in_utc(self._case.modified_or_inserted),
        }

    def _person(self) -> Row:
        """The columns that lti_session_records and assignment_submissions share."""
        case = self._case
        return {
            "lms_user_id": self.user_id,
            "consumer_name": self._lms.consumer_name,
            "role": "Learner",
            "first_name": case.first_name,
            "last_name": case.surname,
            "full_name": case.full_name,
            "email": case.learner.email,
            "custom_action": "exercise_attempt",
            "custom_instruction_set": "AIS",
            "custom_assessment_code": case.course.code,
            "context_type": "CourseSection",
            "context_title": self.context_title,
            "context_id": self.context_id,
        }

    def marking_assignment(self) -> Row:
        """The row of submission_marking_assignments."""
        case = self._case
        return {
            "assigned_marker_id": None,
            "marking_status": "released",
            "assigned_at": TIME_OF_INSERT,
            "status_updated_at": in_utc(case.approved_or_inserted),
            "status_updated_by": None,
            "notes": None,
            "hold_reason": None,
            "created_at": in_utc(case.inserted),
            "updated_at": in_utc(case.modified_or_inserted),
        }

    def section_marks(self) -> list[Row]:
        """The rows of submission_section_marks, in no particular order."""
        return [self._section_mark(score) for score in self._case.scores]

    def _section_mark(self, score: SectionScore) -> Row:
        return {
            "section_id": score.section_id,
            "marker_id": None,
            "selected_option_id": None,
            "feedback": text_or_null(score.comment),
            "marks_awarded": score.marks,
            "created_at": in_utc(score.inserted or self._case.inserted),
            "updated_at": in_utc(
                score.modified or score.inserted or self._case.modified_or_inserted
            ),
        }

    def grade(self) -> Row:
        """The row of submission_grades."""
        case = self._case
        malpractice = case.malpractice
        return {
            "assessment_id": case.course.assessment_id,
            "marker_id": None,
            "total_marks_awarded": float(case.marks),
            "total_marks_possible": float(case.marks_available),
            "percentage_score": float(case.grade_percent),
            "final_grade": case.final_grade,
            "overall_summary": text_or_null(case.notes),
            "skip_reason_id": None,
            "skipped_reason": None,
            "malpractice_level_id": malpractice.level_id if malpractice else None,
            "malpractice_notes": case.grade.strip() if malpractice else None,
            "word_count": None,
            "is_complete": True,
            "completed_at": in_utc(case.approved_or_inserted),
            "created_at": in_utc(case.inserted),
            "updated_at": in_utc(case.modified_or_inserted),
        }

    def files(self) -> list[ExpectedFile]:
        """Learner files, then feedback files, in upload order."""
        case = self._case
        feedback = case.files_of(FileKind.FEEDBACK)
        named = [(file, file.name) for file in case.files_of(FileKind.SUBMISSION)]
        for number, file in enumerate(feedback, start=1):
            suffix = f"_{number}" if len(feedback) > 1 else ""
            named.append((file, f"{self._feedback_stem()}{suffix}.{file.extension}"))
        expected = []
        for order, (file, name) in enumerate(named, start=1):
            row = self._file_row(file.kind, name, file.extension, file.content.size_bytes)
            expected.append(
                ExpectedFile(
                    kind=file.kind,
                    order=order,
                    folder=f"{FOLDERS[file.kind]}/rogo_{case.attempt}",
                    content_type=CONTENT_TYPES[file.extension],
                    source=file.content,
                    row=row | {"upload_order": order},
                )
            )
        return expected

    def _feedback_stem(self) -> str:
        case = self._case
        first, last = (
            re.sub(r"[^A-Za-z0-9_-]", "_", name) for name in (case.first_name, case.surname)
        )
        return f"{case.assessment_id or case.course.code}_{first}-{last}_feedback"

    def _file_row(self, kind: FileKind, name: str, extension: str, size_bytes: int) -> Row:
        by_learner = kind is FileKind.SUBMISSION
        return {
            "file_name": name,
            "original_file_name": name,
            "file_size": size_text(size_bytes),
            "file_type": extension,
            "file_mime_type": CONTENT_TYPES[extension],
            "uploaded_at": in_utc(self._case.approved_or_inserted),
            "submission_file_type": kind.value,
            "uploaded_by": self._case.uploaded_by if by_learner else None,
            "turnitin_status": "complete" if by_learner else "pending",
        }

    def malpractice_rule(self) -> Row | None:
        """The malpractice_enforcements row of this submission if there were no others."""
        case = self._case
        if case.malpractice is None:
            return None
        return {
            "lms_user_id": self.user_id,
            "custom_assessment_code": case.course.code,
            "context_id": self.context_id,
            "context_title": self.context_title,
            "malpractice_level_id": case.malpractice.level_id,
            "attempt_number": case.attempt_number,
            "enforced_max_attempts": case.malpractice.max_attempts,
            "rule_applied_by": ADMIN_ID,
            "rule_applied_at": TIME_OF_INSERT,
            "created_at": TIME_OF_INSERT,
            "updated_at": TIME_OF_INSERT,
        }


@dataclass(frozen=True, slots=True)
class Expected:
    """The expected result of one input row. ``cells`` are its cells in the failed-rows file.

    ``index`` counts rows from 0; ``line`` is the line on which the row begins (the header: 1).
    ``had_malformed_error``: its Error cell is from an earlier run that found it malformed.
    """

    index: int
    line: int
    attempt: int | None
    status: Status
    code: FailureCode | SkipCode | None
    cells: tuple[str, ...]
    had_malformed_error: bool
    submission: ExpectedSubmission | None


def size_text(size_bytes: int) -> str:
    return f"{size_bytes / 1_048_576:.1f} MB"


def text_or_null(text: str | None) -> str | None:
    return (text or "").strip() or None


def in_utc(naive: datetime) -> datetime:
    return naive.replace(tzinfo=UTC)
