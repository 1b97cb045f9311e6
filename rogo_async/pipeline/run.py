"""The life of a run: connect, read what exists, migrate, write the summary."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console

from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import FAILED, MIGRATED, new_run_id
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode, StopReason
from rogo_async.destination.postgres.journal import Journal
from rogo_async.destination.postgres.migrated_attempts import (
    export_migrated,
    read_migrated_attempts,
)
from rogo_async.pipeline.migrate import Migrator
from rogo_async.pipeline.observers import Observers
from rogo_async.pipeline.pipeline import Inputs, Pipeline
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.services import ServiceFactory, open_services
from rogo_async.pipeline.writer import CsvResultWriter, KnownFailures, ResultWriter
from rogo_async.reporting.summary import RunRecord
from rogo_async.sources.submissions_csv import ERROR_COLUMN, SubmissionsFile

_LOGGED: Final = {
    "exit_code",
    "rows_total",
    "migrated",
    "failed",
    "failed_new",
    "skipped",
    "not_reached",
    "rate_per_s",
    "by_code",
    "stopped_by",
}
"""The fields of the summary in the last log line."""

log = structlog.get_logger()


class Run(Command):
    """One run; ``execute`` is called once."""

    def __init__(self, settings: Settings, selection: Selection, terminal: Console | None) -> None:
        run_id = new_run_id()
        super().__init__(settings, lock_name=f"run {run_id}")
        self._selection = selection
        self._terminal = terminal
        self._record = RunRecord.begin(run_id, settings.rogo_concurrency)
        self._observers = Observers(settings, self._record, self.data.runs)

    async def execute(self) -> CommandResult:
        """Run once and return the summary. Raises SetupError and LockHeld, without a summary."""
        structlog.contextvars.bind_contextvars(run_id=self._record.run_id)
        return await super().execute()

    async def work(self, stack: AsyncExitStack) -> None:
        """Connect to everything, migrate every row, and write the results."""
        await stack.enter_async_context(self._observers)
        file, mapping = await open_selection(self._selection, self.data.path, stack)
        self._record.tally.total = len(file)
        record = self._record
        journal = Journal(self.data.runs / f"{record.run_id}.journal.jsonl")
        factory = ServiceFactory(self.settings, self.stop_signal, record.call_stats, stack)
        if self.settings.rogo_max_duration is not None:
            self._close_window_after(self.settings.rogo_max_duration, stack)
        services = await open_services(factory, record.run_id, journal)
        migrated = await factory.with_retry(lambda: read_migrated_attempts(services.connections))
        await factory.with_retry(
            lambda: self.data.rebuild_migrated(
                lambda sink: export_migrated(services.connections, sink)
            )
        )
        self.stop_signal.raise_if_stopping()
        results = await self._results(file, stack)
        log.info(
            "migration begins",
            already_migrated=len(migrated.migrated),
            concurrency=self.settings.rogo_concurrency,
        )
        migrator = Migrator(
            record.run_id,
            self.settings.lms,
            self.settings.allow_list,
            services.reference.matching,
            services.file_copier,
            services.writer,
        )
        pipeline = Pipeline(self.settings, self.stop_signal, record, self._terminal)
        inputs = Inputs(file, mapping, migrated)
        handler = self._observers.of(migrator.migrate)
        async with self._observers.watching(results.handed_over):
            await pipeline.run(inputs, services.warehouse, services.sources, handler, results)

    async def _results(self, file: SubmissionsFile, stack: AsyncExitStack) -> ResultWriter:
        data, run_id = self.data, self._record.run_id
        await asyncio.to_thread(
            data.delete_old_runs, self.settings.rogo_keep_runs, self._selection.input
        )
        known = await asyncio.to_thread(KnownFailures.read, data.path / FAILED)
        if self._selection.is_full:
            await asyncio.to_thread(data.begin_full_run, run_id)
        migrated = AppendFile(data.path / MIGRATED)
        failed = AppendFile(self._failed_path())
        await migrated.open(None)
        stack.push_async_callback(migrated.close)
        await failed.open([*file.columns, ERROR_COLUMN])
        stack.push_async_callback(failed.close)
        return CsvResultWriter(
            migrated,
            failed,
            self._record.tally,
            known,
            self.stop_signal,
            self.settings.rogo_write_interval,
        )

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
            f"the time window of {seconds:g} s ended (ROGO_MAX_DURATION)",
        )
        stack.callback(handle.cancel)

    def result(self) -> CommandResult:
        """Write run_summary.json and what the observers write at the end."""
        summary = self._record.summary(self.stop_signal)
        try:
            self.data.write_summary(self._record.run_id, summary.to_json())
        except OSError as error:
            self.stop_signal.stop(
                StopReason.DISK, f"run_summary.json cannot be written ({error.strerror})"
            )
            summary = self._record.summary(self.stop_signal)
        self._observers.ended(summary)
        log.info("run ended", **summary.model_dump(include=_LOGGED))
        return CommandResult(ExitCode(summary.exit_code), summary.line(self._failed_path()))
