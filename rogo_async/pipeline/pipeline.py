"""The tasks of a run: producer, consumers, result writer and progress, and the queue between."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog
from rich.console import Console

from rogo_async.common.errors import InputChanged, RunStopped
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.consumers import ConsumerPool, Handler
from rogo_async.pipeline.producer import Producer
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.progress import RunProgress, log_lines, show_bar
from rogo_async.reporting.summary import RunRecord
from rogo_async.rules.records import Submission
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from rogo_async.sources.http_files import Sources
from rogo_async.sources.submissions_csv import Mapping, SubmissionsFile
from rogo_async.sources.warehouse.reader import Warehouse

GRACE_S: Final = 30.0
_WRITER_S: Final = 60.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Inputs:
    """The two input files, and the attempts that are already in the target."""

    file: SubmissionsFile
    mapping: Mapping
    migrated: MigratedAttempts


class Pipeline:
    """Applies a handler to every row. Owns the producer, writer and progress tasks."""

    def __init__(
        self,
        settings: Settings,
        stop_signal: StopSignal,
        record: RunRecord,
        terminal: Console | None,
        title: str = "migrating",
    ) -> None:
        self._settings = settings
        self._stop_signal = stop_signal
        self._record = record
        self._terminal = terminal
        self._title = title

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
        producer = Producer(inputs.file, row_filter, warehouse, results, queue, stop_signal)
        consumers = ConsumerPool(
            settings.rogo_concurrency, queue, handler, sources.trip_host, results, stop_signal
        )
        self._record.consumers = consumers.figures
        writing = asyncio.create_task(self._write(results), name="writer")
        producing = asyncio.create_task(self._produce(producer, consumers), name="producer")
        showing = asyncio.create_task(self._show(results), name="progress")
        try:
            await consumers.run(GRACE_S)
        finally:
            await _ended(producing)
            await self._drain(results, writing)
            await _ended(showing)
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

    async def _show(self, results: ResultWriter) -> None:
        record = self._record
        progress = RunProgress(
            record.tally.total, results.handed_over, record.consumers, time.monotonic()
        )
        if self._terminal is not None:
            await show_bar(progress, self._terminal, self._title)
        else:
            await log_lines(progress.facts, self._settings.rogo_progress_interval)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.wait({task})
