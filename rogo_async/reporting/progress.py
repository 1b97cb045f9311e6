"""Progress of a command: a line on a terminal, otherwise a log line every interval.

``Stages`` shows each stage of any command, ``RunProgress`` has the rows and consumers of a run.
"""

import asyncio
import contextlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

from rogo_async.common.text import size_shown
from rogo_async.reporting.rate import Rate
from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.rules.records import Status

_REFRESH_PER_S: Final = 4
_SAMPLE_S: Final = 1.0
_SHORT_STAGE_S: Final = 1.0
log = structlog.get_logger()


MIGRATION_NAMES: Final[Mapping[Status, str]] = {
    status: status.value for status in (Status.MIGRATED, Status.FAILED, Status.SKIPPED)
}
"""The names of the counts of a run."""


@dataclass(slots=True)
class RunProgress:
    """The progress of a run. ``left`` returns the rows that consumers still have to work on.

    ``names`` are the names of the counts in log lines; the terminal shows them with blanks.
    """

    total: int
    done_by_status: Counter[Status]
    consumers: Sequence[ConsumerFigures]
    rate: Rate
    left: Callable[[], int]
    names: Mapping[Status, str] = field(default_factory=lambda: MIGRATION_NAMES)

    @property
    def done(self) -> int:
        """Rows with an outcome."""
        return self.done_by_status.total()

    def sample(self, now_s: float) -> None:
        """Record the rows that the consumers have finished, for the rate (monotonic clock)."""
        self.rate.sample(now_s, sum(figures.processed for figures in self.consumers))

    async def sample_each_second(self) -> None:
        """Sample until cancelled."""
        while True:
            self.sample(time.monotonic())
            await asyncio.sleep(_SAMPLE_S)

    def rate_per_s(self) -> float:
        """Rows that consumers finished per second in the last 30 seconds."""
        return self.rate.per_s()

    def eta_s(self) -> float | None:
        """Seconds left at this rate; None while no consumer finishes a row."""
        return self.rate.eta_s(self.left())

    def counts(self) -> dict[str, int]:
        """Rows by outcome."""
        return {name: self.done_by_status[status] for status, name in self.names.items()}

    def facts(self) -> dict[str, object]:
        """The fields of a progress line in the log."""
        processed = [figures.processed for figures in self.consumers]
        eta_s = self.eta_s()
        return {
            "done": self.done,
            "total": self.total,
            **self.counts(),
            "left": self.left(),
            "rate_per_s": round(self.rate_per_s(), 1),
            "eta_s": None if eta_s is None else round(eta_s),
            "consumers": len(processed),
            "per_consumer": {
                "min": min(processed),
                "median": statistics.median(processed),
                "max": max(processed),
            },
        }


@dataclass(slots=True)
class Stage:
    """One stage of a command that takes a while; ``done`` of ``total`` (None: unknown)."""

    name: str
    unit: str
    total: int | None = None
    done: int = 0
    count: Callable[[], int] | None = None
    """Returns ``done``, if the command counts by itself."""
    rate: Rate = field(default_factory=Rate)

    def set_done(self, done: int) -> None:
        """Set the count, for callbacks."""
        self.done = done

    def add(self, count: int) -> None:
        """Add to the count, for callbacks."""
        self.done += count

    def sample(self, now_s: float) -> None:
        """Record the count at this moment (monotonic clock), for the rate."""
        if self.count is not None:
            self.done = self.count()
        self.rate.sample(now_s, self.done)

    def rate_per_s(self) -> float:
        """Units per second in the last 30 seconds."""
        return self.rate.per_s()

    def eta_s(self) -> float | None:
        """Seconds left at this rate; None if the total or the rate is unknown."""
        return None if self.total is None else self.rate.eta_s(self.total - self.done)

    def facts(self) -> dict[str, object]:
        """The fields of a progress line in the log."""
        eta_s = self.eta_s()
        return {
            "stage": self.name,
            "done": self.done,
            "total": self.total,
            "unit": self.unit,
            "rate_per_s": round(self.rate_per_s(), 1),
            "eta_s": None if eta_s is None else round(eta_s),
        }

    def text(self) -> str:
        """The line on the terminal."""
        total = "" if self.total is None else f" of {self._amount(self.total)}"
        unit = "" if self.unit == "bytes" else f" {self.unit}"
        parts = [f"{self.name}: {self._amount(self.done)}{total}{unit}"]
        if rate := self.rate_per_s():
            parts.append(f"{self._amount(round(rate))}/s")
        eta_s = self.eta_s()
        if eta_s is not None:
            parts.append(f"{timedelta(seconds=round(eta_s))} left")
        return "  ".join(parts)

    def _amount(self, count: int) -> str:
        return size_shown(count) if self.unit == "bytes" else f"{count:,}"


class Stages:
    """Shows the stages of a command, one after the other.

    ``terminal`` is None if standard error is no terminal, or with ``--quiet``: then each stage
    writes a log line every ``interval_s``.
    """

    def __init__(self, terminal: Console | None, interval_s: float) -> None:
        self._terminal = terminal
        self._interval_s = interval_s

    @contextlib.asynccontextmanager
    async def stage(
        self,
        name: str,
        unit: str,
        total: int | None = None,
        count: Callable[[], int] | None = None,
        facts: Callable[[], Mapping[str, object]] = dict,
    ) -> AsyncIterator[Stage]:
        """Show a stage during the block, which sets ``done`` unless ``count`` is given.

        ``facts`` are further fields of its log lines.
        """
        stage = Stage(name, unit, total, count=count)
        stage.sample(time.monotonic())
        async with shown(self._show(stage, facts)):
            yield stage

    async def _show(self, stage: Stage, facts: Callable[[], Mapping[str, object]]) -> None:
        if self._terminal is not None:
            await _show_line(stage, self._terminal)
        else:
            await log_lines(lambda: {**_sampled(stage), **facts()}, self._interval_s)


async def _show_line(stage: Stage, console: Console) -> None:
    """Show a line on the terminal, if the stage takes longer than a moment."""
    await asyncio.sleep(_SHORT_STAGE_S)
    with (
        Live(
            console=console,
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
            # Otherwise lines for a redirected standard output would go to the terminal.
            redirect_stdout=sys.stdout.isatty(),
        ) as live,
        contextlib.suppress(asyncio.CancelledError),
    ):
        while True:
            stage.sample(time.monotonic())
            live.update(Text(stage.text()))
            await asyncio.sleep(1 / _REFRESH_PER_S)


def _sampled(stage: Stage) -> dict[str, object]:
    stage.sample(time.monotonic())
    return stage.facts()


async def log_lines(facts: Callable[[], Mapping[str, object]], interval_s: float) -> None:
    """Log the current counts every interval until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        log.info("progress", **facts())


@contextlib.asynccontextmanager
async def shown(display: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Show the progress during the block."""
    task = asyncio.create_task(display, name="progress")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
