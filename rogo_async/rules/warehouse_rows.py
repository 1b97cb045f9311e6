"""Rules 8 and 9: the report row and the score rows of an attempt must be complete."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import quoted
from rogo_async.rules.records import Report, Score

_MARKS: Final = ("MarksAchieved", "MarksAwarded")
_NUMBERS: Final = frozenset({*_MARKS, "MarksAvailable", "GradePercent", "Score"})
_DATES: Final = frozenset({"ResultsApproved", "DateInserted", "DateModified"})


def require_report(reports: Sequence[Report]) -> Report:
    """Return the one complete report row (rule 8). Zero marks are marks.

    An unreadable value fails the row, even in an optional column: otherwise a grade could be
    migrated with a wrong date or without its notes.

    Raises RowError report_missing, report_ambiguous or report_field_missing.
    """
    if not reports:
        raise RowError(FailureCode.REPORT_MISSING, "the warehouse has no report for this attempt")
    if len(reports) > 1:
        raise RowError(
            FailureCode.REPORT_AMBIGUOUS,
            f"the warehouse has {len(reports)} reports for this attempt",
        )
    report = reports[0]
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
