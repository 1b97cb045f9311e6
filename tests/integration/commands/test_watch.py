"""``status --watch`` shows a run until it ends (specification §5)."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import DEADLINE_S, RunningCommand, run_cli, start_cli
from tests.support.terminal import on_terminal

ROWS = 5


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """The run waits for a file that its source cannot serve now."""
    made = Scenario(stack, workspace)
    await made.load(made.submission(attempt) for attempt in range(1, ROWS + 1))
    made.serve_file("1.txt", status=503)
    return made


@contextlib.asynccontextmanager
async def waiting_run(env: Mapping[str, str]) -> AsyncIterator[RunningCommand]:
    async with start_cli(env, ROGO_PROGRESS_INTERVAL="0.1") as run:
        await run.wait_for_event("outage began")
        yield run


@contextlib.asynccontextmanager
async def piped(
    env: Mapping[str, str], scenario: Scenario, *args: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rogo_async", "status", "--watch", *args),
        env={"PATH": os.environ["PATH"], **env},
        cwd=scenario.data_dir,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: asyncio.subprocess.Process, part: str) -> str:
    assert process.stdout is not None
    async for raw in process.stdout:
        if part in (line := raw.decode()):
            return line
    raise AssertionError(f"the command ended without {part!r}")


async def test_a_pipe_gets_a_line_for_each_change_until_the_run_ends(
    scenario: Scenario, env: dict[str, str]
) -> None:
    async with waiting_run(env) as run, piped(env, scenario, "0.1") as watch:
        line = await line_with(watch, "waiting for source")
        assert f"{ROWS - 1} of {ROWS} rows done ({ROWS - 1} migrated, 0 failed)" in line
        scenario.serve_file("1.txt")
        assert (await run.wait()).code == 0
        assert watch.stdout is not None
        rest = (await watch.stdout.read()).decode().splitlines()
        assert await watch.wait() == 0
    end = rest.index("the run has ended:")
    assert len(set(rest[:end])) == end
    assert f"exit 0: {ROWS} migrated, 0 failed" in rest[end + 1]
    assert rest[end + 2].startswith(f"target: {ROWS} submissions")
    assert rest[-1] == "rogo_async: exit 0"


async def test_a_killed_run_has_ended(scenario: Scenario, env: dict[str, str]) -> None:
    async with waiting_run(env) as run, piped(env, scenario, "0.1") as watch:
        await line_with(watch, "waiting for source")
        run.process.kill()
        await line_with(watch, "the run has ended:")
        assert "killed, or the machine went down" in await line_with(watch, "started")
        await line_with(watch, "exit 0")
        assert await watch.wait() == 0


async def test_without_a_run_the_status_follows_at_once(
    scenario: Scenario, env: dict[str, str]
) -> None:
    result = await run_cli(env, "status", "--watch")
    first, second, *_ = result.stdout.splitlines()
    assert first.startswith("nothing to watch: no run of this machine is in progress in ")
    assert (result.code, second.split(":")[0]) == (0, "target")
    result = await run_cli(env, "status", "--watch", "--json")
    assert result.code == 2
    assert "--watch and --json" in result.output


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
async def test_ctrl_c_ends_the_watch_and_not_the_run(
    scenario: Scenario, env: dict[str, str], terminal: str
) -> None:
    shown = bytearray()
    async with waiting_run(env) as run:
        process, controller = await on_terminal(
            {**env, "TERM": terminal}, scenario.data_dir, args=("status", "--watch", "0.1")
        )
        reader = asyncio.create_task(_read(controller, shown), name="terminal")
        try:
            async with asyncio.timeout(DEADLINE_S):
                while b"waiting for source" not in shown:
                    await asyncio.sleep(0.05)
                os.write(controller, b"\x03")
                assert await process.wait() == 130
                await reader
        finally:
            reader.cancel()
            os.close(controller)
        assert run.process.returncode is None
        scenario.serve_file("1.txt")
        assert (await run.wait()).code == 0
    assert shown.count(b"stopped watching, the run goes on; exit 130") == 1
    if terminal == "dumb":
        assert b"\x1b" not in shown
    else:
        hidden, visible = shown.rindex(b"\x1b[?25l"), shown.rindex(b"\x1b[?25h")
        assert hidden < visible < shown.rindex(b"stopped watching")


async def _read(controller: int, shown: bytearray) -> None:
    """Read the terminal until its command has ended."""
    with contextlib.suppress(OSError):
        while piece := await asyncio.to_thread(os.read, controller, 65_536):
            shown.extend(piece)
