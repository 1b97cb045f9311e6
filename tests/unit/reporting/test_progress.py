"""Stages: rate of the last 30 seconds, time left, log lines, and the line on a terminal."""

import asyncio
import io
from collections import Counter

import pytest
import structlog
from rich.console import Console

from rogo_async.reporting import progress
from rogo_async.reporting.progress import RunProgress, Stage, Stages
from rogo_async.reporting.rate import Rate
from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.rules.records import Status


def test_the_rate_is_that_of_the_last_30_seconds() -> None:
    stage = Stage("deleting blobs", "blobs", total=2_000)
    for second in range(101):
        stage.set_done(10 * second if second <= 60 else 600 + 2 * (second - 60))
        stage.sample(1_000.0 + second)
    assert stage.rate_per_s() == pytest.approx(2.0)
    assert stage.eta_s() == pytest.approx((2_000 - 680) / 2)
    assert stage.text() == "deleting blobs: 680 of 2,000 blobs  2/s  0:11:00 left"


def test_without_a_total_or_a_rate_no_time_left_is_shown() -> None:
    stage = Stage("reading a file", "bytes")
    stage.sample(0.0)
    assert stage.rate_per_s() == 0.0
    stage.add(30 * 1_048_576)
    stage.sample(10.0)
    assert stage.eta_s() is None
    assert stage.text() == "reading a file: 30.0 MB  3.0 MB/s"
    assert Stage("x", "rows", total=5).eta_s() is None


def test_a_count_that_starts_again_gives_no_negative_rate() -> None:
    stage = Stage("rebuilding", "bytes", done=100)
    stage.sample(0.0)
    stage.set_done(0)
    stage.sample(1.0)
    assert stage.rate_per_s() == 0.0


async def test_a_log_line_is_written_each_interval() -> None:
    lines: list[structlog.typing.EventDict] = []
    with structlog.testing.capture_logs() as captured:
        async with Stages(None, 0.01).stage(
            "verifying", "submissions", 8, count=lambda: 3, facts=lambda: {"wrong": 1}
        ):
            async with asyncio.timeout(30.0):
                while len(captured) < 2:
                    await asyncio.sleep(0.01)
        lines += captured
    facts = lines[0]
    assert (facts["event"], facts["stage"], facts["wrong"]) == ("progress", "verifying", 1)
    assert (facts["done"], facts["total"], facts["unit"]) == (3, 8, "submissions")


async def test_a_stage_that_takes_a_while_is_shown_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "_SHORT_STAGE_S", 0.0)
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80)
    async with Stages(console, 60.0).stage("deleting blobs", "blobs", 9) as stage:
        stage.add(4)
        async with asyncio.timeout(30.0):
            while "4 of 9 blobs" not in output.getvalue():
                await asyncio.sleep(0.01)


async def test_a_short_stage_is_not_shown() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=80)
    async with Stages(console, 60.0).stage("checking", "checks"):
        await asyncio.sleep(0)
    assert output.getvalue() == ""


def test_the_rate_of_a_run_is_that_of_rows_which_consumers_finished_in_the_last_30_seconds() -> (
    None
):
    consumer = ConsumerFigures(1)
    done: Counter[Status] = Counter({Status.SKIPPED: 20_000})
    run = RunProgress(30_000, done, [consumer], Rate(), lambda: 4_500)
    assert (run.rate_per_s(), run.eta_s()) == (0.0, None)
    for second in range(101):
        consumer.processed = 100 * second if second <= 60 else 6_000 + 50 * (second - 60)
        run.sample(1_000.0 + second)
    facts = run.facts()
    assert (facts["rate_per_s"], facts["left"], facts["eta_s"]) == (50.0, 4_500, 90)


def test_a_run_that_stands_still_shows_no_time_left() -> None:
    run = RunProgress(10, Counter(), [ConsumerFigures(1, processed=5)], Rate(), lambda: 5)
    for second in range(40):
        run.sample(float(second))
    assert (run.rate_per_s(), run.eta_s()) == (0.0, None)


def test_samples_may_be_further_apart_than_30_seconds() -> None:
    rate = Rate()
    for minute in range(4):
        rate.sample(60.0 * minute, 120 * minute)
    assert rate.per_s() == pytest.approx(2.0)
