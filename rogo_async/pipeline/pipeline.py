"""Every row through the queue: the feeder, the consumers, the writer, and who watches them."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

import structlog
from rich.console import Console

from rogo_async.common.errors import InputChanged, RunStopped
from rogo_async.common.logging import without_values
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import Control, StopReason
from rogo_async.destination.postgres.migrated_attempts import Existing
from rogo_async.pipeline.migrate import Work
from rogo_async.pipeline.producer import Feeder, Sieve
from rogo_async.pipeline.workers import Consumers, Handler
from rogo_async.pipeline.writer import Ledger
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
    existing: Existing


class Drive:
    """Drives rows through a handler; owner of the feeder, the writer and the progress task."""

    def __init__(
        self,
        settings: Settings,
        control: Control,
        record: RunRecord,
        terminal: Console | None,
        title: str = "migrating",
    ) -> None:
        self._settings = settings
        self._control = control
        self._record = record
        self._terminal = terminal
        self._title = title

    async def drive(
        self,
        inputs: Inputs,
        warehouse: Warehouse,
        sources: Sources,
        handler: Handler,
        ledger: Ledger,
    ) -> None:
        """Return when every row has its outcome on disk, or the run has been stopped."""
        settings, control = self._settings, self._control
        queue: asyncio.Queue[Work | None] = asyncio.Queue(2 * settings.rogo_concurrency)
        sieve = Sieve(inputs.mapping, inputs.existing, settings.rogo_version_prefixes)
        feeder = Feeder(inputs.file, sieve, warehouse, ledger, queue, control)
        consumers = Consumers(settings.rogo_concurrency, queue, handler, sources, ledger, control)
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
            await show_bar(watched, self._terminal, self._title)
        else:
            await show_lines(watched, self._settings.rogo_progress_interval)


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is over."""
    task.cancel()
    await asyncio.wait({task})
