"""Statistics of the calls to servers: latencies, retries, outages."""

import time
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime

from rogo_async.common.errors import Dependency
from rogo_async.common.histogram import Histogram


@dataclass(slots=True)
class Stage:
    """The successful calls of one kind for one submission, which may overlap.

    Times are of the monotonic clock: start of the first call, end of the last.
    """

    began_s: float
    ended_s: float
    calls: int = 0

    @property
    def seconds(self) -> float:
        """The duration from the start of the first call to the end of the last."""
        return self.ended_s - self.began_s


Stages = dict[str, Stage]
STAGES: ContextVar[Stages | None] = ContextVar("stages", default=None)
"""The calls of the current submission, by dependency and operation.

None unless single submissions are observed. Tasks that the submission starts share the value."""


@dataclass(slots=True)
class Outage:
    """A period in which a dependency did not answer. ``ended_s`` is None while it lasts.

    It begins with the first failed call after the last success. ``began_s`` and ``ended_s`` are of
    the monotonic clock. The run ends ``limit_s`` seconds after the beginning.
    """

    dependency: str
    began_at: datetime
    began_s: float
    reason: str
    limit_s: float
    ended_s: float | None = None


@dataclass(slots=True)
class CallStats:
    """Statistics of one run, read for its summary."""

    latency: dict[str, Histogram] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    outages: list[Outage] = field(default_factory=list)
    in_flight: int = 0
    """Submissions in progress, counted only if single submissions are observed."""

    def observe(self, dependency: Dependency, operation: str, seconds: float) -> None:
        """Record the duration of a successful call."""
        name = f"{dependency.value}.{operation}"
        if (durations := self.latency.get(name)) is None:
            durations = self.latency[name] = Histogram()
        durations.add(seconds)
        if (stages := STAGES.get()) is not None:
            _add_to_stage(stages, name, seconds)


def _add_to_stage(stages: Stages, name: str, seconds: float) -> None:
    now = time.monotonic()
    stage = stages.setdefault(name, Stage(now - seconds, now))
    stage.began_s = min(stage.began_s, now - seconds)
    stage.ended_s = now
    stage.calls += 1
