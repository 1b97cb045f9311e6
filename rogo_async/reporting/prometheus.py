"""Prometheus metrics of a run: a text file for node_exporter, or a port on the loopback address.

Needs the extra ``metrics``; it is imported only when a setting asks for metrics.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rogo_async import __version__
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import FailureCode, SetupError
from rogo_async.common.shutdown import ExitCode
from rogo_async.reporting.summary import RunRecord, readable_summaries
from rogo_async.rules.records import Status

_PREFIX: Final = "rogo_async"
_LOOPBACK: Final = "127.0.0.1"
_QUANTILES: Final = (0.5, 0.95)
log = structlog.get_logger()


class RunCollector(Collector):
    """Collects the metrics of the current run."""

    def __init__(self, record: RunRecord, last_success_s: float | None) -> None:
        self._record = record
        self._last_success_s = last_success_s
        self._finished_s: float | None = None
        self._exit_code: int | None = None

    def end(self, exit_code: int) -> None:
        """The run is over."""
        self._finished_s = time.time()
        self._exit_code = exit_code
        is_full = self._record.selection is None
        if is_full and exit_code in {ExitCode.DONE, ExitCode.SOME_FAILED}:
            self._last_success_s = self._finished_s

    def collect(self) -> Iterator[Metric]:
        """All metrics, for the registry."""
        yield from self._of_run()
        yield from self._of_rows()
        yield from _of_calls(self._record.call_stats)
        yield from _of_outages(self._record.call_stats)

    def _of_run(self) -> Iterator[Metric]:
        build = GaugeMetricFamily(
            f"{_PREFIX}_build_info", "Version of the tool.", labels=["version"]
        )
        build.add_metric([__version__], 1)
        yield build
        for name, meaning, value in (
            (
                "run_start_timestamp_seconds",
                "Start of the latest run.",
                self._record.started_at.timestamp(),
            ),
            ("run_finish_timestamp_seconds", "End of the latest run.", self._finished_s),
            (
                "run_exit_code",
                "Exit code of the latest run; absent while it runs.",
                self._exit_code,
            ),
            (
                "last_success_timestamp_seconds",
                "End of the latest run with exit code 0 or 1: every row has an outcome.",
                self._last_success_s,
            ),
            (
                "rows_per_second",
                "Rows that consumers finished per second, in the last 30 seconds.",
                self._record.rate.per_s() if self._finished_s is None else 0.0,
            ),
            (
                "submissions_in_flight",
                "Submissions in progress.",
                self._record.call_stats.in_flight,
            ),
            (
                "rows_failed_accepted",
                "Failed rows of the run that accepted_failures.csv lists.",
                self._record.tally.failed_accepted,
            ),
            ("rows_selected", "Rows selected for the run.", self._record.tally.total),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"{_PREFIX}_{name}", meaning, value=value)

    def _of_rows(self) -> Iterator[Metric]:
        tally = self._record.tally
        by_status = CounterMetricFamily(
            f"{_PREFIX}_rows", "Rows of the run by outcome.", labels=["status"]
        )
        for status in (Status.MIGRATED, Status.FAILED, Status.SKIPPED):
            by_status.add_metric([status.value], tally.by_status[status])
        yield by_status
        by_code = CounterMetricFamily(
            f"{_PREFIX}_rows_by_code",
            "Failed and skipped rows of the run by code.",
            labels=["status", "code"],
        )
        failures = frozenset(code.value for code in FailureCode)
        for code, rows in sorted(tally.by_code.items()):
            by_code.add_metric(["failed" if code in failures else "skipped", code], rows)
        yield by_code


def _of_calls(call_stats: CallStats) -> Iterator[Metric]:
    durations = Metric(
        f"{_PREFIX}_call_duration_seconds", "Successful calls to a server.", "summary"
    )
    for name, sample in sorted(call_stats.latency.items()):
        labels = _labels(name)
        for quantile in _QUANTILES:
            durations.add_sample(
                durations.name, {**labels, "quantile": str(quantile)}, sample.quantile(quantile)
            )
        durations.add_sample(f"{durations.name}_count", labels, sample.count)
        durations.add_sample(f"{durations.name}_sum", labels, sample.total_s)
    yield durations
    retries = CounterMetricFamily(
        f"{_PREFIX}_retries",
        "Calls that were retried.",
        labels=["dependency", "operation"],
    )
    for name, count in sorted(call_stats.retries.items()):
        retries.add_metric(list(_labels(name).values()), count)
    yield retries


def _of_outages(call_stats: CallStats) -> Iterator[Metric]:
    now = time.monotonic()
    counts: defaultdict[str, float] = defaultdict(float)
    seconds: defaultdict[str, float] = defaultdict(float)
    active: defaultdict[str, float] = defaultdict(float)
    for outage in call_stats.outages:
        counts[outage.dependency] += 1
        lasted = (now if outage.ended_s is None else outage.ended_s) - outage.began_s
        seconds[outage.dependency] += lasted
        active[outage.dependency] += outage.ended_s is None
    for family, values in (
        (CounterMetricFamily(f"{_PREFIX}_outages", "Outages.", labels=["dependency"]), counts),
        (
            CounterMetricFamily(
                f"{_PREFIX}_outage_seconds", "Time spent in outages.", labels=["dependency"]
            ),
            seconds,
        ),
        (
            GaugeMetricFamily(
                f"{_PREFIX}_outage_active", "1 during an outage.", labels=["dependency"]
            ),
            active,
        ),
    ):
        for dependency in sorted(counts):
            family.add_metric([dependency], values[dependency])
        yield family


def _labels(name: str) -> dict[str, str]:
    dependency, _, operation = name.partition(".")
    return {"dependency": dependency, "operation": operation}


class _Snapshot(Collector):
    """A snapshot of the metrics, for a thread that writes them while the run continues."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


class MetricsExporter:
    """Publishes the metrics in a file, on a port, or both."""

    def __init__(self, collector: RunCollector, file: Path | None) -> None:
        self.collector = collector
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._file = file
        self._warned = False
        if file is not None and not os.access(file.absolute().parent, os.W_OK | os.X_OK):
            raise SetupError(f"ROGO_METRICS_FILE: {file} cannot be written: check its directory")

    async def refresh(self) -> None:
        """Replace the file while the run continues."""
        if self._file is not None:
            await asyncio.to_thread(self._write, self._file, list(self._registry.collect()))

    def write(self) -> None:
        """Replace the file at the end of the run."""
        if self._file is not None:
            self._write(self._file, self._registry.collect())

    def _write(self, file: Path, metrics: Iterable[Metric]) -> None:
        """Replace the file atomically; an error is logged once and does not stop the run."""
        try:
            write_to_textfile(str(file), _Snapshot(metrics))
        except OSError as error:
            if not self._warned:
                self._warned = True
                log.warning("the metrics file cannot be written", reason=error.strerror)

    async def listen(self, port: int, stack: AsyncExitStack) -> None:
        """Answer scrapes on the loopback address until the stack closes."""
        application = web.Application()
        application.router.add_get("/metrics", self._answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        try:
            await web.TCPSite(runner, _LOOPBACK, port, shutdown_timeout=1.0).start()
        except OSError as error:
            # Another run on this machine may use the port; metrics must not stop a migration.
            log.warning(
                "the metrics port cannot be opened; the run continues without it",
                port=port,
                reason=os.strerror(error.errno or 0),
            )

    async def _answer(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})


def last_success(runs: Path) -> float | None:
    """The end of the latest full run that gave every row an outcome, from the stored summaries."""
    return next(
        (each.finished_at.timestamp() for each in readable_summaries(runs) if each.is_night),
        None,
    )
