"""Two concurrent runs (specification §5, invariants 2 and 3)."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import CliResult, counts, run_cli, start_cli, table
from tests.support.tcp_proxy import TcpProxy

ROWS: Final = 40
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
    for attempt in range(1, ROWS + 1):
        scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt, delay_s=0.3)
    other = env if same_dir else {**env, "ROGO_DATA_DIR": str(elsewhere(scenario))}
    first, second = await asyncio.gather(run_cli(env), run_cli(other))
    result: dict[int, CliResult] = {each.code: each for each in (first, second)}
    assert sorted(result) == [0, 4], (first.output, second.output)
    assert "another run" in result[4].output
    assert result[4].stdout == ""
    await sound_and_once(scenario, env)


async def cut_off_from_its_lock(target_db: str) -> None:
    """End only the session of the run lock."""
    administrator = await asyncpg.connect(target_db)
    try:
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND objsubid = 2 AND database = (SELECT oid FROM pg_database "
            "WHERE datname = current_database())"
        )
    finally:
        await administrator.close()


@pytest.mark.parametrize("stalled_in", ["upload", "insert"])
async def test_a_stalled_run_that_resumes_after_another_run_changes_nothing(
    scenario: Scenario, env: dict[str, str], target_db: str, stack: Stack, stalled_in: str
) -> None:
    """The run has lost its lock; its late writes must neither duplicate rows nor lose blobs."""
    port = stack.azurite.port if stalled_in == "upload" else stack.postgres.port
    name = STORE if stalled_in == "upload" else "DATABASE_URL"
    async with TcpProxy("127.0.0.1", port) as proxy:
        slow = {**env, name: env[name].replace(f"{port}", f"{proxy.port}")}
        async with start_cli(slow, ROGO_CONCURRENCY="8") as command:
            await command.wait_for_event("migration begins")
            proxy.delay_s = 20.0
            await asyncio.sleep(0.5)
            await cut_off_from_its_lock(target_db)
            other = {**env, "ROGO_DATA_DIR": str(elsewhere(scenario))}
            second = await run_cli(other)
            assert second.code == 0, second.output
            proxy.delay_s = 0.0
            first = await command.wait()
    if stalled_in == "upload":
        assert first.code == 3, first.output
        assert "lost the connection that holds the run lock" in first.stdout
    else:  # the news of its lock were late, too
        assert first.code in {0, 3}, first.output
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
