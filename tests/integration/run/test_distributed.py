"""``run --workers`` and ``--scheduler``: the shards of a run on Dask workers (specification §7)."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
import pytest
from distributed import Client, Security

from rogo_async.demo.checks.check_run import check
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.ports import reserve_port
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.integration.run.test_collect import _UUID, _contents, _inserts_held_after, _lines
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import (
    DEADLINE_S,
    FAILED,
    NEW_INTERPRETER,
    STOPPING,
    RunningCommand,
    counts,
    run_cli,
    start_cli,
    summary,
)
from tests.support.codes import FIRST_RUN_CODES
from tests.support.dask_cluster import (
    TLS,
    dask_scheduler,
    dask_worker,
    other_machine,
    shards_below,
    tls_settings,
    until,
)

ROWS, SEED = int(os.environ.get("ROGO_TEST_ROWS", "120")), 7
LOCAL: Final = ("run", "--workers", "2", "--shards", "4")


async def test_two_workers_one_of_them_killed_equal_one_process(
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    dataset = generate_for(stack, workspace, ROWS, SEED)
    await load(dataset, stack, workspace)
    scenario, data_dir = Scenario(stack, workspace), workspace.data_dir
    before = await _contents(scenario)
    temporary = tmp_path_factory.mktemp("temporary")
    env = {**env, "ROGO_CONCURRENCY": "4"}
    async with start_cli(env, *LOCAL, prefix=NEW_INTERPRETER, TMPDIR=str(temporary)) as command:
        async with _inserts_held_after(scenario, 2) as wait:
            await wait()
            killed = await _kill_a_worker(command)
        result = await command.wait()
    assert result.code == 1, result.output
    assert not killed.is_running()
    begun = Counter(each["shard"] for each in result.events("shard begins"))
    assert sorted(begun) == ["0/4", "1/4", "2/4", "3/4"]
    assert begun.total() == 5
    [lost] = result.events("worker lost")
    assert lost["level"] == "warning"
    assert begun[lost["shard"]] == 2
    assert list(temporary.iterdir()) == []

    found = summary(data_dir)
    assert found["by_code"] == dict(dataset.by_code())
    assert set(found["by_code"]) == FIRST_RUN_CODES
    assert len(found["shards"]) == 4
    # The shard that was not killed lost its lock, too, and left the blobs of failed rows.
    assert (await run_cli(env, "sweep", "--delete", "--min-age", "0")).code == 0
    assert [each for each in await check(dataset, stack, workspace) if not each.ok] == []
    assert (await run_cli(env, "verify")).code == 0
    assert f"  {found['run_id']}  started " in (await run_cli(env, "status")).stdout
    distributed, failed = await _contents(scenario), (data_dir / FAILED).read_bytes()
    migrated = _without_ids(data_dir)

    rolled_back = await run_cli(env, "rollback", "--run", found["run_id"], "--yes")
    assert rolled_back.code == 0, rolled_back.output
    assert await _contents(scenario) == before
    assert (await run_cli(env)).code == 1
    assert await _contents(scenario) == distributed
    assert (data_dir / FAILED).read_bytes() == failed
    assert _without_ids(data_dir) == migrated
    in_one = summary(data_dir)
    for name in ("by_code", "rows_total", "migrated", "failed", "skipped"):
        assert found[name] == in_one[name], name


async def test_a_signal_drains_the_workers_and_a_second_one_ends_them(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = await _scenario(stack, workspace)
    env = {**env, "ROGO_CONCURRENCY": "1"}
    async with start_cli(env, *LOCAL, prefix=NEW_INTERPRETER) as command:
        await command.wait_for_event("inputs read")
        await until(lambda: bool(_local_workers(command)))
        _press_ctrl_c(command)  # a worker is starting
        early = await command.wait()
    assert early.code == 130, early.output
    assert await scenario.nothing_written()
    assert not early.events("internal error")

    async with start_cli(env, *LOCAL, prefix=NEW_INTERPRETER) as command:
        await until(lambda: bool(_local_workers(command)))
        _local_workers(command)[0].kill()
        not_started = await command.wait()
    assert not_started.code == 2, not_started.output
    assert "--workers 2: a worker ended while the workers were starting" in not_started.stdout

    async with start_cli(env, *LOCAL, prefix=NEW_INTERPRETER) as command:
        with scenario.source.held():
            await _requested(scenario, 2)
            _send_to_group(command, signal.SIGHUP)
            await command.wait_for_event(STOPPING)
        drained = await command.wait()
    assert drained.code == 129, drained.output
    migrated, failed, skipped, left = counts(scenario.data_dir)
    assert migrated == len(await scenario.attempts()) >= 2
    assert (failed, skipped) == (0, 0)
    assert migrated + left == 12
    assert left > 0
    assert "terminal closed (SIGHUP); run again to continue (shard " in drained.stdout
    by_shard = {each["shard"]: each for each in summary(scenario.data_dir)["shards"]}
    assert {each["exit_code"] for each in by_shard.values()} == {129}
    # Those that were not begun have their rows, too.
    assert [by_shard[f"{i}/4"]["rows_total"] for i in range(4)] == [3, 3, 3, 3]

    scenario.source.requests.clear()
    async with start_cli(env, *LOCAL, prefix=NEW_INTERPRETER) as command:
        with scenario.source.held():
            await _requested(scenario, 1)
            family = _family(command)
            _press_ctrl_c(command)
            await command.wait_for_event(STOPPING)
            _press_ctrl_c(command)
            ended = await command.wait()
            assert ended.code == 130
            assert "stopped at once by a second signal (SIGINT)" in ended.stdout
            _, alive = await asyncio.to_thread(psutil.wait_procs, family, DEADLINE_S)
            assert alive == []
    finished = await run_cli(env)
    assert finished.code == 0, finished.output
    await assert_consistent(scenario)
    assert await scenario.attempts() == list(range(1, 13))


async def test_the_workers_of_a_scheduler(
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Workers with directories of their own. One differs, one is stopped, the scheduler is lost."""
    scenario = await _scenario(stack, workspace)
    data_dir, address = scenario.data_dir, f"tls://127.0.0.1:{reserve_port()}"
    command = ("run", "--scheduler", address, "--shards", "3")
    env = {**env, "ROGO_CONCURRENCY": "1", **tls_settings(tmp_path_factory.mktemp("tls"))}
    machines = {
        name: other_machine(data_dir, tmp_path_factory.mktemp(f"machine_{name}")) for name in "abc"
    }
    async with contextlib.AsyncExitStack() as running:
        scheduler = await running.enter_async_context(dask_scheduler(address, env))
        worker = await running.enter_async_context(dask_worker(address, env, machines["a"]))
        await running.enter_async_context(dask_worker(address, env, machines["b"], "--no-nanny"))
        foreign = tmp_path_factory.mktemp("foreign") / "without.py"
        foreign.write_text("import sys; sys.modules['rogo_async'] = None")
        options = ("--no-nanny", "--preload", str(foreign), "--resources", "other=1")
        await running.enter_async_context(dask_worker(address, env, foreign.parent, *options))
        await _other_worker_refused(address, env, machines["c"], command)
        assert await scenario.nothing_written()

        async with start_cli(
            env, *command, "--limit", "8", "--refresh", prefix=NEW_INTERPRETER
        ) as distributed:
            with scenario.source.held():
                await _requested(scenario, 2)
                (child,) = shards_below(psutil.Process(worker.pid))
                worker.send_signal(signal.SIGTERM)
                await until(lambda: STOPPING in _logs(machines["a"]))
            done = await distributed.wait()
        assert done.code == 0, done.output
        assert not child.is_running()
        assert '"exit_code":143' in _logs(machines["a"])
        assert counts(data_dir) == (8, 0, 0, 0)
        assert len(done.events("shard begins")) == 4
        assert summary(data_dir)["selection"] == {"limit": 8}
        assert list(data_dir.glob(".rogo_async.*")) == [data_dir / ".rogo_async.lock"]

        scenario.source.requests.clear()
        async with start_cli(env, *command, prefix=NEW_INTERPRETER) as distributed:
            with scenario.source.held():
                await _requested(scenario, 1)
                scheduler.kill()
                lost = await distributed.wait()
        assert lost.code == 3
        assert "the connection to the Dask scheduler was lost. Run again" in lost.stdout
    finished = await run_cli(env)
    assert finished.code == 0, finished.output
    assert await scenario.attempts() == list(range(1, 13))
    await assert_consistent(scenario)


