"""Each server cut, reset, frozen, closed, restarted or throttling: no row fails (invariant 6).

ROGO_TEST_FREEZE_S=30 makes a freeze as long as a failover.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession, web

from rogo_async.demo.servers.postgres import quoted
from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import (
    FAILED,
    CliResult,
    RunningCommand,
    counts,
    rows_done,
    run_cli,
    start_cli,
    summary,
    table,
)
from tests.support.target_sessions import RUN_SESSIONS, end_sessions, held_inserts
from tests.support.tcp_proxy import Hook, TcpProxy, Wire, forward

ROWS: Final = 60
LATER: Final = [f"/{attempt}.txt" for attempt in range(1, 51)]
"""The files of the rows that are migrated last. They are held until the server goes away."""

FREEZE_S: Final = float(os.environ.get("ROGO_TEST_FREEZE_S", "2"))
SLACK_S: Final = 60.0
"""Time that an outage may cost beyond its own length: backoff, probe interval, a busy machine."""
SETTINGS: Final = {
    "target": "DATABASE_URL",
    "warehouse": "DATA_WAREHOUSE_CONNECTION_STRING",
    "store": "AZURE_STORAGE_CONNECTION_STRING",
    "source": "ROGO_SOURCE_HOSTS",
}
Fault = Callable[[TcpProxy], Awaitable[float]]


async def cut(proxy: TcpProxy) -> float:
    proxy.cut()
    return 0.0


async def reset(proxy: TcpProxy) -> float:
    proxy.reset()
    return 0.0


async def frozen(proxy: TcpProxy) -> float:
    """Delay all bytes and lose none, as if the server or its machine were frozen."""
    proxy.delay_s = FREEZE_S
    await asyncio.sleep(FREEZE_S)
    proxy.delay_s = 0.0
    return FREEZE_S


async def closed(proxy: TcpProxy) -> float:
    proxy.refuse = True
    proxy.cut()
    await asyncio.sleep(1.5)
    proxy.refuse = False
    return 1.5


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return await load_slow_submissions(Scenario(stack, workspace))


async def load_slow_submissions(scenario: Scenario) -> Scenario:
    """Submissions that take 0.1 s each."""
    submissions = [scenario.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        scenario.serve_file(f"{each.attempt}.txt", b"text %d" % each.attempt, delay_s=0.1)
    await scenario.load(submissions)
    return scenario


@asynccontextmanager
async def run_behind_proxy(
    scenario: Scenario, env: dict[str, str], server: str
) -> AsyncIterator[tuple[TcpProxy, RunningCommand, dict[str, str]]]:
    """A run in progress whose connections to one server go through a proxy, and its environment."""
    stack = scenario.stack
    ports = {"store": stack.azurite.port, "source": stack.source.port}
    port = ports.get(server, stack.postgres.port)
    async with TcpProxy("127.0.0.1", port) as proxy:
        name = SETTINGS[server]
        proxied_env = {**env, name: env[name].replace(f"{port}", f"{proxy.port}")}
        if server == "source":
            lines = scenario.data_dir / "submission_files.csv"
            lines.write_text(lines.read_text().replace(f":{port}/", f":{proxy.port}/"))
        if server == "warehouse":
            proxy.delay_s = 0.05
        async with start_cli(
            proxied_env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2"
        ) as command:
            with scenario.source.held(*LATER):
                await command.wait_for_event("migration begins")
                if server != "warehouse":
                    await command.wait_for_event("progress", rows_done(3))
            yield proxy, command, proxied_env


async def assert_nothing_lost(scenario: Scenario, env: dict[str, str], result: CliResult) -> None:
    """No row failed, and the next run migrates the rows that were not processed."""
    assert result.events("internal error") == []
    assert table(scenario.data_dir / FAILED) == []
    migrated, failed, skipped, not_reached = counts(scenario.data_dir)
    assert (failed, skipped) == (0, 0)
    assert migrated + not_reached == ROWS
    if not_reached:
        assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    assert len(table(scenario.data_dir / "migrated.csv")) == ROWS
    await assert_consistent(scenario)
    assert (await run_cli(env, "sweep", "--delete", "--min-age", "0")).code == 0
    assert len(await scenario.blobs()) == ROWS
    assert (await run_cli(env, "verify")).code == 0


@pytest.mark.parametrize("fault", [cut, reset, frozen, closed])
@pytest.mark.parametrize("server", SETTINGS)
async def test_no_row_fails_while_a_server_is_away(
    scenario: Scenario, env: dict[str, str], server: str, fault: Fault
) -> None:
    async with run_behind_proxy(scenario, env, server) as (proxy, command, proxied_env):
        seconds = await fault(proxy)
        result = await command.wait()
        assert result.code == 0, result.output
        lost_s = sum(outage["seconds"] for outage in summary(scenario.data_dir)["outages"])
        assert lost_s < seconds + SLACK_S
        proxy.delay_s = 0.0
        await assert_nothing_lost(scenario, proxied_env, result)


async def test_the_run_waits_for_a_target_that_hangs_up_during_tls_negotiation(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """The driver reports this error like a server without TLS."""
    left = 3

    def tap(wire: Wire) -> tuple[Hook, Hook]:
        def request(chunk: bytes) -> bytes | None:
            nonlocal left
            if left and len(chunk) == 8:
                left -= 1
                wire.cut()
                return None
            return chunk

        return request, forward

    port = scenario.stack.postgres.port
    async with TcpProxy("127.0.0.1", port) as proxy:
        proxy.tap = tap
        name = SETTINGS["target"]
        proxied_env = {
            **env,
            name: env[name].replace(f"{port}", f"{proxy.port}") + "?sslmode=prefer",
        }
        result = await run_cli(proxied_env)
        assert result.code == 0, result.output
        assert result.events("waiting")
        assert left == 0
        await assert_nothing_lost(scenario, proxied_env, result)


async def immediate_shutdown(stack: Stack) -> None:
    os.kill(stack.postgres.pid, signal.SIGQUIT)


async def fast_shutdown(stack: Stack) -> None:
    await stack.postgres.stop()


@pytest.mark.parametrize("shutdown", [fast_shutdown, immediate_shutdown])
async def test_a_restart_of_postgresql_costs_only_its_own_time(
    scenario: Scenario,
    env: dict[str, str],
    stack: Stack,
    shutdown: Callable[[Stack], Awaitable[None]],
) -> None:
    async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        with scenario.source.held(*LATER):
            await command.wait_for_event("progress", rows_done(3))
        await shutdown(stack)
        await command.wait_for_event("outage began")
        await stack.postgres.restart()
        result = await command.wait()
    assert result.code == 0, result.output
    assert result.events("run lock taken again")
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    await assert_nothing_lost(scenario, env, result)


async def test_a_postgresql_that_stays_down_ends_the_run_after_the_limit(
    scenario: Scenario, env: dict[str, str], stack: Stack
) -> None:
    async with start_cli(
        env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2", ROGO_OUTAGE_LIMIT="3"
    ) as command:
        with scenario.source.held(*LATER):
            await command.wait_for_event("progress", rows_done(3))
        await stack.postgres.stop()
        try:
            result = await command.wait()
        finally:
            await stack.postgres.start()
    assert result.code == 3, result.output
    assert "target was unreachable for 3 s: the connection failed (Connection" in result.stdout
    await assert_nothing_lost(scenario, env, result)


async def test_sessions_ended_by_an_administrator_are_replaced(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """All connections, the lock's too, each time while inserts are under way."""
    consumers, times = 3, 3
    async with (
        start_cli(env, ROGO_CONCURRENCY=str(consumers)) as command,
        scenario.target() as administrator,
    ):
        await command.wait_for_event("migration begins")
        for _ in range(times):
            async with held_inserts(scenario) as inserts:
                await inserts.wait_for(consumers)
                assert await end_sessions(administrator, RUN_SESSIONS) > consumers
        result = await command.wait()
    assert result.code == 0, result.output
    assert summary(scenario.data_dir)["retries"]["target.insert"] >= times * consumers
    await assert_nothing_lost(scenario, env, result)


