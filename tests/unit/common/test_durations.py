"""Durations and times of day (specification §4 and §5)."""

import time as clock
from collections.abc import Iterator
from datetime import UTC, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.durations import parse_duration, seconds_until


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("18000", 18000),
        ("0.5", 0.5),
        (".5", 0.5),
        ("30s", 30),
        ("90m", 5400),
        ("5h", 18000),
        (" 5H ", 18000),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("0", 0),
    ],
)
def test_a_duration_has_seconds_or_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.tuples(*[st.integers(0, 999_999)] * 4), st.tuples(*[st.booleans()] * 4))
def test_units_add_up(numbers: tuple[int, ...], used: tuple[bool, ...]) -> None:
    parts = list(zip(numbers, "dhms", (86_400, 3_600, 60, 1), used, strict=True))
    text = "".join(f"{number}{unit}" for number, unit, _, is_used in parts if is_used)
    if text:
        expected = sum(number * unit_s for number, _, unit_s, is_used in parts if is_used)
        assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h",
        "5 hours",
        "5h 30m",
        "30m5h",
        "-5",
        "nan",
        "inf",
        "1e3",
        "5:00",
        "5h30",
        "1.5h",
        "٣s",
    ],
)
def test_other_texts_are_refused_with_the_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: write seconds, or .* 5h"):
        parse_duration(text)


@pytest.fixture
def london(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/London")
    clock.tzset()
    yield
    monkeypatch.undo()
    clock.tzset()


@pytest.mark.usefixtures("london")
@pytest.mark.parametrize(
    ("now", "hours"),
    [
        (datetime(2026, 1, 10, 1, 0, tzinfo=UTC), 5),
        (datetime(2026, 1, 10, 7, 0, tzinfo=UTC), 23),
        (datetime(2026, 1, 10, 6, 0, tzinfo=UTC), 24),
        (datetime(2026, 7, 10, 1, 0, tzinfo=UTC), 4),  # 02:00 in summer
        (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), 4.5),  # the clocks go forward at 01:00
        (datetime(2026, 10, 24, 23, 0, tzinfo=UTC), 7),  # 00:00; the clocks go back at 02:00
        (datetime(2026, 10, 24, 6, 0, tzinfo=UTC), 24),  # 07:00: tomorrow, which has 25 hours
    ],
)
def test_the_next_six_o_clock_of_this_machine(now: datetime, hours: float) -> None:
    assert seconds_until(time(6, 0), now) == hours * 3600
