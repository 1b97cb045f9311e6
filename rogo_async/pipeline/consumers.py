"""The coroutines that migrate submissions in parallel; their number is fixed.

Every submission that they take has one outcome or counts as not processed (invariant 1).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from rogo_async.common.errors import DataDirFull, DependencyError, RunStopped
from rogo_async.common.logging import error_facts
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.forbidden_rows import ForbiddenRow, ForbiddenTracker
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.rules.records import Outcome, Submission

_CANCEL_S: Final = 10.0
_OUTAGE_GRACE_S: Final = 10.0
"""After an outage that ended the run, calls to that server will not succeed."""

Handler = Callable[[Submission], Awaitable[Outcome | ForbiddenRow]]
"""Handles one submission: ``Migrator.migrate``, or a dry run of it."""

log = structlog.get_logger()


class ConsumerPool:
    """Owns the consumer tasks, and the rows that are held back or retried."""

    def __init__(
        self,
        count: int,
        queue: asyncio.Queue[Submission | None],
        handler: Handler,
        trip_host: Callable[[str], None],
        results: ResultWriter,
        stop_signal: StopSignal,
    ) -> None:
        self.figures = [ConsumerFigures(number) for number in range(1, count + 1)]
        self.in_work = 0
        """Submissions in progress."""
        self._queue = queue
        self._handler = handler
        self._trip_host = trip_host
        self._results = results
        self._stop_signal = stop_signal
        self._forbidden = ForbiddenTracker()
        self._again: deque[Submission] = deque()

    async def end(self) -> None:
        """Queue one end mark for each consumer, behind all submissions."""
        for _ in self.figures:
            await self._queue.put(None)

    async def run(self, grace_s: float) -> None:
        """Run until every consumer has received its end mark, or the run is stopped.

        When the run is stopped, submissions in progress have ``grace_s`` seconds to finish. The
        others are cancelled and count as not processed.
        """
        tasks = [
            asyncio.create_task(self._consume(figures), name=f"consumer-{figures.id}")
            for figures in self.figures
        ]
        stopping = asyncio.create_task(self._stop_signal.wait(), name="consumers-stopping")
        try:
            await _all_done_or(tasks, stopping)
            for task in tasks:
                if task.done():
                    self._report_crash(task)
            if self._stop_signal.stopping:
                self._wake_idle()
                is_outage = StopReason.OUTAGE in self._stop_signal.reasons
                await asyncio.wait(tasks, timeout=_OUTAGE_GRACE_S if is_outage else grace_s)
            else:
                await self._fail(self._forbidden.take_all(), self.figures[0])
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.wait([*tasks, stopping], timeout=_CANCEL_S)

    def _report_crash(self, task: asyncio.Task[None]) -> None:
        """Log a consumer that crashed; its row counts as not processed."""
        if task.cancelled() or task.exception() is not None:
            self._stop_signal.record_internal_error()
            log.critical("a consumer crashed; its row is not processed", consumer=task.get_name())

    async def _consume(self, figures: ConsumerFigures) -> None:
        ended = False
        while not self._stop_signal.stopping:
            if self._again:
                await self._process(self._again.popleft(), figures)
            elif ended:
                return
            elif (submission := await self._queue.get()) is None:
                ended = True
            else:
                await self._process(submission, figures)

    async def _process(self, submission: Submission, figures: ConsumerFigures) -> None:
        self.in_work += 1
        try:
            result = await self._handler(submission)
            if isinstance(result, ForbiddenRow):
                self._forbidden.hold(result)
            else:
                figures.count([result])
                await self._results.record([result])
            if self._forbidden:
                await self._settle_forbidden(figures)
        except RunStopped:
            return
        except DataDirFull as full:
            self._stop_signal.stop(StopReason.DISK, str(full))
        except DependencyError as error:
            self._stop_signal.unresolved += 1
            log.error("outcome unknown", attempt=submission.attempt, reason=str(error))
        except Exception as error:  # noqa: BLE001 - an error in one row must not stop the others
            self._stop_signal.record_internal_error()
            log.critical("internal error", attempt=submission.attempt, **error_facts(error))
        finally:
            self.in_work -= 1

    async def _settle_forbidden(self, figures: ConsumerFigures) -> None:
        for row in self._forbidden.take_systemic():
            if not row.error.streak.is_over:
                self._trip_host(row.error.origin)
            self._again.append(row.submission)
        await self._fail(self._forbidden.take_failed(), figures)

    async def _fail(self, rows: Sequence[ForbiddenRow], figures: ConsumerFigures) -> None:
        for row in rows:
            await row.delete_files()
        outcomes = [row.outcome for row in rows]
        figures.count(outcomes)
        await self._results.record(outcomes)

    def _wake_idle(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()
        for _ in self.figures:
            self._queue.put_nowait(None)


async def _all_done_or(tasks: Sequence[asyncio.Task[None]], stopping: asyncio.Task[None]) -> None:
    pending = set(tasks)
    while pending and not stopping.done():
        done, _ = await asyncio.wait({*pending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        pending -= done
