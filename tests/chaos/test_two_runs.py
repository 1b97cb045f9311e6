"""Two concurrent runs (specification §5, invariants 2 and 3)."""

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Final

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import CliResult, counts, run_cli, start_cli, table
from tests.support.target_sessions import LOCK_SESSIONS, end_sessions
from tests.support.tcp_proxy import TcpProxy

ROWS: Final = 40
CONSUMERS: Final = 8
STORE: Final = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        if each.attempt % 4 == 0:
            each.report["Grade"] = "Malpractice Severe"
    await made.load(submissions)
    return made


def elsewhere(scenario: Scenario) -> Path:
    """Another data directory with the same input."""
    other = scenario.data_dir / "other"
    other.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(scenario.data_dir / name, other)
    return other


async def sound_and_once(scenario: Scenario, env: dict[str, str]) -> None:
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    assert len(await scenario.rows("malpractice_enforcements")) == ROWS // 4
    await assert_consistent(scenario)
    assert (await run_cli(env, "verify")).code == 0


@pytest.mark.parametrize("same_dir", [True, False])
async def test_of_two_simultaneous_runs_one_exits_with_4(
    scenario: Scenario, env: dict[str, str], *, same_dir: bool
) -> None:
    other = env if same_dir else {**env, "ROGO_DATA_DIR": str(elsewhere(scenario))}
    runs = [asyncio.create_task(run_cli(each), name="run") for each in (env, other)]
    with scenario.source.held():  # neither can end before the other has asked for the lock
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
    first, second = await asyncio.gather(*runs)
    result: dict[int, CliResult] = {each.code: each for each in (first, second)}
    assert sorted(result) == [0, 4], (first.output, second.output)
    assert "another run" in result[4].output
    assert result[4].stdout.splitlines() == result[4].messages
    await sound_and_once(scenario, env)


@pytest.mark.parametrize("stalled_in", ["upload", "insert"])
async def test_a_stalled_run_that_resumes_after_another_run_changes_nothing(
    scenario: Scenario, env: dict[str, str], stack: Stack, stalled_in: str
) -> None:
    """The run has lost its lock; its late writes must neither duplicate rows nor lose blobs.

    It is suspended while the other run works, or the news of its lock come late.
    """
    port = stack.azurite.port if stalled_in == "upload" else stack.postgres.port
    name = STORE if stalled_in == "upload" else "DATABASE_URL"
    async with TcpProxy("127.0.0.1", port) as proxy:
        slow = {**env, name: env[name].replace(f"{port}", f"{proxy.port}")}
        async with start_cli(slow, ROGO_CONCURRENCY=str(CONSUMERS)) as command:
            with scenario.source.held():
                await command.wait_for_event("migration begins")
                proxy.delay_s = 3600.0
            stored = CONSUMERS if stalled_in == "insert" else 0
            while not proxy.in_transit or len(await scenario.blobs()) < stored:
                await asyncio.sleep(0.02)
            if stalled_in == "upload":
                os.kill(command.process.pid, signal.SIGSTOP)
            async with scenario.target() as administrator:
                assert await end_sessions(administrator, LOCK_SESSIONS) == 1
            other = {**env, "ROGO_DATA_DIR": str(elsewhere(scenario))}
            second = await run_cli(other)
            assert second.code == 0, second.output
            proxy.delay_s = 0.0
            os.kill(command.process.pid, signal.SIGCONT)
            first = await command.wait()
    assert first.code == 0, first.output
    assert first.events("internal error") == []
    migrated, failed, skipped, not_reached = counts(scenario.data_dir)
    assert failed == 0
    assert migrated + skipped + not_reached == ROWS
    await sound_and_once(scenario, env)
    swept = await run_cli(env, "sweep", "--delete", "--min-age", "0")
    assert swept.code == 0, swept.output
    await sound_and_once(scenario, env)
    third = await run_cli(env)
    assert third.code == 0, third.output
    assert counts(scenario.data_dir) == (0, 0, ROWS, 0)
    assert len(table(scenario.data_dir / "migrated.csv")) == ROWS
