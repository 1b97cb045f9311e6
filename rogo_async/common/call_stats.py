"""What a run measures of its dependencies: latencies, retries, outages."""

import random
import time
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from rogo_async.common.errors import Dependency

_SAMPLE: Final = 4096


@dataclass(slots=True)
class Reservoir:
    """A uniform sample of a stream of seconds in bounded memory (Vitter's algorithm R)."""

    count: int = 0
    total_s: float = 0.0
    _sample: list[float] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(0))

    def add(self, seconds: float) -> None:
        """Take one more value in."""
        self.count += 1
        self.total_s += seconds
        if len(self._sample) < _SAMPLE:
            self._sample.append(seconds)
        elif (place := self._random.randrange(self.count)) < _SAMPLE:
            self._sample[place] = seconds

    def quantile(self, share: float) -> float:
        """The value below which ``share`` of the sample lies, in seconds."""
        ordered = sorted(self._sample)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


@dataclass(slots=True)
class Stage:
    """The successful calls of one kind within one submission, from the first one's begin to the
    last one's end on the monotonic clock; some may have run side by side.
    """

    began_s: float
    ended_s: float
    calls: int = 0

    @property
    def seconds(self) -> float:
        """From the begin of the first call to the end of the last."""
        return self.ended_s - self.began_s


Stages = dict[str, Stage]
STAGES: ContextVar[Stages | None] = ContextVar("stages", default=None)
"""Where the calls of the submission in hand are noted, by dependency and operation, when somebody
looks at single submissions; the tasks that it starts share it."""


@dataclass(slots=True)
class Outage:
    """A time in which a dependency did not answer. ``ended_s`` is None while it lasts."""

    dependency: str
    began_at: str
    began_s: float
    reason: str
    ended_s: float | None = None


@dataclass(slots=True)
class CallStats:
    """Collected over one run, read once for the summary."""

    latency: dict[str, Reservoir] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    in_flight: int = 0
    """Submissions in work, where somebody looks at single submissions."""

    def observe(self, dependency: Dependency, operation: str, seconds: float) -> None:
        """Record how long one successful call took."""
        name = f"{dependency.value}.{operation}"
        if (sample := self.latency.get(name)) is None:
            sample = self.latency[name] = Reservoir()
        sample.add(seconds)
        if (stages := STAGES.get()) is not None:
            _note(stages, name, seconds)

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


def _note(stages: Stages, name: str, seconds: float) -> None:
    now = time.monotonic()
    stage = stages.setdefault(name, Stage(now - seconds, now))
    stage.began_s = min(stage.began_s, now - seconds)
    stage.ended_s = now
    stage.calls += 1