async def test_a_target_with_too_few_connections_is_retried(
    scenario: Scenario, env: dict[str, str], stack: Stack, workspace: Workspace
) -> None:
    """Error 53300, for the pool of the run, but not for its lock and its first connection."""
    limit = f"ALTER DATABASE {quoted(workspace.target)} CONNECTION LIMIT"
    await stack.postgres.execute_script("postgres", f"{limit} 3")
    result = await run_cli(env, ROGO_CONCURRENCY="16")
    assert result.code == 0, result.output
    assert summary(scenario.data_dir)["retries"]["target.insert"]
    await stack.postgres.execute_script("postgres", f"{limit} -1")
    await assert_nothing_lost(scenario, env, result)


def retries(scenario: Scenario, server: str) -> int:
    """The number of repeated requests to a server."""
    found: dict[str, int] = summary(scenario.data_dir)["retries"]
    return sum(count for name, count in found.items() if name.startswith(f"{server}."))


async def test_a_throttling_source_is_retried(scenario: Scenario, env: dict[str, str]) -> None:
    for attempt in range(1, ROWS + 1, 2):
        served = scenario.source.routes[f"/{attempt}.txt"]
        busy = Answer(status=503, headers={"Retry-After": "1"}, times=2, then=served)
        scenario.source.routes[f"/{attempt}.txt"] = busy
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert retries(scenario, "source") >= ROWS
    await assert_nothing_lost(scenario, env, result)


