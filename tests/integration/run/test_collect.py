"""A distributed run leaves what a run in one process leaves (specification §7)."""

import asyncio
import json
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rogo_async.common.shard import Shard
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import TABLES, Scenario
from tests.support.cli import FAILED, MIGRATED, SUMMARY, run_cli, start_cli, summary, table
from tests.support.codes import FIRST_RUN_CODES
from tests.support.target_sessions import end_sessions

RUN: Final = "20260301T010000Z-0000000a"
ROWS, SEED, SHARDS = int(os.environ.get("ROGO_TEST_ROWS", "120")), 7, 10
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_WRITING: Final = {
    "submission_marking_assignments": {"assigned_at"},
    "malpractice_enforcements": {"rule_applied_at", "created_at", "updated_at"},
}
"""Columns with the time of writing."""
_INPUTS: Final = ("submission_files.csv", "attempt_number_mapping.csv")
_KEY: Final = 4711
_SHARD_SESSIONS: Final = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND starts_with(application_name, 'rogo_async shard ')"
)


async def test_ten_shards_equal_one_process(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    dataset = generate_for(stack, workspace, ROWS, SEED)
    await load(dataset, stack, workspace)
    scenario, data_dir = Scenario(stack, workspace), workspace.data_dir
    before = await _contents(scenario)
    others = [_machine(data_dir, name) for name in ("b", "c", "single")]
    killed = await _killed_in_the_middle(scenario, dataset, env, others[0])
    codes = await asyncio.gather(
        *(_shard(env, index, others[1] if index == killed else data_dir) for index in range(SHARDS))
    )
    assert set(codes) <= {0, 1}

    incomplete = await run_cli(env, "collect", "--run", RUN)
    assert incomplete.code == 2
    assert f"no result of shard {killed}/{SHARDS} in {data_dir}" in incomplete.output
    assert not (data_dir / SUMMARY).exists()
    first = await _collected(env, data_dir, others[:2])
    again = await _collected(env, data_dir, others[:2])
    assert first == again

    found = summary(data_dir)
    assert found["by_code"] == dict(dataset.by_code())
    assert set(found["by_code"]) == FIRST_RUN_CODES
    assert [each["shard"] for each in found["shards"]] == [f"{i}/{SHARDS}" for i in range(SHARDS)]
    assert sum(each["migrated"] for each in found["shards"]) == found["migrated"]
    assert [each for each in await check(dataset, stack, workspace) if not each.ok] == []
    assert (await run_cli(env, "verify")).code == 0
    assert f"  {RUN}  started " in (await run_cli(env, "status")).stdout
    assert (await run_cli(env, "report", RUN)).code == 0
    distributed = await _contents(scenario)

    rolled_back = await run_cli(env, "rollback", "--run", RUN, "--yes")
    assert rolled_back.code == 0, rolled_back.output
    assert await _contents(scenario) == before

    single = {**env, "ROGO_DATA_DIR": str(others[2])}
    ended = await run_cli(single)
    assert ended.code == found["exit_code"] == 1, ended.output
    assert await _contents(scenario) == distributed
    assert (others[2] / FAILED).read_bytes() == first[FAILED]
    in_both = [
        [_UUID.sub("", line) for line in lines] for lines in (first[MIGRATED], _lines(others[2]))
    ]
    assert in_both[0] == in_both[1]
    in_one = summary(others[2])
    for name in ("by_code", "rows_total", "migrated", "failed", "failed_new", "skipped"):
        assert found[name] == in_one[name], name
    assert found["files"] < in_one["files"]  # without those of the first try


def _machine(data_dir: Path, name: str) -> Path:
    """Another data directory with the same inputs, and with nothing else."""
    made = data_dir / name
    made.mkdir()
    for each in _INPUTS:
        shutil.copy(data_dir / each, made / each)
    return made


async def _shard(env: dict[str, str], index: int, data_dir: Path) -> int:
    result = await run_cli(_env_of(env, index, data_dir))
    return result.code


def _env_of(env: dict[str, str], index: int, data_dir: Path) -> dict[str, str]:
    own = {"ROGO_SHARD": f"{index}/{SHARDS}", "ROGO_RUN_ID": RUN, "ROGO_CONCURRENCY": "4"}
    return {**env, **own, "ROGO_DATA_DIR": str(data_dir)}


async def _killed_in_the_middle(
    scenario: Scenario, dataset: Dataset, env: dict[str, str], data_dir: Path
) -> int:
    """Kill the shard with the most submissions after its first two. Returns its number."""
    attempts = [each.attempt for each in dataset.submissions()]
    index = max(range(SHARDS), key=lambda i: sum(Shard(i, SHARDS).owns(a, 0) for a in attempts))
    shard_env = _env_of(env, index, data_dir)
    async with _inserts_held_after(scenario, 2) as wait, start_cli(shard_env) as command:
        await wait()
        command.process.send_signal(signal.SIGKILL)
        assert (await command.wait()).code == -signal.SIGKILL
    return index


@asynccontextmanager
async def _inserts_held_after(scenario: Scenario, number: int) -> AsyncIterator[Any]:
    """In this block the inserts after the first ``number`` wait in the target."""
    async with scenario.target() as holder, scenario.target() as observer:
        count = await holder.fetchval("SELECT count(*) FROM lti_launch_sessions")
        await holder.execute(f"SELECT pg_advisory_lock({_KEY})")
        await holder.execute(
            "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF (SELECT count(*) FROM lti_launch_sessions) >= {count + number} THEN "
            f"PERFORM pg_advisory_xact_lock({_KEY}); END IF; RETURN NEW; END $$; "
            "CREATE TRIGGER hold BEFORE INSERT ON lti_launch_sessions "
            "FOR EACH ROW EXECUTE FUNCTION hold()"
        )

        async def wait() -> None:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND objid = $1"
            while not await observer.fetchval(waiting, _KEY):
                await asyncio.sleep(0.02)

        yield wait
        await end_sessions(observer, _SHARD_SESSIONS)
        # A shard that was not killed has connected again, and waits with its table locked.
        await holder.execute(f"SELECT pg_advisory_unlock({_KEY})")
        await holder.execute("DROP FUNCTION hold CASCADE")
        written = await holder.fetchval("SELECT count(*) FROM lti_launch_sessions")
        assert written >= count + number  # inserts at the same time do not see each other


async def _collected(env: dict[str, str], data_dir: Path, others: Iterable[Path]) -> dict[str, Any]:
    """The files after a collection, whose exit code is that of the run."""
    result = await run_cli(env, "collect", "--run", RUN, *map(str, others))
    assert result.code == 1, result.output
    assert f"run {RUN}, {SHARDS} shards: " in result.stdout
    names = [SUMMARY, FAILED, "failures_by_assessment.csv", f"runs/{RUN}.journal.jsonl"]
    names.append(f"runs/{RUN}.timeline.jsonl")
    files: dict[str, Any] = {name: (data_dir / name).read_bytes() for name in names}
    assert json.loads(files[SUMMARY])["run_id"] == RUN
    return {**files, MIGRATED: _lines(data_dir)}


def _lines(data_dir: Path) -> list[str]:
    return sorted(",".join(row.values()) for row in table(data_dir / MIGRATED))


async def _contents(scenario: Scenario) -> dict[str, list[str]]:
    """Rows and blobs without ids and times of writing."""
    found = {
        name: sorted(
            _UUID.sub("", str({k: v for k, v in row.items() if k not in _left_out(name)}))
            for row in await scenario.rows(name)
        )
        for name in TABLES
    }
    async with scenario.container() as container:
        found["blobs"] = sorted(
            [
                f"{_UUID.sub('', blob.name)} {blob.size} {blob.content_settings.content_md5!r}"
                async for blob in container.list_blobs()
            ]
        )
    return found


def _left_out(name: str) -> set[str]:
    return _OF_WRITING.get(name, set())


async def test_a_selection_is_collected_also_while_the_target_is_down(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    """The newest rows are selected first, then divided. Only migrated.csv needs the target."""
    scenario, data_dir = Scenario(stack, workspace), workspace.data_dir
    broken = scenario.submission(9)
    broken.cells["Learner Email"] = ""
    await scenario.load([*(scenario.submission(attempt) for attempt in range(1, 9)), broken])
    for shard in ("0/2", "1/2"):
        own = {"ROGO_SHARD": shard, "ROGO_RUN_ID": RUN}
        assert (await run_cli({**env, **own}, "run", "--limit", "4")).code in {0, 1}
    assert await scenario.attempts() == [6, 7, 8]
    down = {"DATABASE_URL": "postgresql://u:p@127.0.0.1:9/none", "ROGO_OUTAGE_LIMIT": "1s"}
    refused = await run_cli({**env, **down}, "collect", "--run", RUN)
    assert "targets differ" not in refused.output
    assert refused.code == 3, refused.output
    assert "3 migrated, 1 failed (1 new), 0 skipped" in refused.stdout
    assert "collect again" in refused.stdout
    assert not (data_dir / MIGRATED).exists()
    assert (await run_cli(env, "collect", "--run", RUN)).code == 1
    assert sorted(int(row["Attempt ID"]) for row in table(data_dir / MIGRATED)) == [6, 7, 8]
    found = summary(data_dir)
    assert (found["selection"], found["rows_total"]) == ({"limit": 4}, 4)
    assert not (data_dir / FAILED).exists()
    assert [row["Attempt ID"] for row in table(data_dir / f"runs/{RUN}.failed.csv")] == ["9"]
