"""How long the run of a plan will take."""

from pathlib import Path
from typing import Final

from rogo_async.common.histogram import Histogram
from rogo_async.reporting.summary import RunRecord, readable_summaries

_MIN_ROWS: Final = 50
"""The smallest run whose rate is used for an estimate."""

_BYTES_PER_S: Final = 100 * 1024 * 1024


def estimated_duration(runs: Path, plan: RunRecord, rows: int, size_bytes: int) -> str:
    """An estimate for ``rows`` submissions with files of this size, and what it is based on."""
    if (before := _latest_rate(runs)) is not None:
        run_id, rate_per_s = before
        return f"about {_minutes(rows / rate_per_s)} at the rate of run {run_id}"
    look = plan.call_stats.latency.get("source.look", Histogram())
    # Three sequential waits: read a file, store it, insert the rows.
    waits_s = rows * 3 * look.quantile(0.5) / plan.concurrency
    least_s = max(waits_s, size_bytes / _BYTES_PER_S)
    return f"at least {_minutes(least_s)} from the source's latency"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:,.0f} s"


def _latest_rate(runs: Path) -> tuple[str, float] | None:
    """Id and rate of the latest run that migrated enough rows for an estimate."""
    for summary in readable_summaries(runs):
        if summary.migrated >= _MIN_ROWS and summary.duration_s > 0:
            return summary.run_id, summary.migrated / summary.duration_s
    return None
