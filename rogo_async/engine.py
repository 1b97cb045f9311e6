"""The life of a run: open, begin, drive, drain, close."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import structlog
from rich.console import Console

from rogo_async.consumers import Consumers
from rogo_async.control import Control, ExitCode, StopReason
from rogo_async.datadir import FAILED, MAPPING, MIGRATED, SUBMISSIONS, DataDir, new_run_id
from rogo_async.errors import InputChanged, RunStopped
from rogo_async.feeder import Feeder, Sieve
from rogo_async.guard import Ending, guarded, without_values
from rogo_async.inputs import ERROR_COLUMN, Mapping, SubmissionsFile, open_inputs
from rogo_async.interrupt import drained_by_signals
from rogo_async.journal import Journal
from rogo_async.ledger import AppendFile, Ledger, Tally
from rogo_async.measure import Measurements
from rogo_async.migrate import Migrator, Work
from rogo_async.opening import Opening, Servers, open_for_run
from rogo_async.progress import Watched, show_bar, show_lines
from rogo_async.settings import Settings
from rogo_async.summary import RunRecord, headline
from rogo_async.target import Existing, export_migrated, read_existing

GRACE_S: Final = 30.0
_WRITER_S: Final = 60.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows a run is about. Without any of these it is a full run."""

    newest: int | None = None
    attempts: tuple[int, ...] = ()
    input: Path | None = None

    @property
    def is_full(self) -> bool:
        """Whether the run is about every row of submission_files.csv."""
        return self.newest is None and not self.attempts and self.input is None


