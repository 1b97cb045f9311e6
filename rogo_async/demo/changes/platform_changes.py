"""Changes that the platform makes to migrated submissions, as SQL on the target."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from rogo_async.demo.dataset.submission import SubmissionCase


class Touched(Enum):
    """What a change of the platform touches."""

    VALUES = auto()
    """A row of the submission, which then differs from what a migration of the source writes."""
    OTHER_COLUMNS = auto()
    """A row of the submission, in columns that a migration does not write."""
    ITS_RULE = auto()
    """The malpractice rule that names the submission."""
    OTHER_RULE = auto()
    """Another malpractice rule of the same key, but no row of the submission."""


@dataclass(frozen=True, slots=True)
class PlatformChange:
    """A statement in which ``$1`` is the id of the submission; it changes one row."""

    name: str
    sql: str
    applies_to: Callable[[SubmissionCase], bool]
    touched: Touched = Touched.VALUES


def _any_case(_case: SubmissionCase) -> bool:
    return True


def _has_several_scores(case: SubmissionCase) -> bool:
    return len(case.scores) > 1


def _has_malpractice(case: SubmissionCase) -> bool:
    return case.malpractice is not None


def _has_free_section(case: SubmissionCase) -> bool:
    return len(case.scores) < len(case.course.labels)


MARK_AMENDED: Final = PlatformChange(
    "mark amended",
    "UPDATE submission_section_marks SET marks_awarded = 61.75 WHERE submission_id = $1 "
    "AND section_id = "
    "(SELECT min(section_id) FROM submission_section_marks WHERE submission_id = $1)",
    lambda case: bool(case.scores),
)
FIRST_MARK_DELETED: Final = PlatformChange(
    "first of several marks deleted",
    "DELETE FROM submission_section_marks WHERE ctid = "
    "(SELECT min(ctid) FROM submission_section_marks WHERE submission_id = $1)",
    _has_several_scores,
)
LAST_MARK_DELETED: Final = PlatformChange(
    "last of several marks deleted",
    "DELETE FROM submission_section_marks WHERE ctid = "
    "(SELECT max(ctid) FROM submission_section_marks WHERE submission_id = $1)",
    _has_several_scores,
)
ONLY_MARK_DELETED: Final = PlatformChange(
    "only mark deleted",
    "DELETE FROM submission_section_marks WHERE submission_id = $1",
    lambda case: len(case.scores) == 1,
)
MARK_ADDED: Final = PlatformChange(
    "mark added",
    "INSERT INTO submission_section_marks (submission_id, section_id, marks_awarded) "
    "SELECT g.submission_id, s.id, 4 FROM assessment_sections s "
    "JOIN submission_grades g USING (assessment_id) WHERE g.submission_id = $1 AND NOT EXISTS "
    "(SELECT FROM submission_section_marks m WHERE (m.submission_id, m.section_id) = "
    "(g.submission_id, s.id)) ORDER BY s.id LIMIT 1",
    _has_free_section,
)
NOTE_ADDED: Final = PlatformChange(
    "note added to the grade",
    "UPDATE submission_grades SET overall_summary = concat_ws(' ', overall_summary, '(moderated)') "
    "WHERE submission_id = $1",
    _any_case,
)
MARKING_NOTE: Final = PlatformChange(
    "note of the marker",
    "UPDATE submission_marking_assignments SET notes = 'Discussed with the learner', "
    "updated_at = now() WHERE submission_id = $1",
    _any_case,
)
FILE_MOVED: Final = PlatformChange(
    "file stored elsewhere",
    "UPDATE submission_files SET azure_blob_name = 'archive/' || azure_blob_name, "
    "azure_blob_url = replace(azure_blob_url, azure_blob_name, 'archive/' || azure_blob_name), "
    "file_url = replace(file_url, azure_blob_name, 'archive/' || azure_blob_name) "
    "WHERE submission_id = $1 AND upload_order = 1",
    _any_case,
)
WORDS_COUNTED: Final = PlatformChange(
    "words counted",
    "UPDATE submission_grades SET word_count = 1200 WHERE submission_id = $1",
    _any_case,
    Touched.OTHER_COLUMNS,
)
APPEAL: Final = PlatformChange(
    "malpractice rule relaxed on appeal",
    "UPDATE malpractice_enforcements SET enforced_max_attempts = 9, updated_at = now() "
    "WHERE submission_id = $1",
    _has_malpractice,
    Touched.ITS_RULE,
)
RULE_ENTERED: Final = PlatformChange(
    "malpractice rule entered by staff",
    "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id, "
    "attempt_number, enforced_max_attempts, malpractice_level_id, rule_applied_by, created_at) "
    "SELECT lms_user_id, custom_assessment_code, context_id, attempt_number, attempt_number, "
    "(SELECT id FROM malpractice_levels WHERE level_text = 'Severe'), "
    "(SELECT min(id) FROM users WHERE role = 'admin'), now() "
    "FROM assignment_submissions WHERE id = $1",
    lambda case: case.malpractice is None,
    Touched.OTHER_RULE,
)
