"""Unreachable servers: the run waits for them and fails no row (invariant 6)."""

import asyncio

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import FAILED, counts, run_cli, start_cli, summary, table
from tests.support.tcp_proxy import TcpProxy

SETTINGS = {
    "target": "DATABASE_URL",
    "warehouse": "DATA_WAREHOUSE_CONNECTION_STRING",
    "store": "AZURE_STORAGE_CONNECTION_STRING",
}
LIMIT_S = 5


def port_of(stack: Stack, server: str) -> int:
    return stack.azurite.port if server == "store" else stack.postgres.port


def proxy_for(stack: Stack, server: str) -> TcpProxy:
    return TcpProxy("127.0.0.1", port_of(stack, server))


def through(proxy: TcpProxy, env: dict[str, str], server: str, stack: Stack) -> dict[str, str]:
    """The scenario with one server behind the proxy."""
    name = SETTINGS[server]
    return {**env, name: env[name].replace(str(port_of(stack, server)), str(proxy.port))}


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, 41)])
    return made


@pytest.mark.parametrize("how", ["closed", "silent"])
@pytest.mark.parametrize("server", SETTINGS)
async def test_a_server_unreachable_at_start_ends_the_run_early(
    stack: Stack, scenario: Scenario, env: dict[str, str], server: str, how: str
) -> None:
    async with proxy_for(stack, server) as proxy:
        proxy.refuse = how == "closed"
        proxy.black_hole = how == "silent"
        result = await run_cli(through(proxy, env, server, stack), ROGO_OUTAGE_LIMIT=str(LIMIT_S))
    assert result.code == 3, result.output
    assert f"{server} unreachable for {LIMIT_S} s" in result.stdout
    assert SETTINGS[server].split("_CONN")[0] in result.stdout
    assert "Traceback" not in result.output
    assert result.messages == []
    assert counts(scenario.data_dir) == (0, 0, 0, 40)
    assert await scenario.nothing_written()


@pytest.mark.parametrize("server", SETTINGS)
async def test_the_run_waits_for_a_server_that_recovers_at_start(
    stack: Stack, scenario: Scenario, env: dict[str, str], server: str
) -> None:
    async with proxy_for(stack, server) as proxy:
        proxy.refuse = True
        async with start_cli(through(proxy, env, server, stack)) as command:
            await command.wait_for_event("waiting")
            proxy.refuse = False
            assert (await command.wait()).code == 0
    assert counts(scenario.data_dir) == (40, 0, 0, 0)
    await assert_consistent(scenario)


async def test_a_temporary_outage_of_the_store_fails_no_row(
    stack: Stack, scenario: Scenario, env: dict[str, str]
) -> None:
    scenario.serve_file("20.txt", b"slow", delay_s=1.0)
    async with (
        proxy_for(stack, "store") as proxy,
        start_cli(through(proxy, env, "store", stack), ROGO_CONCURRENCY="4") as command,
    ):
        await command.wait_for_event("migration begins")
        proxy.refuse = True
        proxy.cut()
        await command.wait_for_event("outage began")
        await asyncio.sleep(1.0)
        proxy.refuse = False
        result = await command.wait()
    assert result.code == 0, result.output
    assert result.events("outage ended")
    assert counts(scenario.data_dir) == (40, 0, 0, 0)
    (outage,) = summary(scenario.data_dir)["outages"]
    assert outage["dependency"] == "store"
    assert outage["ended"]
    assert outage["seconds"] >= 1.0
    assert table(scenario.data_dir / FAILED) == []
    await assert_consistent(scenario)


@pytest.mark.parametrize("server", ["target", "store"])
async def test_a_permanent_outage_during_a_run_ends_it_and_fails_no_row(
    stack: Stack, scenario: Scenario, env: dict[str, str], server: str
) -> None:
    """tests/chaos/test_servers_away tests a server that stops answering."""
    async with (
        proxy_for(stack, server) as proxy,
        start_cli(
            through(proxy, env, server, stack), ROGO_CONCURRENCY="2", ROGO_OUTAGE_LIMIT="3"
        ) as command,
    ):
        scenario.serve_file("30.txt", b"slow", delay_s=0.5)
        await command.wait_for_event("migration begins")
        proxy.refuse = True
        proxy.cut()
        result = await command.wait()
    assert result.code == 3, result.output
    assert result.events("internal error") == []
    _, failed, skipped, not_reached = counts(scenario.data_dir)
    assert (failed, skipped) == (0, 0)
    assert not_reached > 0
    assert (scenario.data_dir / "failures_by_assessment.csv").exists()
    again = await run_cli(env)
    assert again.code == 0
    assert await scenario.attempts() == list(range(1, 41))
    await assert_consistent(scenario)
