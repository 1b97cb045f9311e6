"""The summaries of shards add up to that of the whole run (specification §7)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rogo_async.common.histogram import Histogram
from rogo_async.reporting.merged_summary import differences, merged
from rogo_async.reporting.summary import ConsumerFigures, RunSummary
from rogo_async.reporting.summary_parts import Latency, ShardFacts

RUN = "20260301T010000Z-0000000a"
BEGIN = datetime(2026, 3, 1, 1, tzinfo=UTC)


def shard(number: int, *durations: float, **changes: Any) -> RunSummary:
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    fields: dict[str, Any] = {
        "run_id": RUN,
        "started_at": BEGIN + timedelta(seconds=number),
        "finished_at": BEGIN + timedelta(seconds=100 + number),
        "exit_code": 0,
        "rows_total": 10,
        "migrated": 7,
        "failed": 1,
        "skipped": 2,
        "not_reached": 0,
        "by_code": {"email_missing": 1, "duplicate_row": 2},
        "consumers": [ConsumerFigures(1, 5, 5, 0), ConsumerFigures(2, 3, 2, 1)],
        "latency_ms": {"target.insert": Latency.of(histogram)},
        "retries": {"store.put": number},
        "concurrency": 2,
        "files": 3,
        "streamed_because": {"no MD5 stated": 1},
        "version": "0.6.0",
        "shard": ShardFacts(shard=f"{number}/3", settings="s", inputs={"mapping": "m"}),
    }
    return RunSummary(**(fields | changes))


def test_figures_are_added_up_and_percentiles_are_those_of_all_calls() -> None:
    durations = [[0.001] * 90, [0.5] * 8, [9.0] * 2]
    whole = Histogram()
    for each in durations:
        for seconds in each:
            whole.add(seconds)
    parts = [shard(number, *each) for number, each in enumerate(durations)]
    found = merged(parts, failed_new=2, failed_accepted=1)
    assert found.latency_ms == {"target.insert": Latency.of(whole)}
    assert (found.rows_total, found.migrated, found.failed, found.skipped) == (30, 21, 3, 6)
    assert found.by_code == {"duplicate_row": 6, "email_missing": 3}
    assert (found.failed_new, found.failed_accepted, found.files) == (2, 1, 9)
    assert [each.id for each in found.consumers] == [1, 2, 3, 4, 5, 6]
    assert (found.concurrency, found.retries) == (6, {"store.put": 3})
    assert (found.started_at, found.finished_at) == (BEGIN, BEGIN + timedelta(seconds=102))
    assert found.rate_per_s == round(30 / 102, 2)
    assert found.streamed_because == {"no MD5 stated": 3}
    assert [(each.shard, each.migrated) for each in found.shards] == [
        ("0/3", 7),
        ("1/3", 7),
        ("2/3", 7),
    ]
    assert found.shard is None
    assert RunSummary.model_validate_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("codes", "accepted", "expected"),
    [
        ((0, 0, 0), 3, 0),
        ((1, 1, 1), 3, 0),
        ((0, 0, 0), 2, 1),
        ((1, 5, 3), 0, 3),
        ((0, 130, 70), 3, 70),
    ],
)
def test_the_exit_code_is_the_most_serious(
    codes: tuple[int, ...], accepted: int, expected: int
) -> None:
    """A shard on another machine may not know which failures are accepted."""
    parts = [shard(number, exit_code=code) for number, code in enumerate(codes)]
    assert merged(parts, 0, accepted).exit_code == expected


@pytest.mark.parametrize(
    ("codes", "expected"), [((0, 0, 0), 3), ((1, 0, 0), 3), ((5, 0, 0), 5), ((5, 143, 0), 143)]
)
def test_a_run_with_rows_that_were_not_processed_is_no_night(
    codes: tuple[int, ...], expected: int
) -> None:
    """For example, a shard that was not begun is recorded before another one is repeated."""
    parts = [shard(number, exit_code=code) for number, code in enumerate(codes)]
    found = merged([*parts[:2], parts[2].model_copy(update={"not_reached": 4})], 0, 0)
    assert (found.exit_code, found.not_reached, found.is_night) == (expected, 4, False)


def test_reasons_name_the_shards_that_stopped() -> None:
    parts = [
        shard(0),
        shard(1, stopped_by={"outage": "target: down"}),
        shard(2, stopped_by={"outage": "target: gone", "sigterm": "terminated"}),
    ]
    assert merged(parts, 0, 0).stopped_by == {
        "outage": "target: down (shard 1/3, 2/3)",
        "sigterm": "terminated (shard 2/3)",
    }


def test_differences_name_the_shards_on_either_side() -> None:
    parts = [shard(0), shard(1, version="0.7.0"), shard(2)]
    assert differences(parts, "versions", lambda s: s.version) == [
        "versions differ: shard 0/3, 2/3 and shard 1/3"
    ]
    assert differences(parts, "targets", lambda s: s.target) == []
