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

from rogo_async.commands.json_output import FactsCommand, json_option, run_command_and_exit
from rogo_async.commands.plan_estimate import estimated_duration
from rogo_async.commands.runner import (
    data_dir_option,
    selection_options,
)
from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import Dependency, FailureCode, RowError, SourceForbidden
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.common.text import plural, size_shown
from rogo_async.destination.postgres.instance_ids import verify_instance_id
from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.destination.postgres.migrated_attempts import read_migrated_attempts
from rogo_async.destination.postgres.parameters import (
    malpractice_rule_values,
    predict_rejection,
    submission_values,
)
from rogo_async.destination.postgres.reference_data import read_reference_data
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.pipeline.pipeline import Inputs, Pipeline
from rogo_async.pipeline.refresh import (
    ExistingRows,
    KeepExisting,
    RefreshExisting,
    StaleSubmission,
)
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.services import ServiceFactory, check_refresh_rights, open_reconciler
from rogo_async.pipeline.source_comparison import SourceComparison
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.summary import RunRecord, Tally
from rogo_async.rules.files import blob_name
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
from rogo_async.sources.answers import FileInfo
from rogo_async.sources.http_files import Sources

PLAN: Final = "plan.csv"
RUN_ONLY_CODES: Final = (
    FailureCode.FILE_CORRUPT,
    FailureCode.TARGET_REFUSED,
    FailureCode.TARGET_CONFLICT,
)
"""Codes that a row may still get in a run although its plan says ``migrate``."""

_COLUMNS: Final = ("Attempt ID", "Outcome", "Code", "Message", "Files", "Bytes", "Open")
_OUTCOME: Final = {
    Status.MIGRATED: "migrate",
    Status.REFRESHED: "refresh",
    Status.FAILED: "fail",
    Status.SKIPPED: "skip",
}
_NAMES: Final = {
    Status.MIGRATED: "to_migrate",
    Status.REFRESHED: "to_refresh",
    Status.FAILED: "to_fail",
    Status.SKIPPED: "to_skip",
}
"""The names of the counts while planning: nothing is migrated."""

log = structlog.get_logger()


@click.command()
@selection_options
@click.option(
    "--refresh", is_flag=True, help="Also plan the updates of run --refresh (ROGO_REFRESH)."
)
@json_option
@data_dir_option
def plan(selection: Selection, data_dir: Path | None, *, refresh: bool, as_json: bool) -> None:
    """Show what a run would do to each row; write plan.csv only.

    Requests the properties of the files, but does not read them. Exit code 1: some rows would
    fail.
    """
    run_command_and_exit(
        lambda settings, terminal: Plan(settings, selection, terminal),
        data_dir,
        {"rogo_refresh": True} if refresh else {},
        as_json=as_json,
    )


