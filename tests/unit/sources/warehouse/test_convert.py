"""Conversion of driver values to the types of the rules; unreadable columns are listed.

Source: specification §1, the warehouse.
"""

import struct
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.sources.warehouse import convert
from rogo_async.sources.warehouse.convert import datetimeoffset, wide_text

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
        (12, "12"),
        (12.0, "12"),
        (12.5, "12.5"),
        (1e300, str(int(1e300))),
        (Decimal("12.00"), "12"),
        (Decimal("1E+37"), "1" + "0" * 37),
        (Decimal("Infinity"), "Infinity"),
        (float("inf"), "inf"),
        (Decimal("1.50"), "1.50"),
        ("", None),
        (" \t\n", None),
        (None, None),
        ("\ud83c\udf93".encode("utf-16", "surrogatepass").decode("utf-16"), "🎓"),
    ],
)
def test_ids_may_be_text_or_numbers(value: object, text: str | None) -> None:
    report = convert.report(report_cells(TIUserId=value))
    assert (report.ti_user_id, report.unreadable) == (text, ())
    score = convert.score(score_cells(MarkerComment=value))
    assert (score.marker_comment, score.unreadable) == (text, ())


def test_a_lone_surrogate_is_unreadable() -> None:
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


@pytest.mark.parametrize(
    "value",
    ["n/a", "NaN", "1,5", float("nan"), float("inf"), Decimal("Infinity"), b"\0", b"\x01", True],
)
def test_a_value_that_is_not_a_number_is_unreadable(value: object) -> None:
    found = convert.report(report_cells(GradePercent=value, MarksAvailable=value))
    assert (found.grade_percent, found.marks_available) == (None, None)
    assert found.unreadable == ("MarksAvailable", "GradePercent")
    assert convert.score(score_cells(Score=value)).unreadable == ("Score",)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_are_exact(value: Decimal) -> None:
    assert str(convert.score(score_cells(Score=value)).score) == str(value)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (datetime(2025, 3, 1, 9, 30), MOMENT),  # noqa: DTZ001
        (MOMENT.astimezone(timezone(timedelta(hours=5))), MOMENT),
        ("2025-03-01 09:30:00", MOMENT),
        (" 2025-03-01T10:30:00+01:00 ", MOMENT),
        (date(2025, 3, 1), datetime(2025, 3, 1, tzinfo=UTC)),
        (date(2024, 2, 29), datetime(2024, 2, 29, tzinfo=UTC)),
        ("", None),
        (" ", None),
        (None, None),
    ],
)
def test_dates_mean_utc(value: object, moment: datetime | None) -> None:
    found = convert.report(report_cells(DateInserted=value))
    assert (found.date_inserted, found.unreadable) == (moment, ())
    assert found.date_inserted is None or found.date_inserted.tzinfo is UTC


@pytest.mark.parametrize("value", ["yesterday", "2025-13-01", 20250301, b"2025"])
def test_a_value_that_is_not_a_date_is_unreadable(value: object) -> None:
    found = convert.score(score_cells(DateModified=value))
    assert (found.date_modified, found.unreadable) == (None, ("DateModified",))


def test_a_score_row_is_trimmed_and_its_zero_kept() -> None:
    found = convert.score(score_cells(ScoreLabelCorrected=" Question 1 "))
    assert (found.attempt, found.label, found.score) == (7, "Question 1", Decimal(0))
    assert found.marker_comment == "fine"
    assert found.unreadable == ()


@pytest.mark.parametrize("value", [7, 7.0, Decimal(7), Decimal("7.0"), "7", " 7 "])
def test_the_attempt_may_have_any_type(value: object) -> None:
    assert convert.report(report_cells(AttemptId=value)).attempt == 7
    assert convert.score(score_cells(AttemptId=value)).attempt == 7


@pytest.mark.parametrize("value", [7.5, Decimal("7.5"), "seven", "7.0", None])
def test_an_attempt_that_is_not_a_whole_number_is_rejected(value: object) -> None:
    with pytest.raises(ValueError, match=r"AttemptId|invalid literal"):
        convert.report(report_cells(AttemptId=value))
    with pytest.raises(ValueError, match=r"AttemptId|invalid literal"):
        convert.score(score_cells(AttemptId=value))


@given(st.text())
def test_wide_text_is_text(text: str) -> None:
    assert wide_text(text.encode("utf-16-le", "surrogatepass")) == text


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),  # noqa: DTZ001 - fields of a structure
    st.integers(-14 * 60, 14 * 60),
)
def test_datetimeoffset_is_the_same_moment(local: datetime, minutes: int) -> None:
    sign = -1 if minutes < 0 else 1
    raw = struct.pack(
        "<6hI2h",
        *(local.year, local.month, local.day, local.hour, local.minute, local.second),
        local.microsecond * 1000,
        sign * (abs(minutes) // 60),
        sign * (abs(minutes) % 60),
    )
    offset = f"{'-' if sign < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    assert datetimeoffset(raw) == datetime.fromisoformat(local.isoformat() + offset)


def test_datetimeoffset_outside_the_calendar_is_unreadable() -> None:
    raw = struct.pack("<6hI2h", 9999, 12, 31, 23, 0, 0, 0, -2, 0)
    score = convert.score(score_cells(DateInserted=datetimeoffset(raw)))
    assert score.unreadable == ("DateInserted",)


def test_null_stays_null() -> None:
    assert datetimeoffset(None) is None
    assert wide_text(None) is None
