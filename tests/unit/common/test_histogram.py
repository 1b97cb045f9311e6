"""Quantiles are within 1 %, also of histograms that were added up."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.histogram import Histogram

DURATIONS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200)
WITHIN = 0.01


def histogram(durations: list[float]) -> Histogram:
    made = Histogram()
    for seconds in durations:
        made.add(seconds)
    return made


@given(DURATIONS, st.floats(0, 1))
def test_a_quantile_is_within_one_percent_of_the_duration_of_that_rank(
    durations: list[float], share: float
) -> None:
    rank = min(len(durations) - 1, int(share * len(durations)))
    made = histogram(durations)
    assert made.count == len(durations)
    assert made.quantile(share) == pytest.approx(sorted(durations)[rank], rel=WITHIN)


@given(st.lists(DURATIONS, max_size=5))
def test_added_histograms_equal_one_that_saw_everything(parts: list[list[float]]) -> None:
    whole = histogram([seconds for part in parts for seconds in part])
    added = Histogram()
    for part in parts:
        added.merge(histogram(part))
    assert added.buckets == whole.buckets
    assert added.total_s == pytest.approx(whole.total_s)
    assert Histogram(whole.buckets).quantile(0.95) == whole.quantile(0.95)


def test_no_durations_have_no_quantile() -> None:
    assert Histogram().quantile(0.5) == 0.0


def test_durations_of_zero_are_the_shortest() -> None:
    assert 0 < histogram([0.0, -1.0]).quantile(1.0) < 1e-8


def test_memory_is_bounded_by_the_range_of_the_durations() -> None:
    chance = random.Random(1)
    made = histogram([chance.lognormvariate(-3, 2) for _ in range(100_000)])
    assert made.count == 100_000
    assert len(made.buckets) < 1_100