@asynccontextmanager
async def throttling_store(upstream: str) -> AsyncIterator[tuple[int, list[str]]]:
    """An HTTP proxy that answers 503 to every other write at first, with Retry-After."""
    refused: list[str] = []
    seen: set[str] = set()

    async def handle(request: web.Request) -> web.Response:
        key = f"{request.method} {request.path}"
        if request.method == "PUT" and key not in seen and len(seen) < ROWS:
            seen.add(key)
            refused.append(request.path)
            return web.Response(status=503, headers={"Retry-After": "1"})
        async with session.request(
            request.method,
            f"{upstream}{request.raw_path}",
            headers=request.headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type", "Accept", "Accept-Encoding"),
        ) as response:
            kept = {k: v for k, v in response.headers.items() if k != "Transfer-Encoding"}
            body = await response.read()
        return web.Response(status=response.status, headers=kept, body=body)

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", handle)
    async with ClientSession(auto_decompress=False) as session:
        runner = web.AppRunner(app)
        await runner.setup()
        server = web.TCPSite(runner, "127.0.0.1", 0)
        await server.start()
        try:
            yield runner.addresses[0][1], refused
        finally:
            await runner.cleanup()


async def test_a_throttling_store_is_retried(
    scenario: Scenario, env: dict[str, str], stack: Stack
) -> None:
    async with throttling_store(stack.azurite.origin) as (port, refused):
        name = SETTINGS["store"]
        proxied_env = {**env, name: env[name].replace(f"{stack.azurite.port}", f"{port}")}
        result = await run_cli(proxied_env)
    assert result.code == 0, result.output
    assert len(refused) == ROWS
    assert retries(scenario, "store") >= ROWS
    # The rows have the proxy's URLs; only the blobs are checked.
    assert len(await scenario.blobs()) == ROWS
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)


async def test_a_restart_of_the_store_loses_nothing(tmp_path: Path) -> None:
    async with Stack(tmp_path / "stack", keep=True) as stack:
        scenario = await load_slow_submissions(Scenario(stack, stack.workspace))
        env = stack.environment()
        async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
            with scenario.source.held(*LATER):
                await command.wait_for_event("progress", rows_done(3))
            await stack.azurite.restart()
            result = await command.wait()
        assert result.code == 0, result.output
        await assert_nothing_lost(scenario, env, result)


@pytest.mark.parametrize("server", SETTINGS)
async def test_a_server_that_never_answers_ends_the_run_in_time(
    scenario: Scenario, env: dict[str, str], server: str
) -> None:
    impatient = {**env, "ROGO_OUTAGE_LIMIT": "4"}
    async with run_behind_proxy(scenario, impatient, server) as (proxy, command, proxied_env):
        proxy.black_hole = True
        result = await command.wait(deadline_s=120)
        assert result.code == 3, result.output
        assert len(result.stdout.splitlines()) == 1
        proxy.black_hole = False
        proxy.cut()
        proxy.delay_s = 0.0
        await assert_nothing_lost(scenario, {**proxied_env, "ROGO_OUTAGE_LIMIT": "60"}, result)
