"""The arithmetic of the benches is correct for runs whose rate is known."""

import random

import pytest

from tests.bench.figures import latency_alone, spread, steady, stretch_for


def _waves(consumers: int, waves: int, latency_s: float, jitter_s: float) -> list[float]:
    """When submissions end: a slow start, then one wave a latency."""
    rng = random.Random(1)
    start = 3 * latency_s
    return [
        start + wave * latency_s + rng.random() * jitter_s
        for wave in range(waves)
        for _ in range(consumers)
    ]


@pytest.mark.parametrize("consumers", [1, 5, 64, 256])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
def test_the_rate_of_waves_is_consumers_by_latency(consumers: int, jitter: float) -> None:
    found = steady(_waves(consumers, 20, 2.0, jitter * 2.0), consumers)
    assert found.rate == pytest.approx(consumers / 2.0, rel=0.03)
    assert found.spread < 0.15
    assert found.began == pytest.approx(3 * 2.0 + 2 * 2.0, abs=0.5)


def test_consumers_without_waves_have_their_rate() -> None:
    finished = [number * 0.01 for number in range(2_000)]
    assert steady(finished, 64).rate == pytest.approx(100.0, rel=0.001)


def test_a_slow_start_and_a_slow_end_are_left_out() -> None:
    even = [100 + number * 0.1 for number in range(100)]
    found = steady([0.0] * 10 + even + [500.0] * 9, 10)
    assert found.rate == pytest.approx(10.0, rel=0.01)


def test_a_rate_that_changes_shows_as_spread() -> None:
    slower = [float(number) for number in range(50)] + [50 + number * 2.0 for number in range(50)]
    assert steady(slower, 1).spread > 0.5


def test_too_few_submissions_are_no_steady_state() -> None:
    with pytest.raises(ValueError, match="no steady state"):
        steady([float(number) for number in range(5 * 64)], 64)


def test_spread_is_a_share_of_the_median() -> None:
    assert spread([9.0, 10.0, 11.0]) == pytest.approx(0.2)
    assert spread([]) == 0.0


def test_the_latency_alone_leaves_the_first_out() -> None:
    assert latency_alone([0.0, 9.0, 11.0, 13.0, 15.0, 99.0]) == pytest.approx(2.0)


def test_the_stretch_lets_the_busiest_server_stay_below_the_limit() -> None:
    cpu = {"azurite": 0.008, "postgres": 0.001}
    factor = stretch_for(250, cpu, 0.5, margin=1.2)
    assert 250 / factor * 0.008 < 0.5
    assert factor == 5.0
    assert stretch_for(10, cpu, 0.5) == 1.0
    assert (factor * 4).is_integer()
