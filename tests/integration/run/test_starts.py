"""Every start of ``run`` leaves a line on both standard streams and a record (specification §2)."""

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import DEADLINE_S, STOPPING, run_cli, start_cli
from tests.support.terminal import on_terminal


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """One submission whose file takes long."""
    made = Scenario(stack, workspace)
    await made.load([made.submission(1)])
    made.serve_file("1.txt", b"slow", delay_s=60.0)
    return made


async def requested(scenario: Scenario) -> None:
    """Wait until the run requests the slow file."""
    async with asyncio.timeout(DEADLINE_S):
        while not scenario.source.requests:
            await asyncio.sleep(0.05)


async def states(env: dict[str, str]) -> list[tuple[str, str]]:
    """State and message of the starts without a summary, oldest first."""
    shown = await run_cli(env, "status", "--json")
    starts = json.loads(shown.stdout)["starts_without_summary"]
    return [(start["state"], start["message"]) for start in reversed(starts)]


async def test_refused_running_and_killed_runs_are_recorded(
    scenario: Scenario, env: dict[str, str]
) -> None:
    refused = await run_cli(env, "run", ROGO_CONCURRENCY="many")
    assert refused.code == 2
    assert refused.stdout.splitlines() == refused.messages != []
    async with start_cli(env) as first:
        await first.wait_for_event("migration begins")
        second = await run_cli(env)
        assert second.code == 4
        assert second.stdout.splitlines() == second.messages != []
        found = await states(env)
        assert [state for state, _ in found] == ["exit 2", "in progress", "exit 4"]
        assert found[0][1] == refused.messages[0].removeprefix("rogo_async: ")
        assert "another run is active" in found[2][1]
        first.process.kill()
        await first.process.wait()
    assert [state for state, _ in await states(env)][1] == "killed, or the machine went down"
    shown = (await run_cli(env, "status")).stdout
    assert "killed, or the machine went down" in shown
    assert "exit 4: another run is active" in shown


async def test_a_second_signal_prints_its_line_and_is_recorded(
    scenario: Scenario, env: dict[str, str]
) -> None:
    async with start_cli(env) as command:
        await requested(scenario)
        command.process.send_signal(signal.SIGINT)
        await command.wait_for_event(STOPPING)
        command.process.send_signal(signal.SIGINT)
        result = await command.wait()
    assert result.code == 130
    (line,) = result.stdout.splitlines()
    assert result.messages == [line]
    assert "stopped at once by a second signal (SIGINT); exit 130; run again" in line
    assert await states(env) == [("exit 130", line.removeprefix("rogo_async: "))]


async def test_a_second_ctrl_c_shows_the_cursor_again(
    scenario: Scenario, env: dict[str, str]
) -> None:
    log = scenario.data_dir / "run.log"
    settings = {**env, "TERM": "xterm", "ROGO_LOG_FILE": str(log)}
    process, controller = await on_terminal(settings, scenario.data_dir)
    shown = bytearray()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(OSError):  # the terminal is closed
            shown.extend(os.read(controller, 65536))

    loop.add_reader(controller, read)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await requested(scenario)
            while b"\x1b[?25l" not in shown:
                await asyncio.sleep(0.05)
            os.write(controller, b"\x03")
            while b"stopping: " not in shown:
                await asyncio.sleep(0.05)
            os.write(controller, b"\x03")
            while b"stopped at once" not in shown:
                await asyncio.sleep(0.05)
    finally:
        loop.remove_reader(controller)
        os.close(controller)
        await process.wait()
    assert shown.rindex(b"\x1b[?25l") < shown.rindex(b"\x1b[?25h") < shown.rindex(b"stopped at")
    assert shown.count(b"stopped at once") == 1


async def test_a_directory_without_a_migration_is_left_alone(
    env: dict[str, str], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for concurrency in ("many", "1"):
        result = await run_cli(env, ROGO_DATA_DIR=str(empty), ROGO_CONCURRENCY=concurrency)
        assert result.code == 2
    assert not (empty / "runs").exists()


async def test_a_name_that_is_not_utf8_keeps_the_exit_code(
    scenario: Scenario, env: dict[str, str]
) -> None:
    name = os.fsdecode(b"K\xf6ln.csv")
    result = await run_cli(env, "run", "--input", name)
    assert result.code == 2
    assert "Traceback" not in result.output
    assert [state for state, _ in await states(env)] == ["exit 2"]
    shown = await run_cli({**env, "ROGO_DATA_DIR": str(scenario.data_dir)}, "status", "--json")
    assert shown.code == 0
