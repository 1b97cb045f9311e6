"""Rules 8 and 9: the report row and the score rows of an attempt must be complete."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.settings import AmbiguousReports
from rogo_async.common.text import quoted
from rogo_async.rules.records import Report, Score

_MARKS: Final = ("MarksAchieved", "MarksAwarded")
_NUMBERS: Final = frozenset({*_MARKS, "MarksAvailable", "GradePercent", "Score"})
_DATES: Final = frozenset({"ResultsApproved", "DateInserted", "DateModified"})
_COLUMNS: Final = {
    "ti_user_id": "TIUserId",
    "ti_section_id": "TISectionId",
    "exercise": "Exercise",
    "marks": " or ".join(_MARKS),
    "marks_available": "MarksAvailable",
    "grade_percent": "GradePercent",
    "grade": "Grade",
    "marker_notes": "MarkerNotes",
    "results_approved": "ResultsApproved",
    "date_inserted": "DateInserted",
    "date_modified": "DateModified",
}
"""The column of each field of a report."""


def require_report(
    reports: Sequence[Report], ambiguous_reports: AmbiguousReports = AmbiguousReports.FAIL
) -> Report:
    """Return the one complete report row (rule 8). Zero marks are marks.

    Rows that agree in every column that the rules use count as one. An unreadable value fails the
    row, even in an optional column: otherwise a grade could be migrated with a wrong date or
    without its notes.

    Raises RowError report_missing, report_ambiguous or report_field_missing.
    """
    if not reports:
        raise RowError(FailureCode.REPORT_MISSING, "the warehouse has no report for this attempt")
    different = tuple(dict.fromkeys(reports))
    if len(different) > 1 and ambiguous_reports is AmbiguousReports.LATEST:
        different = _latest(different)
    if len(different) > 1:
        undecided = "" if ambiguous_reports is AmbiguousReports.FAIL else ", and none is the latest"
        raise RowError(
            FailureCode.REPORT_AMBIGUOUS,
            f"the warehouse has {len(different)} different reports for this attempt{undecided}; "
            f"they differ in {', '.join(_differences(different))}",
        )
    report = different[0]
    problems = _report_problems(report)
    if problems:
        raise RowError(FailureCode.REPORT_FIELD_MISSING, f"report row: {'; '.join(problems)}")
    return report


def require_scores(scores: Sequence[Score]) -> None:
    """Check rule 9 for each score row. Raises RowError score_field_missing."""
    problems = [
        f"score row {number} ({_label(score)}): {'; '.join(found)}"
        for number, score in enumerate(scores, start=1)
        if (found := _score_problems(score))
    ]
    if problems:
        raise RowError(FailureCode.SCORE_FIELD_MISSING, "; ".join(problems))


def _latest(reports: tuple[Report, ...]) -> tuple[Report, ...]:
    """The rows with the latest DateModified, else DateInserted.

    All rows if such a date cannot be read, since then it is unknown which row is the latest.
    """
    if any(_date_is_unreadable(report) for report in reports):
        return reports
    dates = [report.date_modified or report.date_inserted for report in reports]
    latest = max((date for date in dates if date is not None), default=None)
    return tuple(report for report, date in zip(reports, dates, strict=True) if date == latest)


def _date_is_unreadable(report: Report) -> bool:
    if "DateModified" in report.unreadable:
        return True
    return report.date_modified is None and "DateInserted" in report.unreadable


def _differences(reports: Sequence[Report]) -> list[str]:
    unreadable = {column for report in reports for column in report.unreadable}
    different = {
        column
        for name, column in _COLUMNS.items()
        if len({getattr(report, name) for report in reports}) > 1
    }
    return sorted(different | unreadable)


def _report_problems(report: Report) -> list[str]:
    unreadable = set(report.unreadable)
    if unreadable & {*_MARKS}:
        unreadable.add(" or ".join(_MARKS))
    missing = [
        column
        for column, present in (
            ("Exercise", _has_text(report.exercise)),
            ("TIUserId", _has_text(report.ti_user_id)),
            ("TISectionId", _has_text(report.ti_section_id)),
            (" or ".join(_MARKS), report.marks is not None),
            ("MarksAvailable", report.marks_available is not None),
            ("GradePercent", report.grade_percent is not None),
            ("DateInserted", report.date_inserted is not None),
            ("Grade", _has_text(report.grade)),
        )
        if not present and column not in unreadable
    ]
    return [
        *_missing(missing),
        *map(_not_readable, report.unreadable),
        *_not_finite(" or ".join(_MARKS), report.marks),
        *_not_finite("MarksAvailable", report.marks_available),
        *_not_finite("GradePercent", report.grade_percent),
    ]


def _score_problems(score: Score) -> list[str]:
    missing = [
        column
        for column, present in (
            ("ScoreLabelCorrected", _has_text(score.label)),
            ("Score", score.score is not None),
        )
        if not present and column not in score.unreadable
    ]
    return [
        *_missing(missing),
        *map(_not_readable, score.unreadable),
        *_not_finite("Score", score.score),
    ]


def _label(score: Score) -> str:
    return quoted(score.label) if score.label else "no label"


def _has_text(text: str | None) -> bool:
    return text is not None and bool(text.strip())


def _missing(columns: list[str]) -> list[str]:
    return [f"no value in {', '.join(columns)}"] if columns else []


def _not_readable(column: str) -> str:
    kind = "number" if column in _NUMBERS else "date" if column in _DATES else "text"
    return f"{column} is not a {kind}"


def _not_finite(column: str, value: Decimal | None) -> list[str]:
    return [] if value is None or value.is_finite() else [f"{column} is not a number"]
