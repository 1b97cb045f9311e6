"""Changes to the source of a submission: its CSV row, its warehouse rows and its files.

Each function changes the facts of one submission. Whether the rows of the target differ afterwards
follows from the facts (``known_answer``); it is not written down here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from rogo_async.common.errors import FailureCode
from rogo_async.demo.dataset.builder import MARKER_COMMENTS, MARKER_NOTES, DatasetBuilder
from rogo_async.demo.dataset.submission import SourceFile, SubmissionCase
from rogo_async.demo.dataset.valid_variants import MALPRACTICE_GRADES, Modify, set_malpractice
from rogo_async.rules.records import FileKind

_EARLIEST: Final = datetime(2031, 1, 6, 8, 30)  # noqa: DTZ001 - the warehouse's dates are naive
"""The source changes after the migration of the data set, whenever that is."""
_HIGHER_GRADES: Final = ("Merit", "Distinction")
_LEVEL_7_GRADES: Final = {"Pass": "Low Pass", "Merit": "Pass", "Distinction": "High Pass"}
_NAME_CELLS: Final = frozenset(
    {"Learner File Names", "Learner Azure Blob URLs", "Marker Azure Blob URLs"}
)


@dataclass(frozen=True, slots=True)
class SourceChange:
    """A change of the source. ``row_gone``: the row is no longer in submission_files.csv."""

    name: str
    applies_to: Callable[[SubmissionCase], bool]
    apply: Modify
    row_gone: bool = False


def combined(*changes: SourceChange) -> SourceChange:
    """Several changes of one submission, in this order."""

    def apply(case: SubmissionCase, builder: DatasetBuilder) -> None:
        for change in changes:
            change.apply(case, builder)

    return SourceChange(
        ", ".join(change.name for change in changes),
        lambda case: all(change.applies_to(case) for change in changes),
        apply,
        any(change.row_gone for change in changes),
    )


def _any_case(_case: SubmissionCase) -> bool:
    return True


def _is_graded(case: SubmissionCase) -> bool:
    return case.malpractice is None


def _has_malpractice(case: SubmissionCase) -> bool:
    return case.malpractice is not None


def _has_scores(case: SubmissionCase) -> bool:
    return bool(case.scores)


def _has_free_section(case: SubmissionCase) -> bool:
    return bool(_free_sections(case))


def _has_plain_cell(*columns: str) -> Callable[[SubmissionCase], bool]:
    return lambda case: not case.cell_overrides.keys() & {*columns}


def _has_plain_files(case: SubmissionCase) -> bool:
    """Whether the cells name each learner file, so a file can be added, removed or renamed."""
    names = [file.name for file in case.files_of(FileKind.SUBMISSION)]
    return not case.cell_overrides.keys() & _NAME_CELLS and not any("," in name for name in names)


def _has_surname(case: SubmissionCase) -> bool:
    return bool(case.surname) and _has_plain_cell("Surname")(case)


def _has_report(case: SubmissionCase) -> bool:
    return bool(case.report_variations)


# The warehouse


def _later(case: SubmissionCase) -> datetime:
    return _EARLIEST + timedelta(minutes=case.attempt % 10_000, milliseconds=120)


def _set_marks(case: SubmissionCase, marks: Decimal) -> None:
    """Sets the marks in the column in which the warehouse already has them."""
    case.marks = marks
    if case.report_overrides.get("MarksAwarded") is not None:
        case.report_overrides["MarksAwarded"] = marks


def _set_grade(case: SubmissionCase, grade: str) -> None:
    level_7 = _LEVEL_7_GRADES if case.course.code.startswith("7") else {}
    case.grade, case.final_grade = grade, level_7.get(grade, grade)
    case.report_variations = ({},) * len(case.report_variations)


def _regrade(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    current = case.grade.strip().casefold()
    _set_grade(case, next(grade for grade in _HIGHER_GRADES if grade.casefold() != current))
    _set_marks(case, (case.marks + Decimal("31.5")) % 100)
    case.grade_percent = (case.grade_percent + Decimal("31.25")) % 100


def _regrade_later(case: SubmissionCase, builder: DatasetBuilder) -> None:
    _regrade(case, builder)
    case.modified = _later(case)


def _amend_marks(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    _set_marks(case, (case.marks + Decimal("1.25")) % 100)


def _move_marks(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """The same marks in the other column."""
    if case.report_overrides.get("MarksAwarded") is not None:
        case.report_overrides.pop("MarksAchieved")
        case.report_overrides.pop("MarksAwarded")
    else:
        case.report_overrides |= {"MarksAchieved": None, "MarksAwarded": case.marks}


def _modify_later(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.modified = _later(case)


def _change_unused_values(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """Values that no rule uses."""
    case.cell_overrides |= {"Membership Number": "90210", "Timestamp": "01/01/2027 00:00"}
    if "MarksAwarded" not in case.report_overrides:
        case.report_overrides["MarksAwarded"] = Decimal(12)


def _change_notes(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.notes = builder.rng.choice([note for note in MARKER_NOTES if note != case.notes])


def _lift_malpractice(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.malpractice = None
    _set_grade(case, "Pass")
    case.modified = _later(case)


def _impose_malpractice(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.report_variations = ({},) * len(case.report_variations)
    set_malpractice(case, *builder.rng.choice(MALPRACTICE_GRADES))
    case.modified = _later(case)


def _change_malpractice_level(case: SubmissionCase, builder: DatasetBuilder) -> None:
    others = [pair for pair in MALPRACTICE_GRADES if pair[0] != case.grade]
    set_malpractice(case, *builder.rng.choice(others))


def _miss_grade(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.report_overrides["Grade"] = "Grade Missed"
    case.expect_failure(FailureCode.GRADE_MISSED)


def _remove_report(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.report_variations = ()
    case.expect_failure(FailureCode.REPORT_MISSING)


def _comment_on_score(case: SubmissionCase, builder: DatasetBuilder) -> None:
    last = case.scores[-1]
    comment = builder.rng.choice([text for text in MARKER_COMMENTS if text != last.comment])
    case.scores[-1] = replace(last, comment=comment, modified=_later(case))


def _amend_score(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """Without a new DateModified."""
    case.scores[0] = replace(case.scores[0], score=Decimal(str(case.scores[0].marks)) + 7)


def _free_sections(case: SubmissionCase) -> Sequence[tuple[str, str]]:
    scored = {score.section_id for score in case.scores}
    return [(label, section) for label, section in case.course.labels if section not in scored]


def _add_score(case: SubmissionCase, builder: DatasetBuilder) -> None:
    (made,) = builder.scores(case.course, 1, case.inserted)
    label, section = max(_free_sections(case), key=lambda free: free[1])
    later = _later(case)
    case.scores.append(
        replace(made, label=label, section_id=section, inserted=later, modified=None)
    )


def _remove_score(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.scores.pop(0)


# The CSV row


def _correct_email(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    old = case.learner.email
    case.learner = replace(case.learner, email=f"corrected.{old}")
    if case.uploaded_by == old:
        case.uploaded_by = case.learner.email


def _correct_surname(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """The names of feedback files contain the surname."""
    case.surname = f"{case.surname} Æ. Newname"


def _correct_course_title(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.course_title = f"{case.course.exercise.strip()} (2nd edition)"


# Files


def _add_learner_file(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files.append(builder.learner_file(case.attempt, "Handed in later.pdf"))


def _add_feedback_file(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files.append(builder.feedback_file(case.attempt))


def _removable(case: SubmissionCase) -> bool:
    return len(case.files) > 1 and _has_plain_files(case)


def _remove_file(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.files.pop()


def _renamable(case: SubmissionCase) -> bool:
    return bool(case.files_of(FileKind.SUBMISSION)) and _has_plain_files(case)


def _rename_file(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """The first learner file has another name, at the same URL."""
    first = case.files_of(FileKind.SUBMISSION)[0]
    renamed: SourceFile = replace(first, name=f"Renamed.{first.name.rpartition('.')[2]}")
    case.files[case.files.index(first)] = renamed


REGRADED: Final = SourceChange("regraded", _is_graded, _regrade_later)
REGRADED_WITHOUT_DATE: Final = SourceChange(
    "regraded without a later DateModified", _is_graded, _regrade
)
MARKS_AMENDED: Final = SourceChange("marks amended", _any_case, _amend_marks)
MARKS_MOVED: Final = SourceChange("marks moved to the other column", _has_report, _move_marks)
MODIFIED_LATER: Final = SourceChange("only DateModified", _any_case, _modify_later)
UNUSED_VALUES: Final = SourceChange("unused values", _any_case, _change_unused_values)
NOTES_CHANGED: Final = SourceChange("marker notes", _any_case, _change_notes)
MALPRACTICE_LIFTED: Final = SourceChange("malpractice lifted", _has_malpractice, _lift_malpractice)
MALPRACTICE_IMPOSED: Final = SourceChange("malpractice imposed", _is_graded, _impose_malpractice)
MALPRACTICE_CHANGED: Final = SourceChange(
    "another malpractice level", _has_malpractice, _change_malpractice_level
)
GRADE_MISSED: Final = SourceChange("grade missed", _is_graded, _miss_grade)
REPORT_GONE: Final = SourceChange("report gone", _has_report, _remove_report)
COMMENTED: Final = SourceChange("comment on a score", _has_scores, _comment_on_score)
SCORE_AMENDED: Final = SourceChange("score amended", _has_scores, _amend_score)
SCORE_ADDED: Final = SourceChange("score added", _has_free_section, _add_score)
SCORE_REMOVED: Final = SourceChange("score removed", _has_scores, _remove_score)
EMAIL_CORRECTED: Final = SourceChange(
    "e-mail corrected", _has_plain_cell("Learner Email"), _correct_email
)
SURNAME_CORRECTED: Final = SourceChange("surname corrected", _has_surname, _correct_surname)
TITLE_CORRECTED: Final = SourceChange(
    "course title corrected", _has_plain_cell("Course Title"), _correct_course_title
)
LEARNER_FILE_ADDED: Final = SourceChange("learner file added", _has_plain_files, _add_learner_file)
FEEDBACK_ADDED: Final = SourceChange(
    "feedback file added", _has_plain_cell("Marker Azure Blob URLs"), _add_feedback_file
)
FILE_REMOVED: Final = SourceChange("file removed", _removable, _remove_file)
FILE_RENAMED: Final = SourceChange("file renamed", _renamable, _rename_file)
ROW_GONE: Final = SourceChange("CSV row gone", _any_case, lambda _case, _builder: None, True)
