"""The ``plan`` command: what a run would do to each row, and why (specification §5)."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import structlog
from rich.console import Console

from rogo_async.commands.runner import data_dir_option, run_and_exit, selection_options
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import FailureCode, RowError, SourceForbidden
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Lms, Settings
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.common.urls import AllowList
from rogo_async.destination.postgres.migrated_attempts import read_migrated_attempts
from rogo_async.destination.postgres.parameters import (
    malpractice_rule_values,
    predict_rejection,
    submission_values,
)
from rogo_async.destination.postgres.reference_data import read_reference_data
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.pipeline.pipeline import Inputs, Pipeline
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.summary import RunRecord, Tally, readable_summaries
from rogo_async.rules.files import blob_name, size_text
from rogo_async.rules.identity import identify
from rogo_async.rules.matching import Reference
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import (
    FileRef,
    Outcome,
    PreparedSubmission,
    Status,
    StoredFile,
    Submission,
)
from rogo_async.sources.http_files import FileInfo, Sources

PLAN: Final = "plan.csv"
RUN_ONLY_CODES: Final = (
    FailureCode.FILE_CORRUPT,
    FailureCode.TARGET_REFUSED,
    FailureCode.TARGET_CONFLICT,
)
"""Codes that a row may still get in a run although its plan says ``migrate``."""

_COLUMNS: Final = ("Attempt ID", "Outcome", "Code", "Message", "Files", "Bytes", "Open")
_OUTCOME: Final = {Status.MIGRATED: "migrate", Status.FAILED: "fail", Status.SKIPPED: "skip"}
_MIN_ROWS: Final = 50
"""The smallest run whose rate is used for an estimate."""

_BYTES_PER_S: Final = 100 * 1024 * 1024
log = structlog.get_logger()


@click.command()
@selection_options
@data_dir_option
def plan(
    limit: int | None,
    attempts: tuple[int, ...],
    input_file: Path | None,
    data_dir: Path | None,
) -> None:
    """Show what a run would do to each row; write plan.csv only.

    Requests the properties of the files, but does not read them. Exit code 1: some rows would
    fail.
    """
    selection = Selection(limit, attempts, input_file)
    run_and_exit(lambda settings, terminal: Plan(settings, selection, terminal).execute(), data_dir)


class Plan(Command):
    """One plan. It takes no lock."""

    def __init__(self, settings: Settings, selection: Selection, terminal: Console | None) -> None:
        super().__init__(settings)
        self._selection = selection
        self._terminal = terminal
        self._results: PlanWriter | None = None
        self._record = RunRecord.begin(new_run_id(), settings.rogo_concurrency)

    async def work(self, stack: AsyncExitStack) -> None:
        """Write plan.csv."""
        settings, record = self.settings, self._record
        file, mapping = await open_selection(self._selection, self.data.path, stack)
        record.tally.total = len(file)
        factory = ServiceFactory(
            settings, self.stop_signal, record.call_stats, stack, name="rogo_async plan"
        )
        warehouse = await factory.warehouse()
        connections = await factory.connections()
        user_id = settings.rogo_migration_user_id
        reference = await factory.with_retry(lambda: read_reference_data(connections, user_id))
        await factory.account()
        sources = factory.sources(await factory.http())
        existing = await factory.with_retry(lambda: read_migrated_attempts(connections))
        report = AppendFile(self.data.path / PLAN)
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        self._results = PlanWriter(
            report, record.tally, self.stop_signal, settings.rogo_write_interval
        )
        planner = Planner(
            settings.lms, settings.allow_list, reference.matching, sources, settings.rogo_container
        )
        pipeline = Pipeline(settings, self.stop_signal, record, self._terminal, title="planning")
        await pipeline.run(
            Inputs(file, mapping, existing), warehouse, sources, planner.plan, self._results
        )

    def result(self) -> CommandResult:
        """Report the counts; rows that would fail count as failures."""
        tally = self._record.tally
        would_fail = tally.by_status[Status.FAILED]
        counts = (
            f"{tally.total:,} rows: {tally.by_status[Status.MIGRATED]:,} would migrate"
            f"{self._estimate()}, {would_fail:,} would fail, {tally.by_status[Status.SKIPPED]:,} "
            f"would be skipped, {tally.total - tally.done:,} not checked"
        )
        result = self.result_of(would_fail, counts, f"see {self.data.path / PLAN}")
        by_code = dict(sorted(tally.by_code.items()))
        log.info("plan ended", exit_code=int(result.exit_code), by_code=by_code)
        return result

    def _estimate(self) -> str:
        """Files, bytes and duration, in brackets."""
        rows, results = self._record.tally.by_status[Status.MIGRATED], self._results
        if not rows or results is None:
            return ""
        unknown = results.rows_of_unknown_size
        more = f" and {unknown:,} rows of unknown size" if unknown else ""
        return (
            f" ({results.files:,} files, {size_text(results.size_bytes)}{more}; "
            f"{self._duration(rows, results.size_bytes)})"
        )

    def _duration(self, rows: int, size_bytes: int) -> str:
        """An estimate, and what it is based on."""
        if (before := _latest_rate(self.data.runs)) is not None:
            run_id, rate_per_s = before
            return f"about {_minutes(rows / rate_per_s)} at the rate of run {run_id}"
        latency = self._record.call_stats.latency_ms().get("source.look", {"p50": 0.0})
        # Three sequential waits: read a file, store it, insert the rows.
        waits_s = rows * 3 * latency["p50"] / 1000 / self.settings.rogo_concurrency
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


@dataclass(frozen=True, slots=True)
class PlannedRow(Outcome):
    """A row that would migrate. ``size_bytes`` is None when a source states no length."""

    files: int = 0
    size_bytes: int | None = None


class Planner:
    """Handles a submission as a run does, without writing anything."""

    def __init__(
        self, lms: Lms, allow: AllowList, reference: Reference, sources: Sources, container: str
    ) -> None:
        self._lms = lms
        self._allow = allow
        self._reference = reference
        self._sources = sources
        self._container = container

    async def plan(self, submission: Submission) -> Outcome | ForbiddenRow:
        """Return the outcome that a run would have. Raises RunStopped and DependencyErrors."""
        try:
            prepared = prepare(submission, self._reference, self._allow)
            return await self._plan_files(submission, prepared)
        except RowError as error:
            return Outcome.failed(submission.row, submission.attempt, error)

    async def _plan_files(
        self, submission: Submission, prepared: PreparedSubmission
    ) -> Outcome | ForbiddenRow:
        requests = [self._sources.host(ref.url).file_info(ref.url) for ref in prepared.files]
        results = await asyncio.gather(*requests, return_exceptions=True)
        infos: list[FileInfo] = []
        for result in results:
            if isinstance(result, SourceForbidden):
                return ForbiddenRow(submission, result, _nothing_to_delete)
            if isinstance(result, BaseException):
                raise result
            infos.append(result)
        self._check_values(prepared, infos)
        sizes = [each.size_bytes for each in infos]
        return PlannedRow(
            submission.row,
            Status.MIGRATED,
            submission.attempt,
            files=len(sizes),
            size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        )

    def _check_values(self, prepared: PreparedSubmission, infos: Sequence[FileInfo]) -> None:
        """Raise RowError target_refused for values that PostgreSQL cannot store."""
        identity = identify(prepared.attempt, "plan", self._lms.instance_id)

        def stored(ref: FileRef, size_bytes: int) -> StoredFile:
            name = blob_name(prepared.attempt, identity.submission_id, ref)
            return StoredFile(ref, name, name, size_bytes, b"")

        files = [
            stored(ref, each.size_bytes or 0)
            for ref, each in zip(prepared.files, infos, strict=True)
        ]
        values = submission_values(prepared, files, identity, self._lms, self._container)
        if prepared.malpractice:
            values = {**values, **malpractice_rule_values(prepared, identity, self._lms, "")}
        if reason := predict_rejection(values):
            raise RowError(FailureCode.TARGET_REFUSED, reason)


async def _nothing_to_delete() -> None:
    """A plan stores no files."""


class PlanWriter(ResultWriter):
    """Writes the outcome of every row to plan.csv."""

    def __init__(
        self, file: AppendFile, tally: Tally, stop_signal: StopSignal, write_interval_s: float
    ) -> None:
        super().__init__(tally, write_interval_s)
        self._file = file
        self._stop_signal = stop_signal
        self.files = 0
        self.size_bytes = 0
        self.rows_of_unknown_size = 0
        """Rows with a file whose source states no length."""

    async def write_batch(self, batch: Sequence[Outcome]) -> None:
        """Append to plan.csv; an error stops the plan."""
        try:
            await self._file.append([_line(outcome) for outcome in batch])
        except OSError as error:
            text = f"{self._file.path} cannot be written ({error.strerror})"
            self._stop_signal.stop(StopReason.DISK, text)
            return
        self.tally.by_status.update(outcome.status for outcome in batch)
        self.tally.by_code.update(o.code.value for o in batch if o.code is not None)
        for outcome in batch:
            if isinstance(outcome, PlannedRow):
                self.files += outcome.files
                self.size_bytes += outcome.size_bytes or 0
                self.rows_of_unknown_size += outcome.size_bytes is None


def _line(outcome: Outcome) -> tuple[object, ...]:
    code = "" if outcome.code is None else outcome.code.value
    planned = outcome if isinstance(outcome, PlannedRow) else None
    return (
        outcome.row.attempt_id if outcome.attempt is None else outcome.attempt,
        _OUTCOME[outcome.status],
        code,
        outcome.message,
        planned.files if planned else "",
        planned.size_bytes if planned and planned.size_bytes is not None else "",
        " ".join(RUN_ONLY_CODES) if planned else "",
    )
