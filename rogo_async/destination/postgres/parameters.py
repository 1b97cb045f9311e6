"""Builds the parameters of the INSERT of a submission (specification §3, derived values)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.settings import Lms
from rogo_async.rules import derived_values
from rogo_async.rules.files import size_text
from rogo_async.rules.identity import SQL_INT_MAX, child_id
from rogo_async.rules.records import Identity, PreparedSubmission, SectionMark, StoredFile

_LARGEST_REAL: Final = 3.4028235e38


@dataclass(frozen=True, slots=True)
class TargetConstants:
    """What all submissions of this tool have in common."""

    lms: Lms
    container: str
    applied_by: str
    url_of: Callable[[str], str]
    """The URL of a blob, by its name."""


def submission_values(
    prepared: PreparedSubmission,
    files: Sequence[StoredFile],
    identity: Identity,
    lms: Lms,
    container: str,
) -> Mapping[str, object]:
    """All parameters of the statement ``insert_submission``, by name."""
    return {
        **_learner(prepared, lms),
        **_constants(lms),
        **_times(prepared),
        **_grade(prepared),
        **_marks(prepared, identity),
        **_files(files, identity),
        "launch_id": identity.launch_id,
        "submission_id": identity.submission_id,
        "session_record_id": session_record_id(identity),
        "marking_id": child_id(identity.submission_id, "marking"),
        "grade_id": child_id(identity.submission_id, "grade"),
        "attempt_number": prepared.attempt_number,
        "container": container,
    }


def session_record_id(identity: Identity) -> str:
    """The id of the submission's row in lti_session_records."""
    return child_id(identity.submission_id, "session")


def malpractice_rule_values(
    prepared: PreparedSubmission, identity: Identity, lms: Lms, applied_by: str
) -> Mapping[str, object]:
    """The parameters of the statements that write a malpractice rule.

    ``update_malpractice_rule`` needs the id of the existing row instead of ``enforcement_id``.

    Raises ValueError for a submission without malpractice.
    """
    if prepared.malpractice is None:
        raise ValueError("the submission has no malpractice")
    return {
        "enforcement_id": child_id(identity.submission_id, "enforcement"),
        "lms_user_id": derived_values.lms_user_id(lms, prepared.report),
        "assessment_code": prepared.assessment.code,
        "context_id": derived_values.context_id(lms, prepared.report),
        "context_title": derived_values.context_title(prepared.row, prepared.report),
        "malpractice_level_id": prepared.malpractice.level.id,
        "submission_id": identity.submission_id,
        "attempt_number": prepared.attempt_number,
        "max_attempts": prepared.malpractice.max_attempts,
        "applied_by": applied_by,
        "attempt": prepared.attempt,
    }


def predict_rejection(values: Mapping[str, object]) -> str | None:
    """Why PostgreSQL will reject one of the values, or None.

    Finds values that PostgreSQL's types cannot store: NUL and lone surrogates in text, and
    numbers out of range. It does not know the check constraints of the platform.
    """
    flat = [
        each
        for value in values.values()
        for each in (value if isinstance(value, (list, tuple)) else (value,))
    ]
    text = "".join([each for each in flat if isinstance(each, str)])
    if "\0" in text or not _is_unicode(text):
        return "a text has a character that PostgreSQL cannot store"
    numbers = [each for each in flat if isinstance(each, (int, float))]
    if any(abs(each) > _largest(each) for each in numbers):
        return "a number is out of range for its column"
    return None


def _largest(number: float) -> float:
    return SQL_INT_MAX if isinstance(number, int) else _LARGEST_REAL


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _learner(prepared: PreparedSubmission, lms: Lms) -> dict[str, object]:
    row, report = prepared.row, prepared.report
    return {
        "lms_user_id": derived_values.lms_user_id(lms, report),
        "email": row.email,
        "first_name": row.first_name or None,
        "last_name": row.surname or None,
        "full_name": derived_values.full_name(row),
        "uploaded_by": derived_values.uploaded_by(row),
        "course_name": report.exercise,
        "context_id": derived_values.context_id(lms, report),
        "context_title": derived_values.context_title(row, report),
        "return_url": derived_values.return_url(lms, report),
        "custom_params": derived_values.custom_params(prepared.assessment.code),
        "assessment_code": prepared.assessment.code,
    }


def _constants(lms: Lms) -> dict[str, object]:
    return {
        "consumer_key": lms.consumer_key,
        "consumer_name": lms.consumer_name,
        "instance_id": lms.instance_id,
        "role": derived_values.ROLE,
        "context_type": derived_values.CONTEXT_TYPE,
        "lti_message_type": derived_values.LTI_MESSAGE_TYPE,
        "custom_action": derived_values.CUSTOM_ACTION,
        "assignment_title": derived_values.ASSIGNMENT_TITLE,
        "instruction_set": derived_values.CUSTOM_INSTRUCTION_SET,
        "never": derived_values.NEVER_EXPIRES,
    }


def _times(prepared: PreparedSubmission) -> dict[str, object]:
    return {
        "created_at": derived_values.created_at(prepared.report),
        "updated_at": derived_values.updated_at(prepared.report),
        "effective_at": derived_values.effective_at(prepared.report),
    }


def _grade(prepared: PreparedSubmission) -> dict[str, object]:
    report, malpractice = prepared.report, prepared.malpractice
    return {
        "assessment_id": prepared.assessment.id,
        "marks_awarded": _real(report.marks),
        "marks_possible": _real(report.marks_available),
        "percentage": _real(report.grade_percent),
        "final_grade": prepared.final_grade,
        "overall_summary": report.marker_notes,
        "malpractice_level_id": malpractice.level.id if malpractice else None,
        "malpractice_notes": malpractice.notes if malpractice else None,
    }


def _marks(prepared: PreparedSubmission, identity: Identity) -> dict[str, object]:
    marks: Sequence[SectionMark] = prepared.marks
    report = prepared.report
    return {
        "mark_ids": [child_id(identity.submission_id, "mark", n) for n in range(len(marks))],
        "mark_sections": [mark.section_id for mark in marks],
        "mark_feedback": [mark.score.marker_comment for mark in marks],
        "mark_awarded": [_real(mark.score.score) for mark in marks],
        "mark_created": [derived_values.score_created_at(mark.score, report) for mark in marks],
        "mark_updated": [derived_values.score_updated_at(mark.score, report) for mark in marks],
    }


def _files(files: Sequence[StoredFile], identity: Identity) -> dict[str, object]:
    return {
        "file_count": len(files),
        "total_file_size": size_text(sum(file.size_bytes for file in files)),
        "file_ids": [child_id(identity.submission_id, "file", f.ref.order) for f in files],
        "file_names": [file.ref.name for file in files],
        "file_sizes": [size_text(file.size_bytes) for file in files],
        "file_extensions": [file.ref.extension or None for file in files],
        "file_mime_types": [file.ref.content_type for file in files],
        "file_urls": [file.blob_url for file in files],
        "file_blob_names": [file.blob_name for file in files],
        "file_orders": [file.ref.order for file in files],
        "file_kinds": [file.ref.kind.value for file in files],
    }


def _real(number: Decimal | None) -> float | None:
    """A finite float, or None. Raises RowError target_refused for one that overflows."""
    if number is None:
        return None
    value = float(number)
    if math.isinf(value):
        raise RowError(FailureCode.TARGET_REFUSED, "a number is out of range for its column")
    return value
