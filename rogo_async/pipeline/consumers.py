"""The fixed number of coroutines that migrate rows side by side."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from rogo_async.common.errors import DataDirFull, DependencyError, RunStopped
from rogo_async.common.logging import error_facts
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.forbidden_rows import ForbiddenTracker
from rogo_async.pipeline.migrate import ForbiddenRow, Work
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.rules.records import Outcome
from rogo_async.sources.http_files import Sources

_CANCEL_S: Final = 10.0
_OUTAGE_GRACE_S: Final = 10.0
"""After a dependency was given up, what waits for it will not end."""

log = structlog.get_logger()


class Handler(Protocol):
    """What becomes of one row (``migrate.Migrator``)."""

    async def migrate(self, work: Work) -> Outcome | ForbiddenRow:
        """Give the row's outcome, or say that its source refused it."""

    async def discard(self, forbidden: ForbiddenRow) -> None:
        """Clean up after a refused row, once its failure is final."""


class ConsumerPool:
    """Owner of the consumer tasks and of the rows that are held back or tried again."""

    def __init__(
        self,
        count: int,
        queue: "asyncio.Queue[Work | None]",
        handler: Handler,
        sources: Sources,
        results: ResultWriter,
        stop_signal: StopSignal,
    ) -> None:
        self.figures = [ConsumerFigures(number) for number in range(1, count + 1)]
        self._queue = queue
        self._handler = handler
        self._sources = sources
        self._results = results
        self._stop_signal = stop_signal
        self._watch = ForbiddenTracker(sources.hosts)
        self._again: deque[Work] = deque()

    async def end(self) -> None:
        """Put one end mark for each consumer behind all work."""
        for _ in self.figures:
            await self._queue.put(None)

    async def work(self, grace_s: float) -> None:
        """Run until every consumer has met its end mark, or the run is told to stop.

        In the latter case what is in flight has ``grace_s`` seconds to end; what has not ended by
        then is cancelled and counts as not reached.
        """
        tasks = [
            asyncio.create_task(self._consume(figures), name=f"consumer-{figures.id}")
            for figures in self.figures
        ]
        stopped = asyncio.create_task(self._stop_signal.stopped(), name="consumers-stopped")
        try:
            await _until_all_or(tasks, stopped)
            for task in tasks:
                if task.done():
                    self._report_crash(task)
            if self._stop_signal.stopping:
                self._wake_idle()
                is_outage = StopReason.OUTAGE in self._stop_signal.reasons
                await asyncio.wait(tasks, timeout=_OUTAGE_GRACE_S if is_outage else grace_s)
            else:
                await self._fail(self._watch.remaining(), self.figures[0])
        finally:
            stopped.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait([*tasks, stopped], timeout=_CANCEL_S)

    def _report_crash(self, task: "asyncio.Task[None]") -> None:
        """A consumer that ended otherwise than by its end mark has left a row behind."""
        if task.cancelled() or task.exception() is not None:
            self._stop_signal.fault()
            log.critical("a consumer was lost; its row is not reached", consumer=task.get_name())

    async def _consume(self, figures: ConsumerFigures) -> None:
        ended = False
        while not self._stop_signal.stopping:
            if self._again:
                await self._one(self._again.popleft(), figures)
            elif ended:
                return
            elif (work := await self._queue.get()) is None:
                ended = True
            else:
                await self._one(work, figures)

    async def _one(self, work: Work, figures: ConsumerFigures) -> None:
        try:
            result = await self._handler.migrate(work)
            await self._fail(self._watch.settled(), figures)
            if isinstance(result, ForbiddenRow):
                self._hold(result)
            else:
                figures.count([result])
                await self._results.record([result])
        except RunStopped:
            return
        except DataDirFull as full:
            self._stop_signal.stop(StopReason.DISK, str(full))
        except DependencyError as fault:
            self._stop_signal.unresolved += 1
            log.error("outcome unknown", attempt=work.attempt, reason=str(fault))
        except Exception as error:  # noqa: BLE001 - one row's surprise must not stop the others
            self._stop_signal.fault()
            log.critical("internal error", attempt=work.attempt, **error_facts(error))

    def _hold(self, forbidden: ForbiddenRow) -> None:
        again = self._watch.refused(forbidden)
        if again:
            self._sources.suspect(forbidden.fault.origin)
            self._again.extend(each.work for each in again)

    async def _fail(self, refused: Sequence[ForbiddenRow], figures: ConsumerFigures) -> None:
        for each in refused:
            await self._handler.discard(each)
        outcomes = [each.outcome for each in refused]
        figures.count(outcomes)
        await self._results.record(outcomes)

    def _wake_idle(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
        for _ in self.figures:
            self._queue.put_nowait(None)


async def _until_all_or(
    tasks: Sequence["asyncio.Task[None]"], stopped: "asyncio.Task[None]"
) -> None:
    pending = set(tasks)
    while pending and not stopped.done():
        done, _ = await asyncio.wait({*pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
        pending -= done
