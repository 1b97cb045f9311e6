"""The runs of a data directory, for the command ``status`` (specification §5)."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

from rogo_async.common.shutdown import ExitCode
from rogo_async.reporting.live import read_live
from rogo_async.reporting.starts import Start, read_starts
from rogo_async.reporting.summary import RunSummary, latest_nights, read_summary, summary_files

_RUNS: Final = 10


@dataclass(frozen=True, slots=True)
class RunHistory:
    """The runs with a summary, the starts without one (both newest first), and the run under way.

    ``problem`` says what could not be read.
    """

    runs: Sequence[RunSummary]
    starts: Sequence[Start]
    live: dict[str, Any] | None
    problem: str | None

    @classmethod
    def read(cls, data_dir: Path) -> Self:
        """Read the files of a data directory."""
        runs, problem = _read_runs(data_dir)
        starts = _starts_without_summary(data_dir, runs)
        return cls(runs, starts, live_of(data_dir, starts), problem)

    def facts(self) -> dict[str, Any]:
        """The fields of the JSON output."""
        return {
            "runs": [_run_facts(run) for run in self.runs[:_RUNS]],
            "nights": [_night_facts(night) for night in latest_nights(self.runs)],
            "in_progress": self.live,
            "starts_without_summary": [
                {**start.model_dump(mode="json"), "state": _state(start)}
                for start in self.starts[:_RUNS]
            ],
        }

    def lines(self) -> Iterator[str]:
        """The latest runs, the trend of the nights, and the run under way."""
        lines = {run.run_id: _run_line(run) for run in self.runs} | {
            start.run_id: _start_line(start) for start in self.starts
        }
        yield "latest runs:" if lines else "no runs in the data directory"
        for run_id in sorted(lines, reverse=True)[:_RUNS]:
            yield lines[run_id]
        if nights := latest_nights(self.runs):
            yield "latest full runs:"
            yield "  date (UTC)    migrated    failed       new  exit"
            for night in nights:
                yield (
                    f"  {night.started_at:%Y-%m-%d}  {night.migrated:>10,}{night.failed:>10,}"
                    f"{night.failed_new:>10,}{night.exit_code:>6}"
                )
        if self.live is not None:
            yield live_line(self.live)


def live_of(data_dir: Path, starts: Sequence[Start]) -> dict[str, Any] | None:
    """The counts of the run under way, if it is one of these starts and has published them."""
    live = read_live(data_dir)
    running = {start.run_id for start in starts if start.in_progress}
    return live if live is not None and live.get("run_id") in running else None


def live_line(live: dict[str, Any]) -> str:
    """How far a run is, on one line."""
    waiting = "".join(f"; {text}" for text in waiting_for(live))
    return (
        f"run {live['run_id']}: {live['done']:,} of {live['total']:,} rows done "
        f"({live['migrated']:,} migrated, {live['failed']:,} failed), "
        f"{live['rate_per_s']:,.1f}/s{time_left(live)}{waiting}"
    )


def time_left(live: dict[str, Any]) -> str:
    """``, 0:12:00 left``; empty if it is unknown."""
    eta_s = live["eta_s"]
    return "" if eta_s is None else f", {timedelta(seconds=eta_s)} left"


def waiting_for(live: dict[str, Any]) -> list[str]:
    """What the run waits for."""
    return [f"waiting for {each['dependency']}: {each['reason']}" for each in live["waiting_for"]]


def ending_line(data_dir: Path, start: Start) -> str:
    """How a start ended: the line of its summary, or what is known without one."""
    with contextlib.suppress(OSError, ValueError):
        return _run_line(read_summary(data_dir / "runs" / f"{start.run_id}.json"))
    return _start_line(start)


def _read_runs(data_dir: Path) -> tuple[list[RunSummary], str | None]:
    """The summaries in the data directory, newest first, and a text for unreadable ones."""
    if not data_dir.is_dir():
        return [], f"{data_dir}: no such directory"
    try:
        files = summary_files(data_dir / "runs")
    except OSError as error:
        return [], f"{data_dir}: its runs cannot be read ({error.strerror})"
    runs, unreadable = [], 0
    for file in files:
        try:
            runs.append(read_summary(file))
        except (OSError, ValueError):
            unreadable += 1
    return runs, f"{unreadable} unreadable summaries in {data_dir}/runs" if unreadable else None


def _starts_without_summary(data_dir: Path, runs: Sequence[RunSummary]) -> list[Start]:
    """The starts, newest first, that were refused, ended at once, or have no end yet."""
    summarized = {run.run_id for run in runs}
    # Older ones had a summary that was deleted (ROGO_KEEP_RUNS), unless they were refused.
    oldest = min(summarized, default="")
    with contextlib.suppress(OSError):
        return [
            start
            for start in read_starts(data_dir / "runs")
            if start.run_id not in summarized
            and (start.run_id > oldest or start.exit_code in {ExitCode.SETUP, ExitCode.LOCKED})
        ]
    return []


def _state(start: Start) -> str:
    if start.exit_code is not None:
        return f"exit {start.exit_code}"
    return "in progress" if start.in_progress else "killed, or the machine went down"


def _run_facts(run: RunSummary) -> dict[str, Any]:
    shown = run.model_dump(mode="json")
    return {
        "run_id": run.run_id,
        "started_at": shown["started_at"],
        "minutes": round(run.duration_s / 60, 1),
        "exit_code": run.exit_code,
        "selection": run.selection,
        **{
            name: shown[name]
            for name in ("migrated", "failed", "failed_accepted", "skipped", "not_reached")
        },
        "stopped_by": run.stopped_by,
    }


def _night_facts(night: RunSummary) -> dict[str, Any]:
    return {
        "date": f"{night.started_at:%Y-%m-%d}",
        **night.model_dump(include={"run_id", "migrated", "failed", "failed_new", "exit_code"}),
    }


def _run_line(run: RunSummary) -> str:
    stopped = "".join(f"; stopped: {detail}" for detail in run.stopped_by.values())
    return (
        f"  {run.run_id}  started {run.started_at:%Y-%m-%d %H:%M:%S}, "
        f"{run.duration_s / 60:.1f} min, exit {run.exit_code}: {run.migrated:,} migrated, "
        f"{run.failed_text}, {run.skipped:,} skipped, {run.not_reached:,} not processed"
        f"{stopped}{run.selection_text}"
    )


def _start_line(start: Start) -> str:
    message = f": {start.message}" if start.message else ""
    return (
        f"  {start.run_id}  started {start.started_at:%Y-%m-%d %H:%M:%S}, {_state(start)}{message}"
    )
