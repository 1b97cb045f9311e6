"""run_summary.json: counts, model, reader (specification §2)."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, Field

from rogo_async import __version__
from rogo_async.common.call_stats import CallStats
from rogo_async.common.data_dir import RUN_ID
from rogo_async.common.shutdown import ExitCode, StopSignal
from rogo_async.common.text import encodable
from rogo_async.reporting.rate import Rate
from rogo_async.reporting.summary_parts import (
    FROZEN,
    Amount,
    Count,
    Latency,
    Moment,
    OutageRecord,
    ShardFacts,
    ShardSummary,
)
from rogo_async.rules.records import Outcome, Route, Status

_SUMMARY_FILE: Final = re.compile(rf"{RUN_ID}\.json")
_NIGHTS: Final = 14


@dataclass(slots=True)
class ConsumerFigures:
    """Rows that one consumer has processed so far."""

    id: int
    processed: Count = 0
    migrated: Count = 0
    failed: Count = 0

    def count(self, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes."""
        self.processed += len(outcomes)
        self.migrated += sum(o.status is Status.MIGRATED for o in outcomes)
        self.failed += sum(o.status is Status.FAILED for o in outcomes)


class RunSummary(BaseModel):
    """The fields of run_summary.json. A field with a default may be missing in an older file."""

    model_config = FROZEN

    run_id: Annotated[str, Field(pattern=f"^{RUN_ID}$")]
    started_at: Moment
    finished_at: Moment
    exit_code: int
    stopped_by: dict[str, str] = {}
    rows_total: Count
    migrated: Count
    failed: Count
    skipped: Count
    not_reached: Count
    refreshed: Count = 0
    by_code: dict[str, Count] = {}
    failed_new: Count = 0
    failed_accepted: Count = 0
    rate_per_s: Amount = 0.0
    consumers: list[ConsumerFigures] = []
    latency_ms: dict[str, Latency] = {}
    concurrency: Count = 0
    retries: dict[str, Count] = {}
    outages: list[OutageRecord] = []
    version: str = ""
    target: dict[str, str] = {}
    """Host, database and container, without credentials."""
    selection: dict[str, Any] | None = None
    """The options that selected rows, with their values; None for a full run."""
    files: Count = 0
    file_bytes: Count = 0
    """Files of the migrated submissions, and their size."""
    copied_files: Count = 0
    copied_bytes: Count = 0
    streamed_files: Count = 0
    streamed_bytes: Count = 0
    """Those files by the way they took."""
    streamed_because: dict[str, Count] = {}
    """Streamed files by the reason why the service did not copy them."""
    shard: ShardFacts | None = None
    """Set if only the rows of a shard were processed."""
    shards: list[ShardSummary] = []
    """The shards of a distributed run; empty for a run in one process."""

    @property
    def is_night(self) -> bool:
        """Whether it took every row and each has an outcome."""
        return self.selection is None and self.is_complete

    @property
    def duration_s(self) -> float:
        """Seconds from start to end."""
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def is_complete(self) -> bool:
        """Whether every row has an outcome."""
        return self.exit_code in {ExitCode.DONE, ExitCode.SOME_FAILED}

    @property
    def is_result_of_shard(self) -> bool:
        """Whether it is of a shard that had read its inputs: others have left no result (§7)."""
        return self.shard is not None and bool(self.shard.inputs)

    @property
    def failed_text(self) -> str:
        """The failed rows, and how many of them are new or accepted."""
        accepted = f", {self.failed_accepted:,} accepted" if self.failed_accepted else ""
        return f"{self.failed:,} failed ({self.failed_new:,} new{accepted})"

    @property
    def selection_text(self) -> str:
        """The options that selected rows, for the end of a line; empty for a full run."""
        if not self.version:  # before 0.4.0
            return "; by a version that did not record whether rows were selected"
        if self.selection is None:
            return ""
        return "; only the rows of " + " ".join(f"--{name}" for name in self.selection)

    def to_json(self) -> bytes:
        """The content of run_summary.json."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    def line(self, failed_file: Path | str) -> str:
        """The summary line, which the run prints at its end."""
        refreshed = f"{self.refreshed:,} refreshed, " if self.refreshed else ""
        counts = (
            f"{self.migrated:,} migrated, {refreshed}{self.failed_text}, "
            f"{self.skipped:,} skipped, {self.not_reached:,} not processed"
        )
        parts = [
            counts,
            f"{self.rows_total:,} rows at {self.rate_per_s:,.1f}/s",
            f"exit {self.exit_code}",
        ]
        if self.shard is not None:
            parts.append(f"shard {self.shard.shard} of run {self.run_id}")
        if self.failed:
            parts.append(f"failed rows: {failed_file}")
        parts += [f"stopped: {detail}" for detail in self.stopped_by.values()]
        if self.exit_code == ExitCode.INTERNAL:
            parts.append("internal error, see the log")
        return "; ".join(parts) + self.selection_text


@dataclass(slots=True)
class Tally:
    """Rows whose outcome is on disk. ``total`` is the number of rows of the run."""

    total: int = 0
    by_status: Counter[Status] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    files_by_route: Counter[Route] = field(default_factory=Counter)
    bytes_by_route: Counter[Route] = field(default_factory=Counter)
    failed_new: int = 0
    failed_accepted: int = 0

    @property
    def done(self) -> int:
        """Rows with an outcome."""
        return sum(self.by_status.values())

    @property
    def file_bytes(self) -> int:
        """The size of all files of migrated submissions."""
        return self.bytes_by_route.total()

    def count_file(self, route: Route, size_bytes: int) -> None:
        """Count a file of a migrated submission."""
        self.files_by_route[route] += 1
        self.bytes_by_route[route] += size_bytes


@dataclass(slots=True)
class RunRecord:
    """The counts of a run in progress. ``started_s`` is on the monotonic clock."""

    run_id: str
    started_at: datetime
    started_s: float
    concurrency: int
    tally: Tally
    consumers: list[ConsumerFigures]
    call_stats: CallStats
    target: dict[str, str] = field(default_factory=dict)
    selection: dict[str, Any] | None = None
    rate: Rate = field(default_factory=Rate)
    """Rows that consumers finished."""

    @classmethod
    def begin(
        cls,
        run_id: str,
        concurrency: int,
        target: dict[str, str] | None = None,
        selection: dict[str, Any] | None = None,
    ) -> Self:
        """The record of a run that begins now."""
        return cls(
            run_id=run_id,
            started_at=datetime.now(UTC),
            started_s=time.monotonic(),
            concurrency=concurrency,
            tally=Tally(),
            consumers=[],
            call_stats=CallStats(),
            target=target or {},
            selection=selection,
        )

    def summary(self, stop_signal: StopSignal) -> RunSummary:
        """The summary of the run, up to now. Every row without an outcome counts as not_reached."""
        tally, call_stats = self.tally, self.call_stats
        now_s = time.monotonic()
        failed = tally.by_status[Status.FAILED]
        return RunSummary(
            run_id=self.run_id,
            started_at=self.started_at,
            finished_at=datetime.now(UTC),
            exit_code=int(stop_signal.exit_code(failed - tally.failed_accepted)),
            stopped_by={
                reason.value: encodable(text) for reason, text in stop_signal.reasons.items()
            },
            rows_total=tally.total,
            migrated=tally.by_status[Status.MIGRATED],
            refreshed=tally.by_status[Status.REFRESHED],
            failed=failed,
            skipped=tally.by_status[Status.SKIPPED],
            not_reached=tally.total - tally.done,
            by_code=dict(sorted(tally.by_code.items())),
            failed_new=tally.failed_new,
            failed_accepted=tally.failed_accepted,
            rate_per_s=round(tally.done / max(now_s - self.started_s, 1e-3), 2),
            consumers=self.consumers,
            latency_ms={
                name: Latency.of(durations)
                for name, durations in sorted(call_stats.latency.items())
            },
            concurrency=self.concurrency,
            retries=dict(sorted(call_stats.retries.items())),
            outages=[
                OutageRecord(
                    dependency=outage.dependency,
                    began_at=outage.began_at,
                    seconds=round((outage.ended_s or now_s) - outage.began_s, 1),
                    ended=outage.ended_s is not None,
                    reason=outage.reason,
                )
                for outage in call_stats.outages
            ],
            version=__version__,
            target=self.target,
            selection=self.selection,
            **_transfers(tally),
        )


def _transfers(tally: Tally) -> dict[str, Any]:
    files, sizes = tally.files_by_route, tally.bytes_by_route
    copied, copied_bytes = files[Route.COPIED], sizes[Route.COPIED]
    return {
        "files": files.total(),
        "file_bytes": sizes.total(),
        "copied_files": copied,
        "copied_bytes": copied_bytes,
        "streamed_files": files.total() - copied,
        "streamed_bytes": sizes.total() - copied_bytes,
        "streamed_because": {
            route.value.removeprefix("streamed: "): count
            for route, count in sorted(files.items())
            if route is not Route.COPIED and count
        },
    }


def summary_files(runs: Path) -> list[Path]:
    """The summaries in ``runs/``, newest first. Raises OSError."""
    try:
        files = list(runs.iterdir())
    except FileNotFoundError:
        return []
    return sorted((f for f in files if _SUMMARY_FILE.fullmatch(f.name)), reverse=True)


def read_summary(file: Path) -> RunSummary:
    """Read a summary. Raises OSError, and ValueError for a file that is not a summary."""
    return RunSummary.model_validate_json(file.read_bytes())


def latest_of_the_nights(summaries: Iterable[RunSummary]) -> RunSummary | None:
    """The first full run, else the first of all; None if there is none."""
    found = list(summaries)
    return next((each for each in found if each.selection is None), found[0] if found else None)


def latest_nights(summaries: Iterable[RunSummary]) -> list[RunSummary]:
    """The first full runs of these, for the trend."""
    return list(islice((each for each in summaries if each.selection is None), _NIGHTS))


def readable_summaries(runs: Path) -> Iterator[RunSummary]:
    """The summaries of earlier runs, newest first, without those that cannot be read."""
    with contextlib.suppress(OSError):
        for file in summary_files(runs):
            with contextlib.suppress(OSError, ValueError):
                yield read_summary(file)
