"""Observers of a run: timeline, metrics, traces and HTML report.

None of them can stop a run that has begun. A failed write is logged.
"""

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import structlog

from rogo_async.common.errors import SetupError
from rogo_async.common.files import write_private
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.pipeline.consumers import Handler
from rogo_async.pipeline.tracing import Observer, count_only, log_submission, observed, open_tracer
from rogo_async.reporting.html.timeline import Point, Timeline, timeline_file
from rogo_async.reporting.summary import RunRecord, RunSummary
from rogo_async.rules.records import Status

if TYPE_CHECKING:
    from rogo_async.reporting.prometheus import MetricsExporter

_SAMPLE_S: Final = 1.0
log = structlog.get_logger()


class Observers:
    """An async context around a run; on exit it closes what it opened."""

    def __init__(self, settings: Settings, record: RunRecord, runs: Path) -> None:
        self._settings = settings
        self._record = record
        self._runs = runs
        self._timeline = Timeline()
        self._stack = AsyncExitStack()
        self._observers: list[Observer] = []
        self._exporter: MetricsExporter | None = None

    async def __aenter__(self) -> Self:
        """Start the observers that are configured. Raises SetupError."""
        settings = self._settings
        if settings.rogo_metrics_file is not None or settings.rogo_metrics_port is not None:
            self._exporter = _open_exporter(settings, self._record, self._runs)
            self._observers.append(count_only)
            if settings.rogo_metrics_port is not None:
                await self._exporter.listen(settings.rogo_metrics_port, self._stack)
        if log.is_enabled_for(logging.DEBUG):
            self._observers.append(log_submission)
        tracer = open_tracer(os.environ)
        if tracer is not None:
            self._observers.append(tracer)
            self._stack.push_async_callback(tracer.aclose)
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        # A run that does not get the lock must not overwrite the metrics of the run that holds it.
        if self._exporter is not None and isinstance(error, SetupError):
            self._exporter.collector.end(ExitCode.SETUP)
            self._exporter.write()
        await self._stack.aclose()

    def of(self, handler: Handler) -> Handler:
        """The handler, wrapped if single submissions are observed."""
        return observed(handler, self._record.call_stats, self._observers)

    @asynccontextmanager
    async def watching(self, done_by_status: "Counter[Status]") -> AsyncIterator[None]:
        """Record the timeline and publish metrics during the block."""
        sampling = asyncio.create_task(self._sample(done_by_status), name="sampling")
        try:
            yield
        finally:
            sampling.cancel()
            await asyncio.wait({sampling})
            self._timeline.finish(self._point(done_by_status))

    def ended(self, summary: RunSummary) -> None:
        """Write timeline, metrics and report, after the summary. Blocks."""
        run_id = self._record.run_id
        try:
            write_private(timeline_file(self._runs, run_id), self._timeline.json_lines())
        except OSError as error:
            log.warning("the timeline cannot be written", reason=error.strerror)
        if self._exporter is not None:
            self._exporter.collector.end(summary.exit_code)
            self._exporter.write()
        if self._settings.rogo_report:
            self._report(run_id)

    def _report(self, run_id: str) -> None:
        try:
            # The chart library is slow to import and rarely needed.
            from rogo_async.reporting.html.stored import write_report  # noqa: PLC0415

            log.info("report written", file=str(write_report(self._runs, run_id)))
        except Exception as error:  # noqa: BLE001 - the run is over; a report that fails must not change its result
            log.warning("the report cannot be written", **error_facts(error))

    async def _sample(self, done_by_status: "Counter[Status]") -> None:
        interval_s = self._settings.rogo_progress_interval
        published: Point | None = None
        while True:
            point = self._point(done_by_status)
            self._timeline.add(point)
            if self._exporter is not None and (
                published is None or point.at_s >= published.at_s + interval_s
            ):
                published = point
                await self._exporter.refresh()
            await asyncio.sleep(min(interval_s, _SAMPLE_S))

    def _point(self, done_by_status: "Counter[Status]") -> Point:
        at_s = time.monotonic() - self._record.started_s
        before = self._timeline.points[-1] if self._timeline.points else None
        seconds = at_s - (before.at_s if before else at_s)
        done = done_by_status.total()
        outages = self._record.call_stats.outages
        return Point(
            at_s=round(at_s, 3),
            seconds=round(seconds, 3),
            done=done,
            migrated=done_by_status[Status.MIGRATED],
            failed=done_by_status[Status.FAILED],
            skipped=done_by_status[Status.SKIPPED],
            rate_per_s=round((done - before.done) / seconds, 2) if before and seconds > 0 else 0.0,
            outages=sum(outage.ended_s is None for outage in outages),
        )


def _open_exporter(settings: Settings, record: RunRecord, runs: Path) -> "MetricsExporter":
    try:
        # An extra: a run works without it.
        from rogo_async.reporting.prometheus import MetricsExporter, RunCollector, last_success  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("prometheus_client"):
            raise
        raise SetupError(
            "ROGO_METRICS_FILE, ROGO_METRICS_PORT: prometheus-client is not installed: "
            "pip install '.[metrics]' in the source directory, or unset them"
        ) from None
    return MetricsExporter(RunCollector(record, last_success(runs)), settings.rogo_metrics_file)
