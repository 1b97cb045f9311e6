"""Progress of a command: a live bar on a terminal, otherwise a log line every interval."""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.rules.records import Status

_REFRESH_PER_S: Final = 4
_SHOWN_CONSUMERS: Final = 32
log = structlog.get_logger()


@dataclass(slots=True)
class RunProgress:
    """The progress of a run. ``started_s`` is on the monotonic clock."""

    total: int
    done_by_status: Counter[Status]
    consumers: Sequence[ConsumerFigures]
    started_s: float

    @property
    def done(self) -> int:
        """Rows with an outcome."""
        return self.done_by_status.total()

    def rate_per_s(self) -> float:
        """Rows with an outcome per second since the start."""
        return self.done / max(time.monotonic() - self.started_s, 1e-3)

    def eta_s(self) -> float | None:
        """Seconds left at this rate; None before the first row."""
        rate = self.rate_per_s()
        return (self.total - self.done) / rate if self.done else None

    def counts(self) -> dict[str, int]:
        """Rows by outcome."""
        return {
            status.value: self.done_by_status[status]
            for status in (Status.MIGRATED, Status.FAILED, Status.SKIPPED)
        }

    def facts(self) -> dict[str, object]:
        """The fields of a progress line in the log."""
        processed = [figures.processed for figures in self.consumers]
        eta_s = self.eta_s()
        return {
            "done": self.done,
            "total": self.total,
            **self.counts(),
            "rate_per_s": round(self.rate_per_s(), 1),
            "eta_s": None if eta_s is None else round(eta_s),
            "consumers": len(processed),
            "per_consumer": {
                "min": min(processed),
                "median": statistics.median(processed),
                "max": max(processed),
            },
        }


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


async def show_bar(progress: RunProgress, console: Console, title: str) -> None:
    """Show a bar and the counts of the consumers on the terminal until cancelled."""
    bar = Progress(
        TextColumn(f"[bold]{title}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
    task = bar.add_task("rows", total=progress.total, rate="")

    def render() -> Group:
        bar.update(task, completed=progress.done, rate=f"{progress.rate_per_s():,.1f}/s")
        counts = "  ".join(f"{name} {count:,}" for name, count in progress.counts().items())
        return Group(bar, Text(counts), Text(_consumers_text(progress), style="dim"))

    with Live(render(), console=console, refresh_per_second=_REFRESH_PER_S, transient=True) as live:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(1 / _REFRESH_PER_S)
                live.update(render())
        live.update(render(), refresh=True)


def _consumers_text(progress: RunProgress) -> str:
    shown = progress.consumers[:_SHOWN_CONSUMERS]
    text = "consumers " + " ".join(f"{figures.id}:{figures.processed}" for figures in shown)
    hidden = len(progress.consumers) - len(shown)
    return f"{text} and {hidden} more" if hidden else text
