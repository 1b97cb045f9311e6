"""What is seen of a run while it lasts: a live bar on a terminal, elsewhere a line an interval."""

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.rules.records import Status

_REFRESH_PER_S = 4
_SHOWN_CONSUMERS = 32
log = structlog.get_logger()


@dataclass(slots=True)
class Watched:
    """What progress is read from. ``started_s`` is on the monotonic clock."""

    total: int
    done_by_status: Counter[Status]
    consumers: Sequence[ConsumerFigures]
    started_s: float

    @property
    def done(self) -> int:
        """Rows that have an outcome."""
        return self.done_by_status.total()

    def rate_per_s(self) -> float:
        """Rows with an outcome for each second since the start."""
        return self.done / max(time.monotonic() - self.started_s, 1e-3)

    def eta_s(self) -> float | None:
        """Seconds that are left at this rate; None before the first row."""
        rate = self.rate_per_s()
        return (self.total - self.done) / rate if self.done else None

    def counts(self) -> dict[str, int]:
        """Rows by what became of them."""
        return {
            status.value: self.done_by_status[status]
            for status in (Status.MIGRATED, Status.FAILED, Status.SKIPPED)
        }


async def show_lines(watched: Watched, interval_s: float) -> None:
    """Log one line an interval until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        processed = [figures.processed for figures in watched.consumers]
        eta_s = watched.eta_s()
        log.info(
            "progress",
            done=watched.done,
            total=watched.total,
            **watched.counts(),
            rate_per_s=round(watched.rate_per_s(), 1),
            eta_s=None if eta_s is None else round(eta_s),
            consumers=len(processed),
            per_consumer={
                "min": min(processed),
                "median": statistics.median(processed),
                "max": max(processed),
            },
        )


async def show_bar(watched: Watched, console: Console, title: str) -> None:
    """Keep a bar and the consumers' figures on the terminal until cancelled."""
    bar = Progress(
        TextColumn(f"[bold]{title}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
    )
    task = bar.add_task("rows", total=watched.total, rate="")

    def picture() -> Group:
        bar.update(task, completed=watched.done, rate=f"{watched.rate_per_s():,.1f}/s")
        return Group(bar, Text(_counts_text(watched)), Text(_consumers_text(watched), style="dim"))

    with Live(
        picture(), console=console, refresh_per_second=_REFRESH_PER_S, transient=True
    ) as live:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(1 / _REFRESH_PER_S)
                live.update(picture())
        live.update(picture(), refresh=True)


def _counts_text(watched: Watched) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in watched.counts().items())


def _consumers_text(watched: Watched) -> str:
    shown = watched.consumers[:_SHOWN_CONSUMERS]
    text = "consumers " + " ".join(f"{figures.id}:{figures.processed}" for figures in shown)
    hidden = len(watched.consumers) - len(shown)
    return f"{text} and {hidden} more" if hidden else text