class Run:
    """One run; ``execute`` is called once."""

    def __init__(self, settings: Settings, selection: Selection, terminal: Console | None) -> None:
        self._settings = settings
        self._selection = selection
        self._terminal = terminal
        self._control = Control()
        self._data = DataDir(settings.rogo_data_dir)
        self._record = RunRecord(
            run_id=new_run_id(),
            started_at=datetime.now(UTC),
            started_s=time.monotonic(),
            concurrency=settings.rogo_concurrency,
            tally=Tally(),
            consumers=[],
            measurements=Measurements(),
        )

    async def execute(self) -> Ending:
        """Do the whole run.

        Raises SetupError and LockHeld, after which nothing has been written; every other ending
        has a summary.
        """
        structlog.contextvars.bind_contextvars(run_id=self._record.run_id)
        async with AsyncExitStack() as stack:
            stack.enter_context(drained_by_signals(self._control))
            self._data.lock(f"run {self._record.run_id}")
            stack.callback(self._data.unlock)
            await guarded(
                lambda: self._open_and_drive(stack),
                self._control,
                self._settings.rogo_outage_limit,
                self._data.path,
            )
            return await asyncio.to_thread(self._sum_up)

    async def _open_and_drive(self, stack: AsyncExitStack) -> None:
        file, mapping = await self._inputs(stack)
        record = self._record
        journal = Journal(self._data.runs / f"{record.run_id}.journal.jsonl")
        opening = Opening(self._settings, self._control, record.measurements, stack)
        if self._settings.rogo_max_duration is not None:
            self._close_window_after(self._settings.rogo_max_duration, stack)
        servers = await open_for_run(opening, record.run_id, journal)
        existing = await opening.patiently(lambda: read_existing(servers.connections))
        await opening.patiently(
            lambda: self._data.rebuild_migrated(
                lambda sink: export_migrated(servers.connections, sink)
            )
        )
        self._control.check()
        ledger = await self._ledger(file, stack)
        log.info(
            "migration begins",
            already_migrated=len(existing.migrated),
            concurrency=self._settings.rogo_concurrency,
        )
        await self._drive(file, mapping, existing, servers, ledger)

    async def _inputs(self, stack: AsyncExitStack) -> tuple[SubmissionsFile, Mapping]:
        file, mapping = await open_inputs(
            self._selection.input or self._data.path / SUBMISSIONS, self._data.path / MAPPING
        )
        stack.callback(file.close)
        if self._selection.newest is not None:
            file.select_newest(self._selection.newest)
        if self._selection.attempts:
            await file.select_attempts(self._selection.attempts)
        self._record.tally.total = len(file)
        log.info(
            "inputs read",
            rows=len(file),
            mapping_lines=mapping.lines,
            mapping_lines_without_attempt=mapping.without_attempt,
            mapping_attempts_that_disagree=mapping.disagreeing,
        )
        if not len(file):
            log.warning("there is nothing to do: the file has a header and no rows")
        return file, mapping

    async def _ledger(self, file: SubmissionsFile, stack: AsyncExitStack) -> Ledger:
        data, run_id = self._data, self._record.run_id
        await asyncio.to_thread(
            data.make_room_for_runs, self._settings.rogo_keep_runs, self._selection.input
        )
        known = await asyncio.to_thread(data.failures_before)
        if self._selection.is_full:
            await asyncio.to_thread(data.begin_full_run, run_id)
        migrated = AppendFile(data.path / MIGRATED)
        failed = AppendFile(self._failed_path())
        await migrated.open(None)
        stack.push_async_callback(migrated.close)
        await failed.open([*file.columns, ERROR_COLUMN])
        stack.push_async_callback(failed.close)
        return Ledger(
            migrated,
            failed,
            self._record.tally,
            known,
            self._control,
            self._settings.rogo_write_interval,
        )

    def _failed_path(self) -> Path:
        if self._selection.is_full:
            return self._data.path / FAILED
        return self._data.runs / f"{self._record.run_id}.failed.csv"

    async def _drive(
        self,
        file: SubmissionsFile,
        mapping: Mapping,
        existing: Existing,
        servers: Servers,
        ledger: Ledger,
    ) -> None:
        settings, control = self._settings, self._control
        queue: asyncio.Queue[Work | None] = asyncio.Queue(2 * settings.rogo_concurrency)
        sieve = Sieve(mapping, existing, settings.rogo_version_prefixes)
        feeder = Feeder(file, sieve, servers.warehouse, ledger, queue, control)
        migrator = Migrator(
            self._record.run_id,
            settings.lms,
            settings.allow_list,
            servers.reference.matching,
            servers.mover,
            servers.writer,
        )
        consumers = Consumers(
            settings.rogo_concurrency, queue, migrator, servers.sources, ledger, control
        )
        self._record.consumers = consumers.figures
        writing = asyncio.create_task(self._write(ledger), name="writer")
        feeding = asyncio.create_task(self._feed(feeder, consumers), name="feeder")
        showing = asyncio.create_task(self._show(ledger), name="progress")
        try:
            await consumers.work(GRACE_S)
        finally:
            await _ended(feeding)
            await self._drain(ledger, writing)
            await _ended(showing)
        control.unresolved += feeder.unresolved

    async def _feed(self, feeder: Feeder, consumers: Consumers) -> None:
        try:
            await feeder.feed()
        except* RunStopped:
            log.info("feeder stopped")
        except* InputChanged as group:
            self._control.stop(StopReason.INPUT_CHANGED, str(group.exceptions[0]))
        except* Exception as group:  # noqa: BLE001 - the run must end, not hang
            log.critical("a fault of this tool", stage="feeder", **without_values(group))
            self._control.stop(StopReason.FAULT, "the feeder failed")
        else:
            await consumers.end()

    async def _write(self, ledger: Ledger) -> None:
        try:
            await ledger.write_all()
        except Exception as error:  # noqa: BLE001 - the run must end, not hang
            log.critical("a fault of this tool", stage="writer", **without_values(error))
            self._control.stop(StopReason.FAULT, "the writer failed")

    async def _drain(self, ledger: Ledger, writing: "asyncio.Task[None]") -> None:
        """Let the writer put down what it has; a writer that hangs does not hold the run."""
        finishing = asyncio.create_task(ledger.finish(), name="ledger-finish")
        await asyncio.wait({writing}, timeout=_WRITER_S)
        await _ended(finishing)
        if not writing.done():
            self._control.stop(StopReason.DISK, "the results could not be written in time")
        await _ended(writing)

    async def _show(self, ledger: Ledger) -> None:
        record = self._record
        watched = Watched(
            record.tally.total, ledger.handed_over, record.consumers, time.monotonic()
        )
        if self._terminal is not None:
            await show_bar(watched, self._terminal)
        else:
            await show_lines(watched, self._settings.rogo_progress_interval)

    def _close_window_after(self, seconds: float, stack: AsyncExitStack) -> None:
        left_s = max(0.0, self._record.started_s + seconds - time.monotonic())
        handle = asyncio.get_running_loop().call_later(
            left_s,
            self._control.stop,
            StopReason.WINDOW,
            f"the time window of {seconds:g} s ended (ROGO_MAX_DURATION)",
        )
        stack.callback(handle.cancel)

    def _sum_up(self) -> Ending:
        summary = self._record.summary(self._control)
        try:
            self._data.write_summary(self._record.run_id, summary)
        except OSError as error:
            self._control.stop(
                StopReason.DISK, f"run_summary.json cannot be written ({error.strerror})"
            )
            summary = self._record.summary(self._control)
        text = headline(summary, str(self._failed_path()))
        log.info("run ended", **_facts(summary))
        return Ending(ExitCode(summary["exit_code"]), text)


def _facts(summary: dict[str, Any]) -> dict[str, Any]:
    names = (
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
    )
    return {name: summary[name] for name in names}


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.wait({task})