class Plan(FactsCommand):
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
        stages = Stages(self._terminal, settings.rogo_progress_interval)
        file, mapping = await open_selection(self._selection, self.data.path, stack, stages)
        record.tally.total = len(file)
        factory = ServiceFactory(
            settings, self.stop_signal, record.call_stats, stack, name="rogo_async plan"
        )
        warehouse = await factory.warehouse()
        connections = await factory.connections()
        instance_id, user_id = settings.rogo_instance_id, settings.rogo_migration_user_id
        await factory.with_retry(lambda: verify_instance_id(connections, instance_id))
        reference = await factory.with_retry(lambda: read_reference_data(connections, user_id))
        account = await factory.account()
        sources = await factory.sources(await factory.http())
        async with stages.stage("reading the attempts in the target", "attempts") as stage:
            existing = await factory.with_retry(
                lambda: read_migrated_attempts(connections, stage.set_done)
            )
        report = AppendFile(self.data.path / PLAN)
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        self._results = PlanWriter(
            report, record.tally, self.stop_signal, settings.rogo_write_interval
        )
        planner = Planner(settings, reference.matching, sources)
        skips = self._selection.expected_skips(existing.migrated, file)
        rows: ExistingRows = KeepExisting()
        if settings.rogo_refresh:
            journal = Journal(journal_path(self.data.runs, record.run_id))  # nothing is written
            journals = await asyncio.to_thread(Journals.read, self.data.runs, journal)
            breaker = factory.breaker(Dependency.TARGET, connections.probe)
            reconciler = open_reconciler(
                settings, connections, breaker, account, reference.applied_by, journals
            )
            await factory.with_retry(lambda: check_refresh_rights(connections))
            rows = RefreshExisting(
                SourceComparison(
                    settings, mapping.get, reference.matching, warehouse.look_up, reconciler
                )
            )
        pipeline = Pipeline(
            settings, self.stop_signal, record, self._terminal, title="planning", names=_NAMES
        )
        await pipeline.run(
            Inputs(file, mapping, existing, skips, rows),
            warehouse,
            sources,
            planner.plan,
            self._results,
        )

    def result(self) -> CommandResult:
        """Report the counts; rows that would fail count as failures."""
        tally = self._record.tally
        would_fail = tally.by_status[Status.FAILED]
        to_refresh = tally.by_status[Status.REFRESHED]
        skipped = tally.by_status[Status.SKIPPED]
        refreshed = f"{to_refresh:,} would be refreshed, " if to_refresh else ""
        counts = (
            f"{plural(tally.total, 'row')}: {tally.by_status[Status.MIGRATED]:,} would migrate"
            f"{self._estimate()}, {refreshed}{would_fail:,} would fail, {skipped:,} "
            f"would be skipped, {tally.total - tally.done:,} not checked"
        )
        result = self.result_of(would_fail, counts, f"see {self.data.path / PLAN}")
        by_code = dict(sorted(tally.by_code.items()))
        log.info("plan ended", exit_code=int(result.exit_code), by_code=by_code)
        return result

    def facts(self) -> dict[str, object]:
        """The counts, for ``--json``."""
        tally, results = self._record.tally, self._results
        return {
            "selection": self._selection.facts(),
            "rows": tally.total,
            **{name: tally.by_status[status] for status, name in _NAMES.items()},
            "not_checked": tally.total - tally.done,
            "by_code": dict(sorted(tally.by_code.items())),
            "files": results.files if results else 0,
            "size_bytes": results.size_bytes if results else 0,
            "rows_of_unknown_size": results.rows_of_unknown_size if results else 0,
            "file": str(self.data.path / PLAN),
        }

    def _estimate(self) -> str:
        """Files, bytes and duration, in brackets."""
        rows, results = self._record.tally.by_status[Status.MIGRATED], self._results
        if not rows or results is None:
            return ""
        unknown = results.rows_of_unknown_size
        more = f" and {plural(unknown, 'row')} of unknown size" if unknown else ""
        return (
            f" ({plural(results.files, 'file')}, {size_shown(results.size_bytes)}{more}; "
            f"{estimated_duration(self.data.runs, self._record, rows, results.size_bytes)})"
        )


@dataclass(frozen=True, slots=True)
class PlannedRow(Outcome):
    """A row that would migrate. ``size_bytes`` is None when a source states no length."""

    files: int = 0
    size_bytes: int | None = None


class Planner:
    """Handles a submission as a run does, without writing anything."""

    def __init__(self, settings: Settings, reference: Reference, sources: Sources) -> None:
        self._settings = settings
        self._reference = reference
        self._sources = sources

    async def plan(self, submission: Submission) -> Outcome | ForbiddenRow:
        """Return the outcome that a run would have. Raises RunStopped and DependencyErrors."""
        if isinstance(submission, StaleSubmission):
            return Outcome(submission.row, Status.REFRESHED, submission.attempt)
        try:
            prepared = prepare(
                submission,
                self._reference,
                self._settings.allow_list,
                self._settings.rogo_ambiguous_reports,
            )
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
        lms = self._settings.lms
        identity = identify(prepared.attempt, "plan", lms.instance_id)

        def stored(ref: FileRef, size_bytes: int) -> StoredFile:
            name = blob_name(prepared.attempt, identity.submission_id, ref)
            return StoredFile(ref, name, name, size_bytes, b"")

        files = [
            stored(ref, each.size_bytes or 0)
            for ref, each in zip(prepared.files, infos, strict=True)
        ]
        values = submission_values(prepared, files, identity, lms, self._settings.rogo_container)
        if prepared.malpractice:
            values = {**values, **malpractice_rule_values(prepared, identity, lms, "")}
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
