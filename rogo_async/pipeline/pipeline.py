"""Every row through the queue: the feeder, the consumers, the writer, and who watches them."""

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
from rogo_async.destination.postgres.migrated_attempts import MigratedAttempts
from rogo_async.pipeline.consumers import ConsumerPool, Handler
from rogo_async.pipeline.migrate import Work
from rogo_async.pipeline.producer import Producer, RowFilter
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.progress import Watched, show_bar, show_lines
from rogo_async.reporting.summary import RunRecord
from rogo_async.sources.http_files import Sources
from rogo_async.sources.submissions_csv import Mapping, SubmissionsFile
from rogo_async.sources.warehouse.reader import Warehouse

GRACE_S: Final = 30.0
_WRITER_S: Final = 60.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What decides which rows are worked on: the two files, and what the target holds."""

    file: SubmissionsFile
    mapping: Mapping
    existing: MigratedAttempts


class Pipeline:
    """Drives rows through a handler; owner of the feeder, the writer and the progress task."""

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

    async def drive(
        self,
        inputs: Inputs,
        warehouse: Warehouse,
        sources: Sources,
        handler: Handler,
        results: ResultWriter,
    ) -> None:
        """Return when every row has its outcome on disk, or the run has been stopped."""
        settings, stop_signal = self._settings, self._stop_signal
        queue: asyncio.Queue[Work | None] = asyncio.Queue(2 * settings.rogo_concurrency)
        row_filter = RowFilter(inputs.mapping, inputs.existing, settings.rogo_version_prefixes)
        producer = Producer(inputs.file, row_filter, warehouse, results, queue, stop_signal)
        consumers = ConsumerPool(
            settings.rogo_concurrency, queue, handler, sources, results, stop_signal
        )
        self._record.consumers = consumers.figures
        writing = asyncio.create_task(self._write(results), name="writer")
        feeding = asyncio.create_task(self._feed(producer, consumers), name="feeder")
        showing = asyncio.create_task(self._show(results), name="progress")
        try:
            await consumers.work(GRACE_S)
        finally:
            await _ended(feeding)
            await self._drain(results, writing)
            await _ended(showing)
        stop_signal.unresolved += producer.unresolved

    async def _feed(self, producer: Producer, consumers: ConsumerPool) -> None:
        try:
            await producer.feed()
        except* RunStopped:
            log.info("feeder stopped")
        except* InputChanged as group:
            self._stop_signal.stop(StopReason.INPUT_CHANGED, str(group.exceptions[0]))
        except* Exception as group:  # noqa: BLE001 - the run must end, not hang
            log.critical("internal error", stage="feeder", **error_facts(group))
            self._stop_signal.stop(StopReason.FAULT, "the feeder failed")
        else:
            await consumers.end()

    async def _write(self, results: ResultWriter) -> None:
        try:
            await results.write_all()
        except Exception as error:  # noqa: BLE001 - the run must end, not hang
            log.critical("internal error", stage="writer", **error_facts(error))
            self._stop_signal.stop(StopReason.FAULT, "the writer failed")

    async def _drain(self, results: ResultWriter, writing: "asyncio.Task[None]") -> None:
        """Let the writer put down what it has; a writer that hangs does not hold the run."""
        finishing = asyncio.create_task(results.finish(), name="ledger-finish")
        await asyncio.wait({writing}, timeout=_WRITER_S)
        await _ended(finishing)
        if not writing.done():
            self._stop_signal.stop(StopReason.DISK, "the results could not be written in time")
        await _ended(writing)

    async def _show(self, results: ResultWriter) -> None:
        record = self._record
        watched = Watched(
            record.tally.total, results.handed_over, record.consumers, time.monotonic()
        )
        if self._terminal is not None:
            await show_bar(watched, self._terminal, self._title)
        else:
            await show_lines(watched, self._settings.rogo_progress_interval)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.wait({task})
