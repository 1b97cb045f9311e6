"""The tasks of a run: producer, consumers, result writer and progress, and the queue between."""

import asyncio
import contextlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
from pyroaring import BitMap
from rich.console import Console

from rogo_async.common.errors import InputChanged, RunStopped
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.consumers import ConsumerPool, Handler
from rogo_async.pipeline.producer import Producer
from rogo_async.pipeline.refresh import ExistingRows, KeepExisting
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.live import published, state_of
from rogo_async.reporting.progress import MIGRATION_NAMES, RunProgress, log_lines
from rogo_async.reporting.run_display import RunDisplay, show_run
from rogo_async.reporting.summary import RunRecord
from rogo_async.rules.records import Status, Submission
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from rogo_async.sources.http_files import Sources
from rogo_async.sources.mapping_csv import Mapping as AttemptMapping
from rogo_async.sources.submissions_csv import SubmissionsFile
from rogo_async.sources.warehouse.reader import Warehouse

GRACE_S: Final = 30.0
_WRITER_S: Final = 60.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Inputs:
    """The two input files, and the attempts that are already in the target.

    ``expected_skips`` are the attempts that the producer will probably skip; for the time left.
    """

    file: SubmissionsFile
    mapping: AttemptMapping
    migrated: MigratedAttempts
    expected_skips: BitMap
    existing: ExistingRows = field(default_factory=KeepExisting)


class Pipeline:
    """Applies a handler to every row. Owns the producer, writer and progress tasks."""

    def __init__(
        self,
        settings: Settings,
        stop_signal: StopSignal,
        record: RunRecord,
        terminal: Console | None,
        title: str = "migrating",
        names: Mapping[Status, str] = MIGRATION_NAMES,
        live_file: Path | None = None,
    ) -> None:
        self._settings = settings
        self._stop_signal = stop_signal
        self._record = record
        self._terminal = terminal
        self._title = title
        self._names = names
        self._live_file = live_file

    async def run(
        self,
        inputs: Inputs,
        warehouse: Warehouse,
        sources: Sources,
        handler: Handler,
        results: ResultWriter,
    ) -> None:
        """Return when every row has its outcome on disk, or the run has been stopped."""
        settings, stop_signal = self._settings, self._stop_signal
        queue: asyncio.Queue[Submission | None] = asyncio.Queue(2 * settings.rogo_concurrency)
        row_filter = RowFilter(inputs.mapping.get, inputs.migrated, settings.rogo_version_prefixes)
        producer = Producer(
            inputs.file, row_filter, warehouse, inputs.existing, results, queue, stop_signal
        )
        consumers = ConsumerPool(
            settings.rogo_concurrency, queue, handler, sources.trip_host, results, stop_signal
        )
        self._record.consumers = consumers.figures
        writing = asyncio.create_task(self._write(results), name="writer")
        producing = asyncio.create_task(self._produce(producer, consumers), name="producer")

        def left() -> int:
            unread = self._record.tally.total - producer.rows_read
            skips = min(unread, row_filter.count_unseen(inputs.expected_skips))
            return self._record.tally.total - results.handed_over.total() - skips

        progress = RunProgress(
            self._record.tally.total,
            results.handed_over,
            consumers.figures,
            self._record.rate,
            left,
            self._names,
        )
        sampling = asyncio.create_task(progress.sample_each_second(), name="progress-rate")
        showing = asyncio.create_task(self._show(progress, consumers), name="progress")
        try:
            async with self._published(progress):
                await consumers.run(GRACE_S)
        finally:
            await _ended(producing)
            await self._drain(results, writing)
            await _ended(showing)
            await _ended(sampling)
        stop_signal.unresolved += producer.unresolved

    async def _produce(self, producer: Producer, consumers: ConsumerPool) -> None:
        try:
            await producer.run()
        except* RunStopped:
            log.info("producer stopped")
        except* InputChanged as group:
            self._stop_signal.stop(StopReason.INPUT_CHANGED, str(group.exceptions[0]))
        except* Exception as group:  # noqa: BLE001 - the run must end, not hang
            log.critical("internal error", stage="producer", **error_facts(group))
            self._stop_signal.stop(StopReason.FAULT, "the producer failed")
        else:
            await consumers.end()

    async def _write(self, results: ResultWriter) -> None:
        try:
            await results.run()
        except Exception as error:  # noqa: BLE001 - the run must end, not hang
            log.critical("internal error", stage="writer", **error_facts(error))
            self._stop_signal.stop(StopReason.FAULT, "the writer failed")

    async def _drain(self, results: ResultWriter, writing: "asyncio.Task[None]") -> None:
        """Let the writer finish, within a deadline."""
        finishing = asyncio.create_task(results.finish(), name="writer-finish")
        await asyncio.wait({writing}, timeout=_WRITER_S)
        await _ended(finishing)
        if not writing.done():
            self._stop_signal.stop(StopReason.DISK, "the results could not be written in time")
        await _ended(writing)

    def _published(self, progress: RunProgress) -> AbstractAsyncContextManager[None]:
        if self._live_file is None:
            return contextlib.nullcontext()
        interval_s = self._settings.rogo_progress_interval
        return published(self._live_file, lambda: state_of(self._record, progress), interval_s)

    async def _show(self, progress: RunProgress, consumers: ConsumerPool) -> None:
        if self._terminal is not None:
            display = RunDisplay(self._title, progress, self._record, lambda: consumers.in_work)
            await show_run(display.lines, self._terminal)
        else:
            await log_lines(progress.facts, self._settings.rogo_progress_interval)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.wait({task})
