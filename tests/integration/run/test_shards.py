"""The shards of a distributed run: their locks, and a shard that is repeated (specification §7)."""

import asyncio
import json
import shutil
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.connector import OF_SHARD
from rogo_async.destination.postgres.connector import RUN as RUN_NAME
from rogo_async.destination.postgres.queries import query
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import CliResult, run_cli, start_cli, summary, table
from tests.support.target_sessions import LOCK_SESSIONS, end_sessions

RUN = "20990301T010000Z-0000000a"
OTHER_RUN = "20990301T010000Z-0000000b"
LATER_RUN = "20990302T010000Z-0000000a"
ROWS = 8
FIRST = [1, 2, 4, 5, 6, 8]
"""The attempts of shard 0/2. The other two belong to shard 1/2."""


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, ROWS + 1)])
    return made


def of_shard(env: dict[str, str], shard: str, run_id: str = RUN) -> dict[str, str]:
    return {**env, "ROGO_SHARD": shard, "ROGO_RUN_ID": run_id}


def shard_dir(data_dir: Path, shard: str, run_id: str = RUN) -> Path:
    return data_dir / "shards" / run_id / shard.replace("/", "-of-")


def shard_summary(data_dir: Path, shard: str) -> dict[str, Any]:
    text = (shard_dir(data_dir, shard) / "runs" / f"{RUN}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


async def test_shards_share_the_lock_and_exclude_everything_else(
    scenario: Scenario, env: dict[str, str]
) -> None:
    elsewhere = scenario.data_dir / "elsewhere"
    elsewhere.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(scenario.data_dir / name, elsewhere / name)
    there = ("--data-dir", str(elsewhere))
    async with AsyncExitStack() as stack, start_cli(of_shard(env, "0/2")) as first:
        with scenario.source.held():
            await first.wait_for_event("migration begins")
            refused = {
                "run": await run_cli(env, "run", *there),
                "sweep": await run_cli(env, "sweep", *there),
                "rollback": await run_cli(env, "rollback", "--yes", "--attempt", "1", *there),
                "other run": await run_cli(of_shard(env, "1/2", OTHER_RUN), "run", *there),
                "other count": await run_cli(of_shard(env, "1/3"), "run", *there),
                "same shard": await run_cli(of_shard(env, "0/2"), "run", *there),
                "same directory": await run_cli(of_shard(env, "0/2")),
            }
            second = await stack.enter_async_context(start_cli(of_shard(env, "1/2")))
            await second.wait_for_event("migration begins")
            status = await run_cli(env, "status")
            assert first.process.returncode is second.process.returncode is None
            await _end_both_locks(scenario)
            for each in (first, second):
                await each.wait_for_event("run lock taken again")
            await _sweep_and_rollback_would_wait(scenario)
        for each in (first, second):
            assert (await each.wait()).code == 0
    assert {name: each.code for name, each in refused.items()} == dict.fromkeys(refused, 4)
    for name in ("run", "sweep", "rollback", "other run", "other count"):
        assert "another run has held this target's lock since 20" in refused[name].output, name
    assert "has been running shard 0/2 of this run since 20" in refused["same shard"].output
    assert f"0-of-2: run {RUN} since 20" in refused["same directory"].output
    assert f" of {RUN} since " in status.stdout
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    assert not (scenario.data_dir / "migrated.csv").exists()
    await assert_consistent(scenario)


async def _sweep_and_rollback_would_wait(scenario: Scenario) -> None:
    """Also for a shard that has lost its lock and may still write."""
    sessions = query("run_sessions")
    names = sessions.arguments({"name": RUN_NAME, "of_shard": OF_SHARD})
    async with scenario.target() as target:
        assert await target.fetchval(sessions.sql, *names) >= 2


async def _end_both_locks(scenario: Scenario) -> None:
    async with scenario.target() as target:
        assert await end_sessions(target, LOCK_SESSIONS) == 2


async def test_a_run_in_one_process_excludes_shards(
    scenario: Scenario, env: dict[str, str]
) -> None:
    async with start_cli(env) as run:
        with scenario.source.held():
            await run.wait_for_event("migration begins")
            refused = await run_cli(of_shard(env, "0/2"))
            assert run.process.returncode is None
        assert refused.code == 4
        assert "another run has held this target's lock since 20" in refused.output
        assert (await run.wait()).code == 0


async def test_a_killed_shard_that_is_repeated_counts_what_it_had_migrated(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """First in an empty directory, as on another machine; then in the directory that it left.

    It keeps its directory, although a later run is the only one that ROGO_KEEP_RUNS keeps.
    """
    shard, attempts = "0/2", FIRST
    await _killed_midway(scenario, env, shard)
    written = len(await scenario.attempts())
    assert 0 < written < len(attempts)
    shutil.rmtree(scenario.data_dir / "shards")
    shard_dir(scenario.data_dir, shard, LATER_RUN).mkdir(parents=True)
    for _ in range(2):
        repeated = await run_cli(of_shard(env, shard), ROGO_KEEP_RUNS="1")
        _counts_all_as_migrated(repeated, scenario.data_dir, shard, attempts)
    other = await run_cli(of_shard(env, shard, OTHER_RUN))
    assert f"0 migrated, 0 failed (0 new), {len(attempts)} skipped" in other.stdout
    await assert_consistent(scenario)


async def _killed_midway(scenario: Scenario, env: dict[str, str], shard: str) -> None:
    held = scenario.source.held(*(f"/{attempt}.txt" for attempt in FIRST[:2]))
    async with start_cli(of_shard(env, shard), ROGO_CONCURRENCY="1") as command:
        with held:
            while not await scenario.attempts():
                assert command.process.returncode is None
                await asyncio.sleep(0.02)
            command.process.send_signal(signal.SIGKILL)
            assert (await command.wait()).code == -signal.SIGKILL


def _counts_all_as_migrated(
    result: CliResult, data_dir: Path, shard: str, attempts: list[int]
) -> None:
    assert result.code == 0, result.output
    found = shard_summary(data_dir, shard)
    assert (found["rows_total"], found["migrated"]) == (len(attempts), len(attempts))
    assert found["by_code"] == {}
    listed = table(shard_dir(data_dir, shard) / "migrated.csv")
    assert sorted(int(row["Attempt ID"]) for row in listed) == attempts
    assert all(row["Launch ID"].startswith(f"rogo_{row['Attempt ID']}_") for row in listed)


async def test_a_repeated_shard_counts_what_it_had_refreshed_and_all_of_it_can_be_undone(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """Which attempts it had refreshed only its journal tells."""
    assert (await run_cli(env)).code == 0
    before = await _grades(scenario)
    changed = [*FIRST[:2], 3]
    await _change_grades(scenario, "Merit", changed)
    refreshing = {**env, "ROGO_REFRESH": "true"}
    for _ in range(2):
        assert (await run_cli(of_shard(refreshing, "0/2"))).code == 0
        assert _refreshed(scenario.data_dir, "0/2") == (2, {"already_migrated": 4})
    assert (await run_cli(of_shard(refreshing, "1/2"))).code == 0
    assert (await run_cli(env, "collect", "--run", RUN)).code == 0
    assert summary(scenario.data_dir)["refreshed"] == 3
    assert [a for a, grade in (await _grades(scenario)).items() if grade == "Merit"] == changed
    undone = await run_cli(env, "rollback", "--run", RUN, "--yes")
    assert undone.code == 0, undone.output
    assert await _grades(scenario) == before

    for grade in ("Merit", "Distinction"):  # the source changes between two tries
        await _change_grades(scenario, grade, changed)
        assert (await run_cli(of_shard(refreshing, "0/2", OTHER_RUN))).code == 0
        assert [a for a, g in (await _grades(scenario)).items() if g == grade][:2] == changed[:2]
    _record_refresh_that_is_not_committed(shard_dir(scenario.data_dir, "0/2", OTHER_RUN))
    for text in ("of 2 refreshed submissions put back", "nothing to roll back"):
        undone = await run_cli(env, "rollback", "--run", OTHER_RUN, "--yes")  # not collected
        assert undone.code == 0, undone.output
        assert text in undone.output
        assert await _grades(scenario) == before

    shutil.rmtree(scenario.data_dir / "shards")
    assert (await run_cli(of_shard(refreshing, "0/2"))).code == 0
    shutil.rmtree(scenario.data_dir / "shards")
    assert (await run_cli(of_shard(refreshing, "0/2"))).code == 0
    assert _refreshed(scenario.data_dir, "0/2") == (0, {"already_migrated": 6})


def _record_refresh_that_is_not_committed(directory: Path) -> None:
    (journal,) = (directory / "runs").glob("*.journal.jsonl")
    last = json.loads(journal.read_text().splitlines()[-1])
    lost = {**last, "before": last["after"], "after": {**last["after"], "submission_grades": []}}
    with journal.open("a") as file:
        file.write(json.dumps(lost, separators=(",", ":")) + "\n")


async def _change_grades(scenario: Scenario, grade: str, attempts: list[int]) -> None:
    async with scenario.warehouse() as warehouse:
        await warehouse.execute(
            'UPDATE dbo."Rogo_AssessmentReport" SET "Grade" = $1 WHERE "AttemptId" = ANY($2)',
            grade,
            attempts,
        )


async def _grades(scenario: Scenario) -> dict[int, str]:
    async with scenario.target() as target:
        rows = await target.fetch(
            "SELECT split_part(s.lti_launch_id, '_', 2)::int AS attempt, g.final_grade "
            "FROM submission_grades g JOIN assignment_submissions s ON s.id = g.submission_id "
            "ORDER BY 1"
        )
    return {row["attempt"]: row["final_grade"] for row in rows}


def _refreshed(data_dir: Path, shard: str) -> tuple[int, dict[str, int]]:
    found = shard_summary(data_dir, shard)
    return found["refreshed"], found["by_code"]


async def test_a_run_id_without_a_shard_is_refused(scenario: Scenario, env: dict[str, str]) -> None:
    refused = await run_cli(env, ROGO_RUN_ID=RUN)
    assert refused.code == 2
    assert "ROGO_RUN_ID: is for the shards of a run. Set ROGO_SHARD, too" in refused.output
    nowhere = str(scenario.data_dir / "nowhere")
    missing = await run_cli(of_shard(env, "0/2"), "run", "--data-dir", nowhere)
    assert missing.code == 2
    assert f"{nowhere}/shards/{RUN}/0-of-2: cannot be created" in missing.output
    assert await scenario.nothing_written()
