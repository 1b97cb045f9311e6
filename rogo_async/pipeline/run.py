"""The life of a run: connect, read what exists, migrate, write the summary."""

import asyncio
import csv
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console

from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import (
    ACCEPTED,
    FAILED,
    FAILURES,
    MIGRATED,
    new_run_id,
)
from rogo_async.common.files import AppendFile
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode, StopReason
from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.destination.postgres.migrated_attempts import read_migrated_attempts
from rogo_async.pipeline.consumers import Handler
from rogo_async.pipeline.failed_rows_file import PLAIN, FailedRowsWriter, RowLayout
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.pipeline.migrate import Migrator
from rogo_async.pipeline.migrated_csv import rebuild_migrated_csv
from rogo_async.pipeline.observers import Observers
from rogo_async.pipeline.pipeline import Inputs, Pipeline
from rogo_async.pipeline.refresh import (
    ExistingRows,
    KeepExisting,
    Migrate,
    RefreshExisting,
    RefreshingMigrator,
)
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.services import (
    ServiceFactory,
    Services,
    open_reconciler,
    open_refresher,
    open_services,
)
from rogo_async.pipeline.source_comparison import SourceComparison
from rogo_async.pipeline.writer import CsvResultWriter, ResultWriter
from rogo_async.reporting.failures_csv import write_failures
from rogo_async.reporting.live import LIVE
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.run_display import end_table
from rogo_async.reporting.starts import Starts
from rogo_async.reporting.summary import RunRecord, RunSummary
from rogo_async.sources.accepted_failures import AcceptedFailures, read_accepted_failures
from rogo_async.sources.mapping_csv import Mapping
from rogo_async.sources.submissions_csv import SubmissionsFile

_LOGGED: Final = {
    "exit_code",
    "rows_total",
    "migrated",
    "refreshed",
    "failed",
    "failed_new",
    "failed_accepted",
    "skipped",
    "not_reached",
    "rate_per_s",
    "by_code",
    "copied_files",
    "copied_bytes",
    "streamed_files",
    "streamed_bytes",
    "streamed_because",
    "stopped_by",
}
"""The fields of the summary in the last log line."""

_PROBLEMS: Final = 10
"""Problems of accepted_failures.csv that are logged, one line each."""

log = structlog.get_logger()


