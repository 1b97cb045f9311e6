"""One run at a time per data directory and per target (specification §5)."""

import shutil

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import counts, run_cli, start_cli

SLOW_S = 3.0


async def test_a_second_run_on_the_same_directory_ends_at_once(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    scenario.serve_file("1.txt", b"slow", delay_s=SLOW_S)
    async with start_cli(env) as first:
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
    scenario.serve_file("1.txt", b"slow", delay_s=SLOW_S)
    elsewhere = workspace.data_dir / "elsewhere"
    elsewhere.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(workspace.data_dir / name, elsewhere / name)
    async with start_cli(env) as first:
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
    scenario.serve_file("1.txt", b"slow", delay_s=SLOW_S)
    async with start_cli(env) as first:
        await first.wait_for_event("migration begins")
        first.process.kill()
        await first.process.wait()
    scenario.serve_file("1.txt", b"quick")
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == [1]
    await assert_consistent(scenario)


async def test_a_run_that_loses_its_lock_stops_early_and_fails_nothing(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1), scenario.submission(2)])
    scenario.serve_file("2.txt", b"slow", delay_s=SLOW_S)
    async with start_cli(env, ROGO_CONCURRENCY="1") as first:
        await first.wait_for_event("migration begins")
        async with scenario.target() as target:
            ended = await target.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_locks "
                "WHERE locktype = 'advisory' AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        assert ended == 1
        result = await first.wait()
    assert result.code == 3
    assert "lost the connection that holds the run lock" in result.stdout
    _, failed, skipped, not_reached = counts(workspace.data_dir)
    assert (failed, skipped) == (0, 0)
    assert not_reached >= 1
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == [1, 2]
    await assert_consistent(scenario)
