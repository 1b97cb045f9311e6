"""Services that are away: the run waits for them and fails no row (SPEC §4, §6.6)."""

import asyncio
import time

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk, whole
from tests.support.cli import FAILED, begun, counts, operate, summary, table
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
    """The site with one server behind the proxy."""
    name = SETTINGS[server]
    return {**env, name: env[name].replace(str(port_of(stack, server)), str(proxy.port))}


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    made = Desk(stack, workspace)
    await made.lay_out([made.sound(attempt) for attempt in range(1, 41)])
    return made


@pytest.mark.parametrize(("how", "within_s"), [("closed", 15.0), ("silent", 35.0)])
@pytest.mark.parametrize("server", SETTINGS)
async def test_a_server_that_stays_away_at_start_ends_the_run_early(
    stack: Stack, desk: Desk, env: dict[str, str], server: str, how: str, within_s: float
) -> None:
    async with proxy_for(stack, server) as proxy:
        proxy.refuse = how == "closed"
        proxy.black_hole = how == "silent"
        began = time.monotonic()
        ended = await operate(through(proxy, env, server, stack), ROGO_OUTAGE_LIMIT=str(LIMIT_S))
        assert time.monotonic() - began < within_s
    assert ended.code == 3, ended.output
    assert f"{server} unreachable for {LIMIT_S} s" in ended.stdout
    assert SETTINGS[server].split("_CONN")[0] in ended.stdout
    assert "Traceback" not in ended.output
    assert ended.said == []
    assert counts(desk.data_dir) == (0, 0, 0, 40)
    assert await desk.nothing_written()


@pytest.mark.parametrize("server", SETTINGS)
async def test_a_server_that_comes_back_at_start_is_waited_for(
    stack: Stack, desk: Desk, env: dict[str, str], server: str
) -> None:
    async with proxy_for(stack, server) as proxy:
        proxy.refuse = True
        async with begun(through(proxy, env, server, stack)) as command:
            await command.logged("waiting")
            proxy.refuse = False
            assert (await command.ended()).code == 0
    assert counts(desk.data_dir) == (40, 0, 0, 0)
    await whole(desk)


async def test_a_store_that_goes_away_and_comes_back_fails_no_row(
    stack: Stack, desk: Desk, env: dict[str, str]
) -> None:
    desk.served("20.txt", b"slow", delay_s=1.0)
    async with (
        proxy_for(stack, "store") as proxy,
        begun(through(proxy, env, "store", stack), ROGO_CONCURRENCY="4") as command,
    ):
        await command.logged("migration begins")
        proxy.refuse = True
        proxy.cut()
        await command.logged("outage began")
        await asyncio.sleep(1.0)
        proxy.refuse = False
        ended = await command.ended()
    assert ended.code == 0, ended.output
    assert ended.events("outage ended")
    assert counts(desk.data_dir) == (40, 0, 0, 0)
    (outage,) = summary(desk.data_dir)["outages"]
    assert outage["dependency"] == "store"
    assert outage["ended"]
    assert 1.0 <= outage["seconds"] < 10.0
    assert table(desk.data_dir / FAILED) == []
    await whole(desk)


@pytest.mark.parametrize("server", ["target", "store"])
async def test_a_server_that_stays_away_meanwhile_ends_the_run_and_fails_no_row(
    stack: Stack, desk: Desk, env: dict[str, str], server: str
) -> None:
    """One that falls silent is a matter of its own: tests/chaos/test_servers_away."""
    async with (
        proxy_for(stack, server) as proxy,
        begun(
            through(proxy, env, server, stack), ROGO_CONCURRENCY="2", ROGO_OUTAGE_LIMIT="3"
        ) as command,
    ):
        desk.served("30.txt", b"slow", delay_s=0.5)
        await command.logged("migration begins")
        proxy.refuse = True
        proxy.cut()
        ended = await command.ended(deadline_s=60)
    assert ended.code == 3, ended.output
    assert ended.events("internal error") == []
    _, failed, skipped, not_reached = counts(desk.data_dir)
    assert (failed, skipped) == (0, 0)
    assert not_reached > 0
    again = await operate(env)
    assert again.code == 0
    assert await desk.attempts() == list(range(1, 41))
    await whole(desk)
