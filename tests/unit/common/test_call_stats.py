"""The statistics of a run are correct and use bounded memory."""

import random

from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.call_stats import CallStats, Reservoir
from rogo_async.common.errors import Dependency

MOST_KEPT = 4096


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_quantiles_of_few_values_are_exact(values: list[float]) -> None:
    sample = Reservoir()
    for value in values:
        sample.add(value)
    assert sample.count == len(values)
    assert sample.quantile(0.0) == min(values)
    assert sample.quantile(1.0) == max(values)
    assert sample.quantile(0.5) == sorted(values)[len(values) // 2]
    assert sample.quantile(0.5) <= sample.quantile(0.95)


def test_no_measurements_give_no_statistics() -> None:
    assert Reservoir().quantile(0.5) == 0.0
    assert CallStats().latency_ms() == {}


def test_samples_are_bounded_and_represent_the_whole_stream() -> None:
    sample = Reservoir()
    values = list(range(200_000))
    random.Random(1).shuffle(values)
    for value in values:
        sample.add(float(value))
    assert sample.count == len(values)
    assert len(sample._sample) == MOST_KEPT
    assert len(set(sample._sample)) == MOST_KEPT
    for share in (0.05, 0.5, 0.95):
        assert abs(sample.quantile(share) / len(values) - share) < 0.03


def test_the_end_of_a_stream_counts_as_much_as_its_beginning() -> None:
    sample = Reservoir()
    for number in range(40_000):
        sample.add(1.0 if number < 20_000 else 3.0)
    late = sample._sample.count(3.0) / MOST_KEPT
    assert 0.45 < late < 0.55


def test_latencies_are_reported_by_operation_in_milliseconds() -> None:
    measured = CallStats()
    for _ in range(3):
        measured.observe(Dependency.TARGET, "insert", 0.0125)
    measured.observe(Dependency.STORE, "put", 2.0)
    assert measured.latency_ms() == {
        "store.put": {"p50": 2000.0, "p95": 2000.0, "count": 1},
        "target.insert": {"p50": 12.5, "p95": 12.5, "count": 3},
    }