async def _other_worker_refused(
    address: str, env: Mapping[str, str], machine: Path, command: Sequence[str]
) -> None:
    """A third worker has another target, container, rule and input."""
    with (machine / "submission_files.csv").open("a", encoding="utf-8") as file:
        file.write("\n")
    other = {"ROGO_CONTAINER": "another", "ROGO_INSTANCE_ID": "another"}
    other["DATABASE_URL"] = env["DATABASE_URL"].replace("target_", "other_")
    async with dask_worker(address, {**env, **other}, machine, "--no-nanny"):
        async with _client(address, env) as client:
            await client.wait_for_workers(4, DEADLINE_S)
        refused = await run_cli(env, *command, prefix=NEW_INTERPRETER)
    assert refused.code == 2
    differ = ["container", "settings of the rules", "submission_files.csv", "target"]
    found = [each.partition(f" on {os.uname().nodename}: ")[2] for each in refused.messages]
    assert sorted(each.partition(":")[0] for each in found) == differ
    password = env["DATABASE_URL"].partition("@")[0].rpartition(":")[2]
    assert password not in refused.output


def _without_ids(data_dir: Path) -> list[str]:
    """The lines of migrated.csv."""
    return [_UUID.sub("", line) for line in _lines(data_dir)]


async def _scenario(stack: Stack, workspace: Workspace) -> Scenario:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 13)])
    return scenario


