"""All column types that the warehouse may have, with both drivers."""

# ruff: noqa: DTZ001 - times in the warehouse have no zone

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from rogo_async.rules.records import Report, Score
from tests.support.fake_sql_server import FakeSqlServer
from tests.support.fake_sql_server.values import (
    Bit,
    Date,
    DateTime,
    DateTime2,
    DateTimeOffset,
    Float,
    Guid,
    Int,
    Money,
    Narrow,
    Numeric,
    SmallDateTime,
    Text,
)
from tests.support.sql_server import (
    REPORT_COLUMNS,
    SCORE_COLUMNS,
    opened,
    report_row,
    retyped,
    score_row,
    served,
    tables,
)

MOMENT = datetime(2025, 3, 4, 5, 6, 7, 123456)
EVERYTHING = "caf\u00e9 \u20ac \N{OWL} \N{HEBREW LETTER ALEF}\u0301 \x01 \r\n"


async def report(driver: str, types: dict[str, Any], **cells: Any) -> Report:
    columns = retyped(REPORT_COLUMNS, **types)
    held = tables([report_row(1, **cells)], [], report_columns=columns)
    async with FakeSqlServer(held) as sql_server, opened(served(sql_server, driver)) as warehouse:
        return (await warehouse.look_up([1]))[1].reports[0]


async def score(driver: str, types: dict[str, Any], **cells: Any) -> Score:
    columns = retyped(SCORE_COLUMNS, **types)
    held = tables([], [score_row(1, **cells)], score_columns=columns)
    async with FakeSqlServer(held) as sql_server, opened(served(sql_server, driver)) as warehouse:
        return (await warehouse.look_up([1]))[1].scores[0]


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Numeric(38, 10), Decimal("61.0000000001"), Decimal("61.0000000001")),
        (Numeric(38, 0), Decimal("9" * 38), Decimal("9" * 38)),
        (Numeric(9, 2), Decimal("-0.01"), Decimal("-0.01")),
        (Float(), 0.1, Decimal("0.1")),
        (Money(), Decimal("-12.3456"), Decimal("-12.3456")),
        (Int(1), 255, Decimal(255)),
        (Int(8), -(2**63), Decimal(-(2**63))),
        (Text(20), " 61.50 ", Decimal("61.50")),
        (Text(20), " ", None),
        (Numeric(), None, None),
        (Float(), None, None),
    ],
)
async def test_number(driver: str, kind: Any, value: Any, read: Decimal | None) -> None:
    found = await score(driver, {"Score": kind}, Score=value)
    assert (found.score, found.unreadable) == (read, ())


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (DateTime2(), MOMENT, MOMENT.replace(tzinfo=UTC)),
        (DateTime(), datetime(2025, 3, 4, 5, 6, 7, 123333), datetime(2025, 3, 4, 5, 6, 7, 123000)),
        (SmallDateTime(), MOMENT, datetime(2025, 3, 4, 5, 6)),
        (Date(), date(2024, 2, 29), datetime(2024, 2, 29)),
        (
            DateTimeOffset(),
            MOMENT.replace(tzinfo=timezone(-timedelta(hours=5, minutes=30))),
            datetime(2025, 3, 4, 10, 36, 7, 123456),
        ),
        (
            DateTimeOffset(),
            MOMENT.replace(tzinfo=timezone(timedelta(hours=14))),
            datetime(2025, 3, 3, 15, 6, 7, 123456),
        ),
        (Text(40), "2025-03-04T05:06:07Z", datetime(2025, 3, 4, 5, 6, 7)),
        (DateTimeOffset(), None, None),
        (DateTime(), None, None),
    ],
)
async def test_moment(driver: str, kind: Any, value: Any, read: datetime | None) -> None:
    found = await report(driver, {"ResultsApproved": kind}, ResultsApproved=value)
    wanted = None if read is None else read.replace(tzinfo=UTC)
    assert (found.results_approved, found.unreadable) == (wanted, ())


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        (Text(), EVERYTHING * 4_000, (EVERYTHING * 4_000).strip()),
        (Text(100), EVERYTHING, EVERYTHING.strip()),
        (Text(), "", None),
        (Text(), None, None),
        (Narrow(), "caf\u00e9 \u20ac", "caf\u00e9 \u20ac"),
        (Int(4), 12, "12"),
        (Numeric(38, 0), Decimal("1" + "0" * 37), "1" + "0" * 37),
        (Float(), 12.0, "12"),
        (Guid(), bytes(range(16)), "03020100-0504-0706-0809-0A0B0C0D0E0F"),
    ],
)
async def test_text(driver: str, kind: Any, value: Any, read: str | None) -> None:
    found = await report(driver, {"MarkerNotes": kind}, MarkerNotes=value)
    assert (found.marker_notes, found.unreadable) == (read, ())


@pytest.mark.parametrize(
    ("column", "kind", "value"),
    [
        ("MarksAvailable", Text(20), "a hundred"),
        ("MarksAvailable", Bit(), True),
        ("DateInserted", Text(20), "yesterday"),
        ("DateInserted", Int(), 20250304),
        ("MarkerNotes", Text(), "half of an owl \ud83e"),
    ],
)
async def test_unreadable_value_is_named(driver: str, column: str, kind: Any, value: Any) -> None:
    found = await report(driver, {column: kind}, **{column: value})
    assert found.unreadable == (column,)


@pytest.mark.parametrize(
    ("kind", "value"), [(Int(8), 1), (Text(20), "1"), (Numeric(18, 0), Decimal(1)), (Float(), 1.0)]
)
async def test_attempt_of_another_type(driver: str, kind: Any, value: Any) -> None:
    columns = retyped(REPORT_COLUMNS, AttemptId=kind)
    held = tables([report_row(1)], [score_row(1)], report_columns=columns)
    held[0].rows_of(1)[0]["AttemptId"] = value
    async with FakeSqlServer(held) as sql_server, opened(served(sql_server, driver)) as warehouse:
        found = (await warehouse.look_up([1]))[1]
    assert found.reports[0].attempt == 1
    assert len(found.scores) == 1
