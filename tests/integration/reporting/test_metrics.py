"""Prometheus metrics of a real run: file, port, and neither."""

import asyncio
import os
import socket
import stat
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, start_cli, summary

ROWS = 30
CANARY = "Canary"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"rogo_async_{name}", frozenset(labels.items())


def parsed(text: str) -> Samples:
    """Every sample by name and labels. Each family has help, and each sample is unique."""
    families = list(text_string_to_metric_families(text))
    assert families
    assert all(family.documentation for family in families)
    samples = [sample for family in families for sample in family.samples]
    found = {(s.name, frozenset(s.labels.items())): s.value for s in samples}
    assert len(found) == len(samples)
    return found


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Slow submissions; three of them fail."""
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        made.serve_file(f"{each.attempt}.txt", b"text", delay_s=0.2)
        each.cells.update({"First Name": CANARY, "Surname": CANARY})
    for each in submissions[:3]:
        each.cells["Learner Azure Blob URLs"] = made.serve_file(f"no{each.attempt}", status=404)
    await made.load(submissions)
    return made


async def test_the_metrics_file_agrees_with_the_summary(
    scenario: Scenario, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("textfile") / "rogo.prom"
    result = await run_cli(
        env, ROGO_METRICS_FILE=str(file), ROGO_CONCURRENCY="4", ROGO_PROGRESS_INTERVAL="0.2"
    )
    assert result.code == 1, result.output
    text = file.read_text()
    found, told = parsed(text), summary(scenario.data_dir)
    for status in ("migrated", "failed", "skipped"):
        assert found[key("rows_total", status=status)] == told[status]
    assert (
        found[key("rows_by_code_total", status="failed", code="source_file_missing")]
        == told["by_code"]["source_file_missing"]
        == 3
    )
    assert found[key("rows_selected")] == ROWS
    assert found[key("rows_failed_accepted")] == 0
    assert found[key("run_exit_code")] == 1
    assert found[key("submissions_in_flight")] == 0
    assert found[key("rows_per_second")] == 0
    begin, end = (
        found[key("run_start_timestamp_seconds")],
        found[key("run_finish_timestamp_seconds")],
    )
    assert begin < end
    assert found[key("last_success_timestamp_seconds")] == end
    for name, latency in told["latency_ms"].items():
        dependency, operation = name.split(".")
        labels = {"dependency": dependency, "operation": operation}
        duration = "call_duration_seconds"
        assert found[key(f"{duration}_count", **labels)] == latency["count"]
        assert found[key(f"{duration}_sum", **labels)] > 0
        for quantile, short in (("0.5", "p50"), ("0.95", "p95")):
            seconds = found[key(duration, quantile=quantile, **labels)]
            assert seconds * 1000 == pytest.approx(latency[short], abs=0.01)
    assert stat.S_IMODE(file.stat().st_mode) & 0o444 == 0o444
    assert [path.name for path in file.parent.iterdir()] == ["rogo.prom"]
    assert CANARY not in text
    assert "@" not in text
    documented = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text(encoding="utf-8")
    for name, _ in found:
        assert name.removesuffix("_count").removesuffix("_sum") in documented, name


async def test_the_metrics_file_is_updated_and_always_complete(
    scenario: Scenario, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("textfile") / "rogo.prom"
    seen: list[float] = []
    async with start_cli(
        env,
        ROGO_METRICS_FILE=str(file),
        ROGO_CONCURRENCY="2",
        ROGO_PROGRESS_INTERVAL="0.1",
        ROGO_WRITE_INTERVAL="0.1",
    ) as command:
        await command.wait_for_event("migration begins")
        while command.process.returncode is None:
            await asyncio.sleep(0.02)
            if file.exists():
                found = parsed(file.read_text())
                seen.append(found[key("rows_total", status="migrated")])
                if found.get(key("run_exit_code")) is None:
                    assert key("run_finish_timestamp_seconds") not in found
        result = await command.wait()
    assert result.code == 1, result.output
    assert seen == sorted(seen)
    assert len(set(seen)) >= 4
    assert seen[-1] == ROWS - 3


async def scraped(port: int, accept: str = "") -> tuple[str, str]:
    headers = {"Accept": accept} if accept else {}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as answer,
    ):
        assert answer.status == 200
        return await answer.text(), answer.headers["Content-Type"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_the_port_is_scraped_during_a_run(scenario: Scenario, env: dict[str, str]) -> None:
    port = free_port()
    async with start_cli(
        env, ROGO_METRICS_PORT=str(port), ROGO_CONCURRENCY="3", ROGO_WRITE_INTERVAL="0.1"
    ) as command:
        await command.wait_for_event("migration begins")
        in_flight: set[float] = set()
        migrated: set[float] = set()
        text = ""
        while len(migrated) < 4:
            text, kind = await scraped(port)
            found = parsed(text)
            in_flight.add(found[key("submissions_in_flight")])
            migrated.add(found[key("rows_total", status="migrated")])
            await asyncio.sleep(0.05)
        assert kind.startswith("text/plain; version=")
        assert max(in_flight) == 3
        assert key("run_exit_code") not in parsed(text)
        assert CANARY not in text
        modern, kind = await scraped(port, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text")
        families: Any = openmetrics.text_string_to_metric_families
        assert list(families(modern))
        await listens_on_loopback_alone(port)
        result = await command.wait()
    assert result.code == 1, result.output


async def listens_on_loopback_alone(port: int) -> None:
    """The kernel's table of listening sockets."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    local = [line.split()[1] for line in lines if line.split()[3] == "0A"]
    assert [address for address in local if address.endswith(f":{port:04X}")] == [
        f"0100007F:{port:04X}"
    ]
    assert f":{port:04X} " not in Path("/proc/net/tcp6").read_text()


