"""Values that drivers give, into the rules' types; what the servers' tests cannot send."""

import struct
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.sources.warehouse import convert
from rogo_async.sources.warehouse.convert import datetimeoffset, wide_text

BARE: dict[str, Any] = {
    "AttemptId": 1,
    "ScoreLabelCorrected": "Q1",
    "Score": None,
    "MarkerComment": None,
    "DateInserted": None,
    "DateModified": None,
}


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


def test_datetimeoffset_beyond_the_calendar_is_unreadable() -> None:
    raw = struct.pack("<6hI2h", 9999, 12, 31, 23, 0, 0, 0, -2, 0)
    score = convert.score({**BARE, "DateInserted": datetimeoffset(raw)})
    assert score.unreadable == ("DateInserted",)


def test_nothing_is_nothing() -> None:
    assert datetimeoffset(None) is None
    assert wide_text(None) is None


@pytest.mark.parametrize("value", [7, "7", " 7 ", 7.0, Decimal(7)])
def test_attempt_of_any_type(value: Any) -> None:
    assert convert.score({**BARE, "AttemptId": value}).attempt == 7


@pytest.mark.parametrize("value", [7.5, Decimal("7.5"), "seven", "7.0"])
def test_attempt_that_is_no_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match=r"AttemptId|invalid literal"):
        convert.score({**BARE, "AttemptId": value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("Infinity"), b"\x01", True])
def test_number_that_is_none(value: Any) -> None:
    assert convert.score({**BARE, "Score": value}).unreadable == ("Score",)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_are_exact(value: Decimal) -> None:
    assert str(convert.score({**BARE, "Score": value}).score) == str(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (12, "12"),
        (12.0, "12"),
        (12.5, "12.5"),
        (1e300, str(int(1e300))),
        (Decimal("12.00"), "12"),
        (Decimal("1E+37"), "1" + "0" * 37),
        (Decimal("Infinity"), "Infinity"),
        (float("inf"), "inf"),
    ],
)
def test_text_of_a_number(value: Any, text: str) -> None:
    assert convert.score({**BARE, "MarkerComment": value}).marker_comment == text


def test_dates() -> None:
    score = convert.score({**BARE, "DateInserted": date(2024, 2, 29), "DateModified": " "})
    assert (score.date_inserted, score.date_modified) == (datetime(2024, 2, 29, tzinfo=UTC), None)
