"""What drivers hand over becomes what the rules need; what cannot be read is named, not dropped."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from rogo_async.sources.warehouse import convert

MOMENT = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)


def report_cells(**changes: Any) -> dict[str, Any]:
    return {
        "AttemptId": 7,
        "TIUserId": "501",
        "TISectionId": "81",
        "Exercise": "5AB01 Working",
        "MarksAchieved": Decimal(40),
        "MarksAwarded": Decimal(41),
        "MarksAvailable": Decimal(60),
        "GradePercent": Decimal("66.7"),
        "Grade": "Pass",
        "MarkerNotes": None,
        "ResultsApproved": None,
        "DateInserted": MOMENT.replace(tzinfo=None),
        "DateModified": None,
        **changes,
    }


def score_cells(**changes: Any) -> dict[str, Any]:
    return {
        "AttemptId": 7,
        "ScoreLabelCorrected": "Question 1",
        "Score": Decimal(0),
        "MarkerComment": " fine ",
        "DateInserted": None,
        "DateModified": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("501", "501"),
        (" 501 ", "501"),
        (501, "501"),
        (501.0, "501"),
        (Decimal(501), "501"),
        (Decimal("501.00"), "501"),
        (Decimal("5E+2"), "500"),
        (12345678901234567890, "12345678901234567890"),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.50"),
        ("", None),
        (" \t\n", None),
        (None, None),
        ("\ud83c\udf93".encode("utf-16", "surrogatepass").decode("utf-16"), "🎓"),
    ],
)
def test_ids_may_be_text_or_numbers(value: object, text: str | None) -> None:
    found = convert.report(report_cells(TIUserId=value))
    assert (found.ti_user_id, found.unreadable) == (text, ())


def test_half_of_a_surrogate_pair_is_no_text() -> None:
    found = convert.report(report_cells(MarkerNotes="good \ud83c"))
    assert (found.marker_notes, found.unreadable) == (None, ("MarkerNotes",))


@pytest.mark.parametrize("zero", [0, 0.0, Decimal(0), "0", " 0.00 "])
def test_zero_marks_are_marks(zero: object) -> None:
    assert convert.report(report_cells(MarksAchieved=zero)).marks == 0


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_marks_awarded_count_where_achieved_is_null(blank: object) -> None:
    assert convert.report(report_cells(MarksAchieved=blank)).marks == 41
    both = report_cells(MarksAchieved=blank, MarksAwarded=None)
    assert convert.report(both).marks is None


def test_one_marks_column_is_enough() -> None:
    for name, marks in (("MarksAchieved", 41), ("MarksAwarded", 40)):
        cells = report_cells()
        del cells[name]
        assert convert.report(cells).marks == marks


def test_unreadable_marks_do_not_fall_back_to_the_other_column() -> None:
    found = convert.report(report_cells(MarksAchieved="forty"))
    assert (found.marks, found.unreadable) == (None, ("MarksAchieved",))


@pytest.mark.parametrize("value", ["n/a", "NaN", float("inf"), "1,5", b"\x00"])
def test_what_is_no_number_is_named(value: object) -> None:
    found = convert.report(report_cells(GradePercent=value, MarksAvailable=value))
    assert (found.grade_percent, found.marks_available) == (None, None)
    assert found.unreadable == ("MarksAvailable", "GradePercent")


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (datetime(2025, 3, 1, 9, 30), MOMENT),  # noqa: DTZ001
        (MOMENT.astimezone(timezone(timedelta(hours=5))), MOMENT),
        ("2025-03-01 09:30:00", MOMENT),
        (" 2025-03-01T10:30:00+01:00 ", MOMENT),
        (date(2025, 3, 1), datetime(2025, 3, 1, tzinfo=UTC)),
        ("", None),
        (None, None),
    ],
)
def test_dates_mean_utc(value: object, moment: datetime | None) -> None:
    found = convert.report(report_cells(DateInserted=value))
    assert (found.date_inserted, found.unreadable) == (moment, ())
    assert found.date_inserted is None or found.date_inserted.tzinfo is UTC


@pytest.mark.parametrize("value", ["yesterday", "2025-13-01", 20250301, b"2025"])
def test_what_is_no_date_is_named(value: object) -> None:
    found = convert.score(score_cells(DateModified=value))
    assert (found.date_modified, found.unreadable) == (None, ("DateModified",))


def test_a_score_row_is_trimmed_and_its_zero_kept() -> None:
    found = convert.score(score_cells(ScoreLabelCorrected=" Question 1 "))
    assert (found.attempt, found.label, found.score) == (7, "Question 1", Decimal(0))
    assert found.marker_comment == "fine"
    assert found.unreadable == ()


@pytest.mark.parametrize("value", [7, 7.0, Decimal("7.0"), "7"])
def test_the_attempt_of_a_row_whatever_its_columns_type(value: object) -> None:
    assert convert.report(report_cells(AttemptId=value)).attempt == 7
    assert convert.score(score_cells(AttemptId=value)).attempt == 7


@pytest.mark.parametrize("value", [7.5, Decimal("7.5"), "seven", "7.0", None])
def test_an_attempt_that_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        convert.report(report_cells(AttemptId=value))
