"""A distributed run on two hosts, whose network is cut (specification §7)."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

import pytest

from rogo_async.demo.servers.ports import reserve_port
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import RunningCommand, counts, run_cli, start_cli
from tests.support.dask_cluster import (
    dask_scheduler,
    dask_worker,
    other_machine,
    tls_settings,
    until,
)
from tests.support.namespaces import Network, reason_to_skip, servers_of, two_hosts

ROWS: Final = 20
SHARDS: Final = 4
SHORTEST_PATIENCE: Final = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}
"""After this time without an answer a connection of Dask is lost. It takes no shorter one."""
CUT_S: Final = float(os.environ.get("ROGO_TEST_CUT_S", "3"))
"""Length of the first cut."""


async def test_cuts_between_the_hosts_cost_time_and_nothing_else(
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """After the second cut a host counts as lost. Its shard goes on and is counted once."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    scenario = await _scenario(stack, workspace)
    env |= SHORTEST_PATIENCE
    async with _run_on_two_hosts(scenario, env, tmp_path_factory) as (command, network):
        with scenario.source.held():
            await _both_hosts_work(scenario)
            network.cut()
            await asyncio.sleep(CUT_S)
            network.join()
            await asyncio.sleep(CUT_S)
            network.cut()
        begun: Counter[str] = Counter()

        def again(entry: dict[str, str]) -> bool:
            begun[entry["shard"]] += 1
            return begun[entry["shard"]] > 1

        await command.wait_for_event("shard begins", again)
        network.join()
        result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    await assert_consistent(scenario)
    assert (await run_cli(env, "verify")).code == 0


async def _scenario(stack: Stack, workspace: Workspace) -> Scenario:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(attempt) for attempt in range(1, ROWS + 1)])
    return scenario


@contextlib.asynccontextmanager
async def _run_on_two_hosts(
    scenario: Scenario, env: dict[str, str], directories: pytest.TempPathFactory
) -> AsyncIterator[tuple[RunningCommand, Network]]:
    """The operator, the scheduler and a worker on one host, and a worker on the other."""
    stack, data_dir = scenario.stack, scenario.data_dir
    env = {**env, "ROGO_CONCURRENCY": "1", **tls_settings(directories.mktemp("tls"))}
    away = other_machine(data_dir, directories.mktemp("away"))
    async with contextlib.AsyncExitStack() as running:
        network = running.enter_context(two_hosts())
        here, there = network.hosts
        ports = stack.postgres.port, stack.azurite.port, scenario.source.port
        await running.enter_async_context(servers_of(network.hosts, ports))
        address = f"tls://{here.address}:{reserve_port()}"
        await running.enter_async_context(dask_scheduler(address, env, prefix=here.prefix))
        for host, directory in ((here, data_dir), (there, away)):
            await running.enter_async_context(
                dask_worker(address, env, directory, host=host.address, prefix=host.prefix)
            )
        command = ("run", "--scheduler", address, "--shards", str(SHARDS))
        async with start_cli(env, *command, prefix=here.prefix) as operator:
            yield operator, network


async def _both_hosts_work(scenario: Scenario) -> None:
    """Wait until the consumers of two shards have asked for a file."""
    await until(lambda: len({path for _, path in scenario.source.requests}) >= 2)
