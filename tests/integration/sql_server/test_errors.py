"""Errors of SQL Server: which are retried and which stop the run, with both drivers."""

import asyncio
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import pytest

from rogo_async.common import error_classes
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import (
    Dependency,
    RunStopped,
    SetupError,
    SystemicError,
    TransientError,
)
from rogo_async.common.retry import CircuitBreaker, Probe, with_retry
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.sources.warehouse import reader
from rogo_async.sources.warehouse.reader import Warehouse
from tests.support.fake_sql_server import Cut, Delay, FakeSqlServer, Refuse
from tests.support.fake_sql_server.values import DateTime2, DateTimeOffset, Numeric, Text
from tests.support.sql_server import (
    POLICY,
    QUICK,
    SCORE_COLUMNS,
    opened,
    report_row,
    retyped,
    score_row,
    served,
    tables,
)

ATTEMPTS: Final = range(1, 41)
TRANSIENT: Final = (
    *(1204, 1205, 1222, 233, 997, 4221, 10060, 10928, 10929, 40143, 40197, 40501, 40540, 40613),
    *(42108, 42109, 49918, 49919, 49920, 20, 64, 121, 10053, 10054, 4060),
)
THROTTLED: Final = (40501, 49918, 49919, 49920, 10928, 10929)
SYSTEMIC: Final = {
    208: "table dbo.Rogo_AssessmentReport does not exist or is not visible",
    229: "permission denied. Grant SELECT on dbo.Rogo_AssessmentReport",
    230: "permission denied. Grant SELECT on dbo.Rogo_AssessmentReport",
    245: "dbo.Rogo_AssessmentReport has an AttemptId that is not a number",
    8152: "error 8152",
}
LOGIN: Final = {
    18456: "login failed. Check user and password",
    911: "the database does not exist. Correct its name",
    18470: "the login is disabled",
    40615: "the server's firewall blocks this machine",
}
CUTS: Final = 20
ALWAYS: Final = 1_000_000


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_classes, "THROTTLED_WAIT_S", 0.02)
    monkeypatch.setattr(reader, "NOT_OPENED_WAITS_S", (0.01, 0.01, 0.01))


async def all_rows_found(warehouse: Warehouse) -> None:
    """Each attempt is found once, with its two scores, by two successful queries."""
    found = await warehouse.look_up(ATTEMPTS)
    assert {
        attempt: (len(each.reports), [score.label for score in each.scores])
        for attempt, each in found.items()
    } == dict.fromkeys(ATTEMPTS, (1, ["Question 1", "Question 2"]))


async def open_with_retry(text: str, stop_signal: StopSignal) -> Warehouse:
    """Open the warehouse as a run does: retry transient errors."""

    def breaker_for(probe: Probe) -> CircuitBreaker:
        return CircuitBreaker(Dependency.WAREHOUSE, probe, stop_signal, CallStats(), 30, POLICY)

    return await with_retry(
        lambda: Warehouse.open(text, 4, breaker_for, QUICK), stop_signal, 10, POLICY
    )


@pytest.mark.parametrize("number", TRANSIENT)
async def test_transient_error_is_retried(
    sql_server: FakeSqlServer, text: str, number: int
) -> None:
    error = Refuse(number, severity=17)
    sql_server.on("login", error)
    warehouse = await open_with_retry(text, StopSignal())
    try:
        sql_server.on("login", error)
        await all_rows_found(warehouse)
        sql_server.on("reports", error)
        sql_server.on("scores", error)
        await all_rows_found(warehouse)
        sql_server.on("scores", Refuse(number, severity=20))
        await all_rows_found(warehouse)
        sql_server.on("reports", Refuse(number, after_rows=True))
        await all_rows_found(warehouse)
    finally:
        await warehouse.aclose()
    assert not sql_server.waiting
    assert sql_server.queries["reports"] + sql_server.queries["scores"] == 4 * 2 + 4


