"""The end of a run in figures: run_summary.json and the one line for the morning."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from rogo_async.common.call_stats import CallStats
from rogo_async.common.shutdown import ExitCode, StopSignal
from rogo_async.rules.records import Outcome, Status


@dataclass(slots=True)
class Tally:
    """What has been written down so far. ``total`` is the number of rows of the run."""

    total: int = 0
    by_status: Counter[Status] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    failed_new: int = 0

    @property
    def done(self) -> int:
        """Rows that have an outcome."""
        return sum(self.by_status.values())


@dataclass(slots=True)
class ConsumerFigures:
    """What one consumer has done so far. ``processed`` are the rows that it gave an outcome."""

    id: int
    processed: int = 0
    migrated: int = 0
    failed: int = 0

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Take outcomes in."""
        self.processed += len(outcomes)
        self.migrated += sum(o.status is Status.MIGRATED for o in outcomes)
        self.failed += sum(o.status is Status.FAILED for o in outcomes)


@dataclass(slots=True)
class RunRecord:
    """What the summary is made of. ``started_s`` is on the monotonic clock."""

    run_id: str
    started_at: datetime
    started_s: float
    concurrency: int
    tally: Tally
    consumers: list[ConsumerFigures]
    call_stats: CallStats

    @classmethod
    def begin(cls, run_id: str, concurrency: int) -> Self:
        """The record of a run that begins now."""
        return cls(
            run_id=run_id,
            started_at=datetime.now(UTC),
            started_s=time.monotonic(),
            concurrency=concurrency,
            tally=Tally(),
            consumers=[],
            call_stats=CallStats(),
        )

    def summary(self, stop_signal: StopSignal) -> dict[str, Any]:
        """The fields of run_summary.json. The four counts add up to rows_total by definition of
        not_reached: whatever has no other outcome.
        """
        tally = self.tally
        seconds = max(time.monotonic() - self.started_s, 1e-3)
        failed = tally.by_status[Status.FAILED]
        return {
            "run_id": self.run_id,
            "started_at": _iso(self.started_at),
            "finished_at": _iso(datetime.now(UTC)),
            "exit_code": int(stop_signal.exit_code(failed)),
            "stopped_by": {reason.value: text for reason, text in stop_signal.reasons.items()},
            "rows_total": tally.total,
            "migrated": tally.by_status[Status.MIGRATED],
            "failed": failed,
            "skipped": tally.by_status[Status.SKIPPED],
            "not_reached": tally.total - tally.done,
            "by_code": dict(sorted(tally.by_code.items())),
            "failed_new": tally.failed_new,
            "rate_per_s": round(tally.done / seconds, 2),
            "consumers": [
                {
                    "id": each.id,
                    "processed": each.processed,
                    "migrated": each.migrated,
                    "failed": each.failed,
                }
                for each in self.consumers
            ],
            "latency_ms": self.call_stats.latency_ms(),
            "concurrency": self.concurrency,
            "retries": dict(sorted(self.call_stats.retries.items())),
            "outages": [
                {
                    "dependency": outage.dependency,
                    "began_at": outage.began_at,
                    "seconds": round((outage.ended_s or time.monotonic()) - outage.began_s, 1),
                    "ended": outage.ended_s is not None,
                    "reason": outage.reason,
                }
                for outage in self.call_stats.outages
            ],
        }


def headline(summary: dict[str, Any], failed_file: str) -> str:
    """The one line that an operator reads in the morning."""
    text = (
        f"{summary['migrated']:,} migrated, {summary['failed']:,} failed "
        f"({summary['failed_new']:,} new), {summary['skipped']:,} skipped, "
        f"{summary['not_reached']:,} not reached of {summary['rows_total']:,} rows "
        f"at {summary['rate_per_s']:,.1f}/s; exit {summary['exit_code']}"
    )
    if summary["failed"]:
        text += f"; failed rows in {failed_file}"
    for detail in summary["stopped_by"].values():
        text += f"; stopped: {detail}"
    if summary["exit_code"] == ExitCode.INTERNAL:
        text += "; internal error, see the log"
    return text


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