async def _requested(scenario: Scenario, files: int) -> None:
    """Wait until the source has received requests for this many files."""
    await until(lambda: len({path for _, path in scenario.source.requests}) >= files)


def _family(command: RunningCommand) -> list[psutil.Process]:
    return list(psutil.Process(command.process.pid).children(recursive=True))


def _local_workers(command: RunningCommand) -> list[psutil.Process]:
    """The workers on this machine."""
    return [each for each in _family(command) if "spawn_main" in " ".join(each.cmdline())]


def _press_ctrl_c(command: RunningCommand) -> None:
    _send_to_group(command, signal.SIGINT)


def _send_to_group(command: RunningCommand, number: signal.Signals) -> None:
    """Send a signal to its process group, as a terminal does, but not to this process."""
    for pid in (command.process.pid, *(each.pid for each in _family(command))):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == os.getpgid(command.process.pid):
                os.kill(pid, number)


async def _kill_a_worker(command: RunningCommand) -> psutil.Process:
    """Kill a worker that runs a shard. Returns the process of the shard."""
    child = shards_below(psutil.Process(command.process.pid))[0]
    parent = child.parent()
    assert parent is not None
    parent.kill()
    await asyncio.to_thread(child.wait, DEADLINE_S)
    return child


def _logs(machine: Path) -> str:
    return "".join(each.read_text() for each in machine.glob("shards/*/*/log.jsonl"))


def _client(address: str, env: Mapping[str, str]) -> Client:
    security = Security(
        require_encryption=True,
        tls_ca_file=env[f"{TLS}CA_FILE"],
        tls_client_cert=env[f"{TLS}CLIENT__CERT"],
        tls_client_key=env[f"{TLS}CLIENT__KEY"],
    )
    return Client(address, asynchronous=True, set_as_default=False, security=security)