@pytest.mark.parametrize("number", THROTTLED)
async def test_throttling_waits_ten_seconds(
    sql_server: FakeSqlServer, text: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.undo()
    sql_server.on("catalogue", Refuse(number, severity=17))
    with pytest.raises(TransientError) as raised:
        async with opened(text):
            pass
    assert raised.value.retry_after_s >= 10


@pytest.mark.parametrize(("number", "words"), SYSTEMIC.items())
async def test_permanent_error_at_start_is_reported(
    sql_server: FakeSqlServer, text: str, number: int, words: str
) -> None:
    sql_server.on("probe", Refuse(number))
    with pytest.raises(SystemicError) as raised:
        async with opened(text):
            pass
    assert words in raised.value.reason
    assert "\n" not in raised.value.reason
    assert "refused for a test" not in str(raised.value)


@pytest.mark.parametrize(("number", "words"), LOGIN.items())
async def test_refused_login_at_start_is_reported(
    sql_server: FakeSqlServer, text: str, number: int, words: str
) -> None:
    sql_server.on("login", Refuse(number, severity=14), ALWAYS)
    with pytest.raises(SystemicError) as raised:
        async with opened(text):
            pass
    assert words in raised.value.reason
    assert sql_server.connections == 1


async def test_missing_table_at_start_is_named(driver: str) -> None:
    async with FakeSqlServer(tables([], [])[:1]) as running:
        with pytest.raises(SetupError, match=r"ReportScores does not exist"):
            async with opened(served(running, driver)):
                pass


@pytest.mark.parametrize(("number", "words"), SYSTEMIC.items())
async def test_permanent_error_later_stops_the_run(
    sql_server: FakeSqlServer, text: str, number: int, words: str
) -> None:
    stop_signal = StopSignal()
    async with opened(text, limit_s=0.5, stop_signal=stop_signal) as warehouse:
        for moment in ("reports", "probe"):
            sql_server.on(moment, Refuse(number), ALWAYS)
        with pytest.raises(RunStopped):
            await warehouse.look_up(ATTEMPTS)
    (reason,) = stop_signal.reasons.values()
    assert words in reason
    assert "\n" not in reason


async def test_refused_login_later_stops_the_run(sql_server: FakeSqlServer, text: str) -> None:
    stop_signal = StopSignal()
    async with opened(text, limit_s=0.5, stop_signal=stop_signal) as warehouse:
        sql_server.on("login", Refuse(18456, severity=14), ALWAYS)
        sql_server.cut()
        with pytest.raises(RunStopped):
            await warehouse.look_up(ATTEMPTS)
    assert "login failed" in stop_signal.reasons[StopReason.OUTAGE]


async def test_temporary_error_fails_no_query(sql_server: FakeSqlServer, text: str) -> None:
    async with opened(text) as warehouse:
        for moment in ("reports", "probe"):
            sql_server.on(moment, Refuse(229), 3)
        await all_rows_found(warehouse)


async def test_slow_query_times_out_and_is_retried(sql_server: FakeSqlServer, text: str) -> None:
    async with opened(text) as warehouse:
        sql_server.on("reports", Delay(30))
        began = time.monotonic()
        await all_rows_found(warehouse)
        assert 0.9 <= time.monotonic() - began < 25


@pytest.mark.parametrize("operation", ["reports", "scores"])
async def test_truncated_answer_is_requested_again(driver: str, operation: str) -> None:
    attempts = range(1, 201)
    held = tables(map(report_row, attempts), map(score_row, attempts))
    async with FakeSqlServer(held) as running, opened(served(running, driver)) as warehouse:
        sound = await warehouse.look_up(attempts)
        for cut in range(CUTS):
            running.on(operation, Cut(cut / CUTS))
            assert await warehouse.look_up(attempts) == sound
        assert running.queries[operation] == 1 + 2 * CUTS


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Numeric(), Decimal("61.123456789")),
        (Text(), "an owl \N{OWL}"),
        (DateTime2(), datetime(2025, 3, 4, 5, 6, 7)),  # noqa: DTZ001 - as in the warehouse
        (DateTimeOffset(), datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)),
    ],
)
async def test_answer_truncated_within_a_value_is_requested_again(
    driver: str, kind: Any, value: Any
) -> None:
    columns = retyped(SCORE_COLUMNS, MarkerComment=kind)
    held = tables([], [score_row(1, MarkerComment=value)], score_columns=columns)
    async with FakeSqlServer(held) as running, opened(served(running, driver)) as warehouse:
        sound = await warehouse.look_up([1])
        sent = kind.value(value)
        for short in range(1, len(sent)):
            running.on("scores", Cut(value=sent, short=short))
            assert await warehouse.look_up([1]) == sound
        assert not running.waiting


async def test_cancelled_call_frees_its_connection(sql_server: FakeSqlServer, text: str) -> None:
    async with opened(text, size=2) as warehouse:
        sql_server.on("reports", Delay(1), 2)
        for _ in range(2):
            looking = asyncio.create_task(warehouse.look_up(ATTEMPTS))
            await asyncio.sleep(0.2)
            looking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await looking
        await all_rows_found(warehouse)
