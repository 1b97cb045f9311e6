"""What happens after the work is done never changes the result of a run (specification §5)."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.reporting.starts import read_starts
from tests.support.builders import Scenario
from tests.support.cli import DEADLINE_S, RunningCommand, counts, start_cli, summary
from tests.support.terminal import on_terminal

CRASH_LAUNCHER = Path(__file__).parents[2] / "chaos" / "crash_launcher.py"
STOPPING = "stopping: finishing the work in progress; a second signal stops immediately"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Three rows; one fails."""
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in (1, 2, 3)]
    submissions[0].cells["Learner Email"] = ""
    await made.load(submissions)
    return made


@contextlib.asynccontextmanager
async def run_with_its_summary(
    scenario: Scenario, env: dict[str, str]
) -> AsyncIterator[tuple[RunningCommand, Path]]:
    """A run that has written its summary, and waits to write its report into a pipe."""
    async with contextlib.AsyncExitStack() as stack:
        with scenario.source.held():
            run = await stack.enter_async_context(start_cli(env, "run", "--report"))
            run_id = (await run.wait_for_event("migration begins"))["run_id"]
            pipe = scenario.data_dir / "runs" / f"{run_id}.html.new"
            os.mkfifo(pipe)
        async with asyncio.timeout(DEADLINE_S):
            while not (scenario.data_dir / "run_summary.json").exists():
                await asyncio.sleep(0.02)
        yield run, pipe


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_after_the_summary_changes_no_exit_code(
    scenario: Scenario, env: dict[str, str], number: signal.Signals
) -> None:
    async with run_with_its_summary(scenario, env) as (run, pipe):
        run.process.send_signal(number)
        await run.wait_for_event(STOPPING)
        reader = asyncio.create_task(asyncio.to_thread(pipe.read_bytes), name="reader")
        result = await run.wait()
        await reader
    found = summary(scenario.data_dir)
    assert (result.code, found["exit_code"], found["stopped_by"]) == (1, 1, {})
    assert counts(scenario.data_dir) == (2, 1, 0, 0)
    (line,) = result.stdout.splitlines()
    assert "2 migrated, 1 failed" in line
    (start,) = read_starts(scenario.data_dir / "runs")
    assert (start.exit_code, line) == (1, f"rogo_async: {start.message}")


async def test_a_second_signal_after_the_summary_ends_at_once_with_its_line(
    scenario: Scenario, env: dict[str, str]
) -> None:
    async with run_with_its_summary(scenario, env) as (run, _):
        run.process.send_signal(signal.SIGTERM)
        await run.wait_for_event(STOPPING)
        run.process.send_signal(signal.SIGTERM)
        result = await run.wait()
    assert result.code == 143
    assert "stopped at once by a second signal (SIGTERM)" in result.stdout
    assert summary(scenario.data_dir)["exit_code"] == 1
    (start,) = read_starts(scenario.data_dir / "runs")
    assert start.exit_code == 143


@pytest.mark.parametrize(
    "where",
    [
        "rogo_async.pipeline.run:end_table",
        "rogo_async.reporting.run_display:RunDisplay.lines",
    ],
)
async def test_a_display_that_fails_changes_no_result(
    scenario: Scenario, env: dict[str, str], where: str
) -> None:
    log = scenario.data_dir / "run.log"
    process, controller = await on_terminal(
        {**env, "TERM": "xterm", "ROGO_LOG_FILE": str(log)},
        scenario.data_dir,
        *(sys.executable, str(CRASH_LAUNCHER), where),
        args=("run",),
    )
    shown = bytearray()
    try:
        with contextlib.suppress(OSError):  # the terminal is closed
            async with asyncio.timeout(DEADLINE_S):
                while piece := await asyncio.to_thread(os.read, controller, 65_536):
                    shown.extend(piece)
    finally:
        os.close(controller)
    assert await process.wait() == 1, shown.decode()
    assert summary(scenario.data_dir)["exit_code"] == 1
    assert counts(scenario.data_dir) == (2, 1, 0, 0)
    assert b"rogo_async: 2 migrated, 1 failed" in shown
    if where.endswith("end_table"):
        assert "the table cannot be shown" in log.read_text()
