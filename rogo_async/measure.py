"""What a run measures of its dependencies: latencies, retries, outages."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from rogo_async.errors import Dependency

_SAMPLE: Final = 4096


@dataclass(slots=True)
class Reservoir:
    """A uniform sample of a stream of seconds in bounded memory (Vitter's algorithm R)."""

    count: int = 0
    _sample: list[float] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, seconds: float) -> None:
        """Take one more value in."""
        self.count += 1
        if len(self._sample) < _SAMPLE:
            self._sample.append(seconds)
        elif (place := self._random.randrange(self.count)) < _SAMPLE:
            self._sample[place] = seconds

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of the sample lies, in seconds."""
        ordered = sorted(self._sample)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(slots=True)
class Outage:
    """A time in which a dependency did not answer. ``ended_s`` is None while it lasts."""

    dependency: str
    began_at: str
    began_s: float
    reason: str
    ended_s: float | None = None


@dataclass(slots=True)
class Measurements:
    """Collected over one run, read once for the summary."""

    latency: dict[str, Reservoir] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)

    def observe(self, dependency: Dependency, operation: str, seconds: float) -> None:
        """Record how long one successful call took."""
        self.latency.setdefault(f"{dependency.value}.{operation}", Reservoir()).add(seconds)

    def latency_ms(self) -> dict[str, dict[str, float]]:
        """Milliseconds at p50 and p95 and the number of calls, by dependency and operation."""
        return {
            name: {
                "p50": round(sample.quantile(0.5) * 1000, 2),
                "p95": round(sample.quantile(0.95) * 1000, 2),
                "count": sample.count,
            }
            for name, sample in sorted(self.latency.items())
        }
