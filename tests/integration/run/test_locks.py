"""One run at a time per data directory and per target (specification §5)."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.lock_claims import LOCK_KEY
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import RunningCommand, counts, run_cli, start_cli, summary
from tests.support.target_sessions import (
    LOCK_SESSIONS,
    RUN_SESSIONS,
    end_sessions,
    held_inserts,
)
from tests.support.tcp_proxy import TcpProxy


async def test_a_second_run_on_the_same_directory_ends_at_once(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    async with start_cli(env) as first:
        with scenario.source.held():
            await first.wait_for_event("inputs read")
            second = await run_cli(env)
            assert first.process.returncode is None
        assert second.code == 4
        (line,) = second.messages
        assert f"another run is active in {workspace.data_dir}: run " in line
        assert " since 20" in line
        assert (await first.wait()).code == 0
    assert counts(workspace.data_dir) == (1, 0, 0, 0)


async def test_a_second_run_on_the_same_target_ends_at_once(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    elsewhere = workspace.data_dir / "elsewhere"
    elsewhere.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(workspace.data_dir / name, elsewhere / name)
    async with start_cli(env) as first:
        with scenario.source.held():
            await first.wait_for_event("migration begins")
            second = await run_cli(env, "run", "--data-dir", str(elsewhere))
            assert first.process.returncode is None
        assert second.code == 4
        (line,) = second.messages
        assert "another run has held this target's lock since 20" in line
        assert not (elsewhere / "migrated.csv").exists()
        assert (await first.wait()).code == 0
    assert await scenario.attempts() == [1]
    await assert_consistent(scenario)


async def test_a_killed_run_releases_the_lock(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    with scenario.source.held():
        async with start_cli(env) as first:
            await first.wait_for_event("migration begins")
            first.process.kill()
            await first.process.wait()
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == [1]
    await assert_consistent(scenario)


ROWS: Final = 6


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, ROWS + 1)])
    return made


def is_hold(number: int, entry: dict[str, Any]) -> bool:
    return bool(entry["hold"] == number)


@pytest.mark.parametrize("sessions", [LOCK_SESSIONS, RUN_SESSIONS])
async def test_a_run_that_loses_its_lock_takes_it_again_and_goes_on(
    scenario: Scenario, env: dict[str, str], sessions: str
) -> None:
    async with start_cli(env, ROGO_CONCURRENCY="1") as command, scenario.target() as target:
        with scenario.source.held():
            await command.wait_for_event("migration begins")
            for number in (2, 3):
                assert await end_sessions(target, sessions)
                await command.wait_for_event("run lock taken again", partial(is_hold, number))
        result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    reasons = [outage["reason"] for outage in summary(scenario.data_dir)["outages"]]
    assert "lost the connection that holds the run lock" in reasons
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    await assert_consistent(scenario)
    assert (await run_cli(env, "verify")).code == 0


async def test_a_run_whose_lock_another_run_has_taken_ends(
    scenario: Scenario, env: dict[str, str]
) -> None:
    async with (
        start_cli(env, ROGO_CONCURRENCY="1") as command,
        scenario.target() as target,
        scenario.target() as other_run,
    ):
        with scenario.source.held():
            await command.wait_for_event("migration begins")
            key = "pg_advisory_lock($1::int, $2::int)"
            waiting = asyncio.create_task(
                other_run.execute(f"SELECT {key}", LOCK_KEY["class"], LOCK_KEY["object"])
            )
            while not await target.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ):
                await asyncio.sleep(0.02)
            assert await end_sessions(target, LOCK_SESSIONS) == 1
            await waiting
        result = await command.wait()
    assert result.code == 3, result.output
    assert "lost the connection that holds the run lock, and another run has" in result.stdout
    assert await scenario.attempts() == []
    assert counts(scenario.data_dir) == (0, 0, 0, ROWS)
    assert (await run_cli(env)).code == 0
    await assert_consistent(scenario)


@asynccontextmanager
async def stalled_before_its_inserts(
    scenario: Scenario, env: dict[str, str]
) -> AsyncIterator[RunningCommand]:
    """A run that has stored its blobs, stands still, and has lost all its sessions.

    One insert was sent; the others wait for the only connection of the pool.
    """
    async with (
        start_cli(env, ROGO_CONCURRENCY=str(ROWS), ROGO_PG_POOL_SIZE="1") as command,
        scenario.target() as administrator,
    ):
        with scenario.source.held():
            await command.wait_for_event("migration begins")
            holding = AsyncExitStack()
            inserts = await holding.enter_async_context(held_inserts(scenario))
        async with holding:
            await inserts.wait_for(1)
            while len(await scenario.blobs()) < ROWS:
                await asyncio.sleep(0.02)
            os.kill(command.process.pid, signal.SIGSTOP)
            assert await end_sessions(administrator, RUN_SESSIONS) >= 2
        yield command


async def test_what_another_run_wrote_during_a_standstill_is_skipped(
    scenario: Scenario, env: dict[str, str]
) -> None:
    elsewhere = scenario.data_dir / "elsewhere"
    elsewhere.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(scenario.data_dir / name, elsewhere / name)
    async with stalled_before_its_inserts(scenario, env) as command:
        some = [f"--attempt={attempt}" for attempt in range(1, ROWS)]
        other = await run_cli(env, "run", "--data-dir", str(elsewhere), *some)
        assert other.code == 0, other.output
        os.kill(command.process.pid, signal.SIGCONT)
        result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (1, 0, ROWS - 1, 0)
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": ROWS - 1}
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    assert (await run_cli(env, "verify")).code == 0
    assert (await run_cli(env, "sweep", "--delete", "--min-age", "0")).code == 0
    await assert_consistent(scenario)
    assert (await run_cli(env, "verify")).code == 0


async def test_blobs_that_were_swept_during_a_standstill_are_stored_again(
    scenario: Scenario, env: dict[str, str]
) -> None:
    elsewhere = scenario.data_dir / "elsewhere"
    elsewhere.mkdir()
    async with stalled_before_its_inserts(scenario, env) as command:
        swept = await run_cli(
            env, "sweep", "--delete", "--min-age", "0", "--data-dir", str(elsewhere)
        )
        assert f"{ROWS} deleted" in swept.stdout, swept.output
        assert await scenario.blobs() == []
        os.kill(command.process.pid, signal.SIGCONT)
        result = await command.wait()
    # The outcome of the insert that was sent is unknown.
    assert result.code == 3, result.output
    assert counts(scenario.data_dir) == (ROWS - 1, 0, 0, 1)
    assert (await run_cli(env, "verify")).code == 0
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    await assert_consistent(scenario)
    assert (await run_cli(env, "verify")).code == 0


async def test_a_sweep_that_loses_its_lock_ends(
    scenario: Scenario, env: dict[str, str], target_db: str
) -> None:
    """It deletes, and does not go on when it may not be alone."""
    port = scenario.stack.azurite.port
    name = "AZURE_STORAGE_CONNECTION_STRING"
    async with TcpProxy("127.0.0.1", port) as proxy:
        proxied = {**env, name: env[name].replace(f":{port}/", f":{proxy.port}/")}
        proxy.delay_s = 2.0
        async with start_cli(proxied, "sweep", "--delete", "--min-age", "0") as command:
            async with scenario.target() as target:
                while not await end_sessions(target, LOCK_SESSIONS):
                    assert command.process.returncode is None
                    await asyncio.sleep(0.02)
            result = await command.wait()
    assert result.code == 3, result.output
    assert "lost the connection that holds the run lock" in result.stdout
