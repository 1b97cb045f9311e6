"""Spans of a real run, for each exporter, and none by default."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.pipeline.tracing import open_tracer
from tests.support.builders import Scenario
from tests.support.cli import run_cli, summary

ROWS = 8
CANARY = "Canary"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Submissions; the first one has no file."""
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        made.serve_file(f"{each.attempt}.txt", b"text", delay_s=0.1)
        for name in ("First Name", "Surname", "Course Title", "Learner File Names"):
            each.cells[name] = f"{CANARY}.txt"
    submissions[0].cells["Learner Azure Blob URLs"] = made.serve_file("missing", status=404)
    await made.load(submissions)
    return made


class Collector:
    """An OTLP collector, and the requests that it received."""

    def __init__(self) -> None:
        self.raw = b""
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw += body
        found = ExportTraceServiceRequest.FromString(body)
        for group in found.resource_spans:
            attributes = group.resource.attributes
            self.resources.append({pair.key: pair.value.string_value for pair in attributes})
            self.spans += [span for scope in group.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", made.take)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


async def test_each_submission_and_its_stages_have_spans(
    scenario: Scenario, env: dict[str, str], collector: Collector
) -> None:
    result = await run_cli(
        env,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
        OTEL_SERVICE_NAME="nightly",
    )
    assert result.code == 1, result.output
    spans = {span.span_id: span for span in collector.spans}
    roots = [span for span in spans.values() if not span.parent_span_id]
    assert {span.name for span in roots} == {"submission"}
    by_attempt = {attributes(span)["rogo.attempt"]: span for span in roots}
    assert sorted(by_attempt) == list(range(1, ROWS + 1))
    assert attributes(by_attempt[1]) == {
        "rogo.attempt": 1,
        "rogo.outcome": "failed",
        "rogo.code": "source_file_missing",
    }
    assert by_attempt[1].status.code == 2
    for attempt in range(2, ROWS + 1):
        root = by_attempt[attempt]
        assert attributes(root) == {"rogo.attempt": attempt, "rogo.outcome": "migrated"}
        assert root.status.code == 0
        family = [span for span in spans.values() if span.trace_id == root.trace_id]
        assert {
            span.name: spans[span.parent_span_id].name for span in family if span is not root
        } == {
            "files": "submission",
            "insert": "submission",
            "source.get": "files",
            "source.read": "files",
            "store.put": "files",
            "target.insert": "insert",
        }
        for span in family:
            parent = spans.get(span.parent_span_id, span)
            assert parent.start_time_unix_nano <= span.start_time_unix_nano
            assert span.start_time_unix_nano < span.end_time_unix_nano
            assert span.end_time_unix_nano <= parent.end_time_unix_nano
        (files,) = (span for span in family if span.name == "files")
        assert files.end_time_unix_nano - files.start_time_unix_nano >= 100_000_000
        assert abs(files.end_time_unix_nano / 1e9 - time.time()) < 600
    nobody_is_named(collector, env)


def nobody_is_named(collector: Collector, env: dict[str, str]) -> None:
    """The attempt is the only identifier."""
    assert collector.resources[0]["service.name"] == "nightly"
    assert {key.partition(".")[0] for key in collector.resources[0]} == {"service", "telemetry"}
    assert {key for span in collector.spans for key in attributes(span)} == {
        "rogo.attempt",
        "rogo.outcome",
        "rogo.code",
        "rogo.calls",
    }
    for secret in (CANARY, "college.example", env["AZURE_STORAGE_CONNECTION_STRING"][-30:]):
        assert secret.encode() not in collector.raw
    assert not [event for span in collector.spans for event in span.events]


async def test_spans_can_be_printed(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, OTEL_TRACES_EXPORTER="console")
    assert result.code == 1, result.output
    *lines, last = result.stdout.splitlines()
    assert last.startswith("rogo_async: 7 migrated, 1 failed")
    spans = [json.loads(line) for line in lines]
    assert sorted(
        span["attributes"]["rogo.attempt"] for span in spans if not span["parent_id"]
    ) == (list(range(1, ROWS + 1)))


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "console"},
        {"OTEL_TRACES_EXPORTER": " ", "OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_no_tracer_by_default(environment: dict[str, str]) -> None:
    assert open_tracer(environment) is None


async def test_a_collector_that_is_down_does_not_stop_the_run(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """A collector that listens and never answers."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    result = await run_cli(env, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    server.close()
    await server.wait_closed()
    assert result.code == 1, result.output
    assert summary(scenario.data_dir)["migrated"] == ROWS - 1
    (told,) = result.events("the last spans could not be sent in time")
    assert told["seconds"] == 5


def test_an_unknown_exporter_is_rejected() -> None:
    with structlog.testing.capture_logs() as logged:
        assert open_tracer({"OTEL_TRACES_EXPORTER": "carrier-pigeon"}) is None
    (told,) = logged
    assert told["event"] == "spans cannot be sent: no such exporter is installed"
    assert told["exporter"] == "carrier-pigeon"
