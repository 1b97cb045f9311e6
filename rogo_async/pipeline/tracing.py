"""Traces of single submissions: a debug log line, and an OpenTelemetry span.

A run without observers has no overhead: ``observed`` returns the handler unchanged, and
OpenTelemetry is imported only when an environment variable enables it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, Final

import structlog

from rogo_async.common.call_stats import STAGES, CallStats, Stage, Stages
from rogo_async.common.errors import DependencyError, RunStopped
from rogo_async.pipeline.consumers import Handler
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.rules.records import Outcome, Submission

_STAGE_OF: Final = {"source": "files", "store": "files", "target": "insert"}
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_QUEUED_SPANS: Final = 16_384
_FLUSH_S: Final = 5.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SubmissionTrace:
    """The durations of one submission; times are on the monotonic clock.

    ``calls`` are the successful calls by dependency and operation. ``stages`` sums them up as
    ``files`` and ``insert``. A submission that is retried has several traces.
    """

    attempt: int
    outcome: str
    code: str | None
    began_s: float
    ended_s: float
    calls: Stages

    def stages(self) -> Stages:
        """The stages, in the order in which they began."""
        stages: Stages = {}
        for name, call in self.calls.items():
            stage = _STAGE_OF.get(name.partition(".")[0], name)
            whole = stages.setdefault(stage, Stage(call.began_s, call.ended_s))
            whole.began_s = min(whole.began_s, call.began_s)
            whole.ended_s = max(whole.ended_s, call.ended_s)
            whole.calls += call.calls
        return stages


Observer = Callable[[SubmissionTrace], None]


def observed(handler: Handler, call_stats: CallStats, observers: Sequence[Observer]) -> Handler:
    """A handler that reports each submission to the observers; without observers ``handler``."""
    if not observers:
        return handler

    async def handle(submission: Submission) -> Outcome | ForbiddenRow:
        calls: Stages = {}
        token = STAGES.set(calls)
        began_s = time.monotonic()
        call_stats.in_flight += 1
        outcome, code = "fault", None
        try:
            result = await handler(submission)
        except (RunStopped, asyncio.CancelledError):
            outcome = "not_reached"
            raise
        except DependencyError:
            outcome = "unknown"
            raise
        else:
            end = result.outcome if isinstance(result, ForbiddenRow) else result
            outcome = "held_back" if isinstance(result, ForbiddenRow) else end.status.value
            code = None if end.code is None else end.code.value
            return result
        finally:
            call_stats.in_flight -= 1
            STAGES.reset(token)
            seen = SubmissionTrace(
                submission.attempt, outcome, code, began_s, time.monotonic(), calls
            )
            for observer in observers:
                observer(seen)

    return handle


def count_only(_trace: SubmissionTrace) -> None:
    """An observer that does nothing, so that ``observed`` counts submissions in progress."""


def log_submission(seen: SubmissionTrace) -> None:
    """Log one line for a submission, with its durations in milliseconds."""
    log.debug(
        "submission",
        attempt=seen.attempt,
        outcome=seen.outcome,
        code=seen.code,
        duration_ms=_ms(seen.ended_s - seen.began_s),
        stages_ms={name: _ms(stage.seconds) for name, stage in seen.stages().items()},
        calls_ms={name: _ms(call.seconds) for name, call in seen.calls.items()},
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)


class Tracer:
    """Makes a span for each submission, with a child for each stage and grandchildren for calls.

    The attempt is the only identifier in a span.
    """

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        self._trace = trace
        self._provider = provider
        self._tracer = provider.get_tracer("rogo_async")
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def __call__(self, seen: SubmissionTrace) -> None:
        """Queue the spans of a submission for export."""
        attributes: dict[str, Any] = {"rogo.attempt": seen.attempt, "rogo.outcome": seen.outcome}
        if seen.code is not None:
            attributes["rogo.code"] = seen.code
        whole = Stage(seen.began_s, seen.ended_s)
        parent = self._span("submission", whole, None, attributes)
        if seen.outcome in {"failed", "unknown", "fault"}:
            parent.set_status(self._trace.StatusCode.ERROR, seen.code or seen.outcome)
        stages = {
            name: (stage, self._span(name, stage, parent)) for name, stage in seen.stages().items()
        }
        for name, call in seen.calls.items():
            above = stages[_STAGE_OF.get(name.partition(".")[0], name)][1]
            self._end(self._span(name, call, above, {"rogo.calls": call.calls}), call)
        for stage, span in stages.values():
            self._end(span, stage)
        self._end(parent, whole)

    async def aclose(self) -> None:
        """Send the queued spans, for at most five seconds."""
        sending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, _FLUSH_S)
        if sending.is_alive():
            log.warning("the last spans could not be sent in time", seconds=_FLUSH_S)

    def _span(
        self, name: str, stage: Stage, parent: Any, attributes: Mapping[str, Any] | None = None
    ) -> Any:
        context = None if parent is None else self._trace.set_span_in_context(parent)
        return self._tracer.start_span(
            name, context, attributes=attributes, start_time=self._ns(stage.began_s)
        )

    def _end(self, span: Any, stage: Stage) -> None:
        span.end(self._ns(stage.ended_s))

    def _ns(self, monotonic_s: float) -> int:
        return self._epoch_ns + int(monotonic_s * 1e9)


def open_tracer(environment: Mapping[str, str]) -> Tracer | None:
    """The tracer for OTEL_TRACES_EXPORTER or an OTLP endpoint.

    None when neither is set, or the extra ``otel`` is not installed.
    """
    chosen = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not chosen and any(environment.get(name, "").strip() for name in _ENDPOINTS):
        chosen = "otlp"
    off = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or chosen in {"", "none"}:
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        log.warning(
            "no spans are exported: OpenTelemetry is not installed",
            remedy="pip install '.[otel]' in the source directory",
        )
        return None
    exporter = _exporter(chosen, environment)
    return None if exporter is None else Tracer(_provider(exporter, environment))


def _exporter(chosen: str, environment: Mapping[str, str]) -> Any:
    """The exporter that a package registers under this name."""
    if chosen == "otlp":
        protocol = environment.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        chosen = f"otlp_proto_{'grpc' if protocol == 'grpc' else 'http'}"
    for entry in entry_points(group="opentelemetry_traces_exporter", name=chosen):
        try:
            kind = entry.load()
            if chosen == "console":
                return kind(formatter=lambda span: span.to_json(indent=None) + "\n")
            return kind()
        except Exception as error:  # noqa: BLE001 - an exporter must not stop the run
            log.warning("spans cannot be sent", exporter=chosen, error=type(error).__name__)
            return None
    log.warning("spans cannot be sent: no such exporter is installed", exporter=chosen)
    return None


def _provider(exporter: Any, environment: Mapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = environment.get("OTEL_SERVICE_NAME", "").strip() or "rogo_async"
    provider = TracerProvider(
        resource=Resource.create({"service.name": name}), shutdown_on_exit=False
    )
    queued = environment.get("OTEL_BSP_MAX_QUEUE_SIZE", "").strip()
    size = int(queued) if queued.isdecimal() else _QUEUED_SPANS
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=size))
    return provider
