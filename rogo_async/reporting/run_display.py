"""The progress of a run on a terminal: four lines, and a table at the end."""

import asyncio
import contextlib
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rogo_async.common.errors import FailureCode
from rogo_async.common.text import plural, size_shown
from rogo_async.reporting.progress import RunProgress
from rogo_async.reporting.rate import Rate
from rogo_async.reporting.summary import RunRecord, RunSummary

_REFRESH_PER_S: Final = 4
_SHOWN_CODES: Final = 6
_FAILURES: Final = frozenset(code.value for code in FailureCode)


@dataclass(slots=True)
class RunDisplay:
    """What the four lines show. ``in_work`` returns the submissions in progress."""

    title: str
    progress: RunProgress
    record: RunRecord
    in_work: Callable[[], int]
    _bytes: Rate = field(default_factory=Rate)

    def lines(self, now_s: float) -> list[str]:
        """The lines at this moment (monotonic clock)."""
        self._bytes.sample(now_s, self.record.tally.file_bytes)
        return [self._amounts(now_s), self._work(), self._outcomes(), self._consumers()]

    def _amounts(self, now_s: float) -> str:
        progress = self.progress
        share = 100 * progress.done / progress.total if progress.total else 100.0
        eta_s = progress.eta_s()
        parts = [
            f"{self.title} {share:.1f} %",
            f"{progress.done:,} of {progress.total:,}",
            f"{progress.rate_per_s():,.1f}/s",
            f"{size_shown(round(self._bytes.per_s()))}/s",
            _duration(now_s - self.record.started_s),
        ]
        if eta_s is not None:
            parts.append(f"{_duration(eta_s)} left")
        return "  ".join(parts)

    def _work(self) -> str:
        stats = self.record.call_stats
        parts = [f"{self.in_work():,} in work", plural(stats.retries.total(), "repeated call")]
        parts += [
            f"waiting for {outage.dependency} until "
            f"{(outage.began_at + timedelta(seconds=outage.limit_s)).astimezone():%H:%M:%S}: "
            f"{outage.reason}"
            for outage in stats.outages
            if outage.ended_s is None
        ]
        return "  ".join(parts)

    def _outcomes(self) -> str:
        counts = "  ".join(
            f"{name.replace('_', ' ')} {count:,}" for name, count in self.progress.counts().items()
        )
        codes = [each for each in self.record.tally.by_code.most_common() if each[0] in _FAILURES]
        shown = ", ".join(f"{code} {count:,}" for code, count in codes[:_SHOWN_CODES])
        return f"{counts}  {shown}".rstrip()

    def _consumers(self) -> str:
        processed = [figures.processed for figures in self.progress.consumers]
        return (
            f"{plural(len(processed), 'consumer')}: {min(processed):,} least, "
            f"{statistics.median(processed):,.0f} median, {max(processed):,} most"
        )


async def show_run(lines_at: Callable[[float], list[str]], console: Console) -> None:
    """Show the lines at each moment, cut to the width of the terminal, until cancelled."""

    def render() -> Group:
        lines = lines_at(time.monotonic())
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    with Live(
        render(),
        console=console,
        refresh_per_second=_REFRESH_PER_S,
        transient=True,
        # Otherwise lines for a redirected standard output would go to the terminal.
        redirect_stdout=sys.stdout.isatty(),
    ) as live:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                await asyncio.sleep(1 / _REFRESH_PER_S)
                live.update(render())
        live.update(render(), refresh=True)


def end_table(summary: RunSummary) -> Table:
    """The calls to each server with their latencies, and the totals of the run."""
    table = Table(box=None, pad_edge=False, show_footer=True)
    files = f"{plural(summary.files, 'file')}, {size_shown(summary.file_bytes)}"
    if summary.copied_files:
        files += f" ({summary.copied_files:,} copied by the service)"
    table.add_column("calls to", f"{plural(summary.rows_total, 'row')}, {files}")
    for name, footer in (
        ("calls", ""),
        ("repeated", f"{sum(summary.retries.values()):,}"),
        ("p50 ms", ""),
        ("p95 ms", _duration(summary.duration_s)),
    ):
        table.add_column(name, footer, justify="right")
    for name, latency in summary.latency_ms.items():
        repeated = summary.retries.get(name, 0)
        table.add_row(
            name,
            f"{latency.count:,}",
            f"{repeated:,}",
            f"{latency.p50:,.1f}",
            f"{latency.p95:,.1f}",
        )
    return table


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