async def test_a_port_in_use_does_not_stop_the_run(scenario: Scenario, env: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = await run_cli(env, ROGO_METRICS_PORT=str(taken.getsockname()[1]))
    assert result.code == 1, result.output
    (told,) = result.events("the metrics port cannot be opened; the run continues without it")
    assert told["reason"] == "Address already in use"


async def test_a_failed_start_is_published_and_keeps_the_last_success(
    scenario: Scenario, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("textfile") / "rogo.prom"
    assert (await run_cli(env)).code == 1
    finished = summary(scenario.data_dir)["finished_at"]
    broken = await run_cli(env, ROGO_METRICS_FILE=str(file), ROGO_CONTAINER="there-is-none")
    assert broken.code == 2, broken.output
    found = parsed(file.read_text())
    assert found[key("run_exit_code")] == 2
    assert found[key("last_success_timestamp_seconds")] == pytest.approx(
        seconds(finished), abs=0.001
    )
    assert found[key("run_finish_timestamp_seconds")] > seconds(finished)


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


async def test_a_locked_out_run_keeps_the_metrics_of_the_other(
    scenario: Scenario, env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("textfile") / "rogo.prom"
    elsewhere = tmp_path_factory.mktemp("other")
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        (elsewhere / name).write_bytes((scenario.data_dir / name).read_bytes())
    async with start_cli(env, ROGO_METRICS_FILE=str(file), ROGO_CONCURRENCY="1") as command:
        await command.wait_for_event("migration begins")
        rival = await run_cli(env, ROGO_METRICS_FILE=str(file), ROGO_DATA_DIR=str(elsewhere))
        assert rival.code == 4, rival.output
        assert key("run_exit_code") not in parsed(file.read_text())


async def test_invalid_settings_are_found_at_start(env: dict[str, str]) -> None:
    named = await run_cli(env, ROGO_METRICS_FILE="rogo.txt", ROGO_METRICS_PORT="70000")
    assert named.code == 2
    assert named.messages[0].startswith("rogo_async: ROGO_METRICS_FILE: must end with .prom")
    assert named.messages[1].startswith("rogo_async: ROGO_METRICS_PORT: ")
    placed = await run_cli(env, ROGO_METRICS_FILE="no/such/rogo.prom")
    assert placed.code == 2
    assert placed.messages == [
        "rogo_async: ROGO_METRICS_FILE: no/such/rogo.prom cannot be written: check its directory"
    ]


async def test_without_the_library_the_setting_is_rejected(
    env: dict[str, str],
) -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; "
        "from rogo_async.__main__ import run; run()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        env={"PATH": os.environ["PATH"], **env, "ROGO_METRICS_PORT": str(free_port())},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert b"pip install '.[metrics]' in the source directory, or unset them" in stderr