class Run(Command):
    """One run; ``execute`` is called once."""

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        terminal: Console | None,
        run_id: str | None = None,
        layout: RowLayout = PLAIN,
    ) -> None:
        run_id = run_id or new_run_id()
        super().__init__(settings, lock_name=f"run {run_id}")
        self._selection = selection
        self._terminal = terminal
        self._accepted = AcceptedFailures()
        self._starts: Starts | None = None
        self._record = RunRecord.begin(
            run_id, settings.rogo_concurrency, settings.target_names, selection.facts()
        )
        self._failed = FailedRowsWriter(self._failed_path(), layout)
        self._observers = Observers(settings, self._record, self.data.runs)

    async def execute(self) -> CommandResult:
        """Run once and return the summary. Raises SetupError and LockHeld, without a summary."""
        run_id = self._record.run_id
        structlog.contextvars.bind_contextvars(run_id=run_id)
        if not self.data.is_used:
            return await super().execute()
        self._starts = starts = Starts(self.data.runs)
        self.stop_signal.on_abort = lambda code, text: starts.ended(run_id, code, [text])
        try:
            await asyncio.to_thread(starts.began, run_id)
            return await super().execute()  # it records its result
        except Exception as error:
            await asyncio.to_thread(starts.failed, run_id, error)
            raise

    async def work(self, stack: AsyncExitStack) -> None:
        """Connect to everything, migrate every row, and write the results."""
        await stack.enter_async_context(self._observers)
        stages = Stages(self._terminal, self.settings.rogo_progress_interval)
        file, mapping = await self._open_inputs(stack, stages)
        self._record.tally.total = len(file)
        record = self._record
        journal = Journal(journal_path(self.data.runs, record.run_id))
        factory = self._factory(stack)
        if self.settings.rogo_max_duration is not None:
            self._close_window_after(self.settings.rogo_max_duration, stack)
        services = await open_services(factory, record.run_id, journal)
        async with stages.stage("reading the attempts in the target", "attempts") as stage:
            migrated = await factory.with_retry(
                lambda: read_migrated_attempts(services.connections, stage.set_done)
            )
        await self._begin_migrated(factory, services, stages)
        self.stop_signal.raise_if_stopping()
        results = await self._results(file, stack)
        migrator = Migrator(
            record.run_id,
            self.settings.lms,
            self.settings.allow_list,
            self.settings.rogo_ambiguous_reports,
            services.reference.matching,
            services.file_copier,
            services.writer,
        )
        existing, handler = await self._existing(
            factory, services, mapping, journal, migrator.migrate
        )
        log.info(
            "migration begins",
            already_migrated=len(migrated.migrated),
            concurrency=self.settings.rogo_concurrency,
        )
        pipeline = Pipeline(
            self.settings,
            self.stop_signal,
            record,
            self._terminal,
            live_file=self.data.path / LIVE,
        )
        skips = self._selection.expected_skips(migrated.migrated, file)
        inputs = Inputs(file, mapping, migrated, skips, existing)
        handler = self._observers.of(handler)
        async with self._observers.watching(results.handed_over):
            await pipeline.run(inputs, services.warehouse, services.sources, handler, results)
        await self._sort_failed()

    async def _open_inputs(
        self, stack: AsyncExitStack, stages: Stages
    ) -> tuple[SubmissionsFile, Mapping]:
        return await open_selection(self._selection, self.data.path, stack, stages)

    def _factory(self, stack: AsyncExitStack) -> ServiceFactory:
        return ServiceFactory(self.settings, self.stop_signal, self._record.call_stats, stack)

    async def _begin_migrated(
        self, factory: ServiceFactory, services: Services, stages: Stages
    ) -> None:
        """Write migrated.csv as the target is now."""
        await rebuild_migrated_csv(factory, services.connections, self.data, stages)

    async def _sort_failed(self) -> None:
        try:
            await self._failed.sort()
        except OSError as error:
            log.warning(
                "the failed rows stay in the order in which they failed", **error_facts(error)
            )

    async def _existing(
        self,
        factory: ServiceFactory,
        services: Services,
        mapping: Mapping,
        journal: Journal,
        migrate: Migrate,
    ) -> tuple[ExistingRows, Handler]:
        """What happens to rows of migrated attempts, and the handler of a submission."""
        settings = self.settings
        if not settings.rogo_refresh:
            return KeepExisting(), migrate
        applied_by, target = services.reference.applied_by, services.target
        journals = await asyncio.to_thread(self._read_journals, journal)
        reconciler = open_reconciler(
            settings, target.connections, target.breaker, services.account, applied_by, journals
        )
        refresher = await open_refresher(factory, target, applied_by, journals)
        comparison = SourceComparison(
            settings,
            mapping.get,
            services.reference.matching,
            services.warehouse.look_up,
            reconciler,
        )
        return RefreshExisting(comparison), RefreshingMigrator(refresher, migrate).handle

    def _read_journals(self, own: Journal) -> Journals:
        return Journals.read(self.data.runs, own)

    async def _results(self, file: SubmissionsFile, stack: AsyncExitStack) -> ResultWriter:
        known = await self._begin_files(stack)
        migrated = AppendFile(self.data.path / MIGRATED)
        await migrated.open(None)
        stack.push_async_callback(migrated.close)
        await self._failed.open(file.columns)
        stack.push_async_callback(self._failed.close)
        return CsvResultWriter(
            migrated,
            self._failed,
            self._record.tally,
            known,
            self._accepted,
            self.stop_signal,
            self.settings.rogo_write_interval,
        )

    async def _begin_files(self, stack: AsyncExitStack) -> KnownFailures:
        """Read what earlier runs left, delete the oldest, and begin the files of this one."""
        data, run_id = self.data, self._record.run_id
        self._accepted = await read_accepted(data.path)
        known = await asyncio.to_thread(KnownFailures.read, data.failed_rows_files())
        await asyncio.to_thread(
            data.delete_old_runs, self.settings.rogo_keep_runs, run_id, self._selection.input
        )
        await asyncio.to_thread(Starts(data.runs).shorten)
        if self._selection.is_full:
            await asyncio.to_thread(data.begin_full_run, run_id)
            stack.push_async_callback(asyncio.to_thread, self._write_failures, known)
        return known

    def _write_failures(self, known: KnownFailures) -> None:
        try:
            write_failures(
                self.data.path / FAILED,
                self.data.path / FAILURES,
                lambda row: known.is_new(row.attempt, row.cells, row.code),
                lambda row: self._accepted.has(row.attempt, row.code),
            )
        except (OSError, ValueError, csv.Error) as error:
            log.warning("a file cannot be written", file=FAILURES, **error_facts(error))

    def _failed_path(self) -> Path:
        if self._selection.is_full:
            return self.data.path / FAILED
        return self.data.runs / f"{self._record.run_id}.failed.csv"

    def _close_window_after(self, seconds: float, stack: AsyncExitStack) -> None:
        left_s = max(0.0, self._record.started_s + seconds - time.monotonic())
        handle = asyncio.get_running_loop().call_later(
            left_s,
            self.stop_signal.stop,
            StopReason.WINDOW,
            f"the time window of {seconds:.0f} s ended (ROGO_MAX_DURATION, --until)",
        )
        stack.callback(handle.cancel)

    def _summary(self) -> RunSummary:
        return self._record.summary(self.stop_signal)

    def result(self) -> CommandResult:
        """Write run_summary.json and what the observers write at the end."""
        summary = self._summary()
        try:
            self.data.write_summary(
                self._record.run_id, summary.to_json(), is_full=self._selection.is_full
            )
        except OSError as error:
            self.stop_signal.stop(
                StopReason.DISK, f"run_summary.json cannot be written ({error.strerror})"
            )
            summary = self._summary()
        self._observers.ended(summary)
        # A complete run has at most one failed row for each attempt (rule 2).
        stale = len(self._accepted.entries) - summary.failed_accepted
        if stale and summary.shard is None and self._selection.is_full and not summary.not_reached:
            log.info(
                "accepted failures that no longer fail with their code",
                entries=stale,
                remedy=f"remove their lines from {ACCEPTED}",
            )
        if self._terminal is not None:
            try:
                self._terminal.print(end_table(summary))
            except Exception as error:  # noqa: BLE001 - a table must not change the result
                log.warning("the table cannot be shown", **error_facts(error))
        log.info("run ended", **summary.model_dump(include=_LOGGED))
        line = summary.line(self._failed_path())
        if self._starts is not None:
            self._starts.ended(self._record.run_id, summary.exit_code, [line])
        return CommandResult(ExitCode(summary.exit_code), line)


async def read_accepted(directory: Path) -> AcceptedFailures:
    """The accepted failures of a data directory; what cannot be used is logged."""
    accepted = await asyncio.to_thread(read_accepted_failures, directory / ACCEPTED)
    for problem in accepted.problems[:_PROBLEMS]:
        log.error("accepted failures cannot be used", problem=problem)
    return accepted
