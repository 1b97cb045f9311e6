"""The arithmetic of the benches: rates in steady state, medians, spreads."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

PARTS: Final = 4
"""The number of parts of the steady state whose rates are compared."""


@dataclass(frozen=True, slots=True)
class Steady:
    """The rate a second in steady state, its spread over parts of it, and its span in seconds."""

    rate: float
    spread: float
    began: float
    ended: float


def steady(finished: Sequence[float], consumers: int) -> Steady:
    """The steady state of a run whose submissions ended at these times.

    With equal latencies consumers finish in waves, so an arbitrary window counts up to one wave
    too many or too few. This window spans whole waves, from the middle of one to the middle of
    another. It excludes the first two (which open connections) and the last one (in which
    consumers run out of work). Raises ValueError for fewer than six waves.
    """
    times = sorted(finished)
    waves = len(times) // consumers
    if waves < 6:
        raise ValueError(f"{len(times)} submissions are no steady state of {consumers} consumers")
    marks = [times[wave * consumers + consumers // 2] for wave in range(2, waves - 1)]
    parts = min(PARTS, len(marks) - 1)
    edges = [round(part * (len(marks) - 1) / parts) for part in range(parts + 1)]
    rates = [
        (after - before) * consumers / (marks[after] - marks[before])
        for before, after in pairwise(edges)
    ]
    rate = (len(marks) - 1) * consumers / (marks[-1] - marks[0])
    return Steady(rate, spread(rates), marks[0], marks[-1])


def spread(values: Sequence[float]) -> float:
    """The spread of the values: highest minus lowest, as a share of their median."""
    return (max(values) - min(values)) / statistics.median(values) if values else 0.0


def latency_alone(finished: Sequence[float]) -> float:
    """Seconds that one submission takes alone: one consumer's median gap between two ends.

    The first two are left out: connections are opened in them.
    """
    times = sorted(finished)[2:]
    return statistics.median(after - before for before, after in pairwise(times))


def stretch_for(
    peak_rate: float, cpu_s_per_submission: dict[str, float], limit: float, margin: float = 1.3
) -> float:
    """The factor by which latencies must grow so that no server uses more than ``limit`` cores.

    ``peak_rate`` is the rate a second without stretching; the rate falls as latencies grow. Never
    below 1, and rounded up to a quarter.
    """
    most = max(cpu_s_per_submission.values(), default=0.0)
    exact = max(1.0, peak_rate * most * margin / limit)
    return -(-exact * 4 // 1) / 4
