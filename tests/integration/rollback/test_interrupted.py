"""An interrupted rollback is completed, by a retry or by the next rollback."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import start_cli
from tests.support.rollback_fixtures import malpractice, migrate, picture, roll_back
from tests.support.tcp_proxy import Hook, TcpProxy, Wire

ROWS = 20
STORE = "AZURE_STORAGE_CONNECTION_STRING"


@dataclass(frozen=True, slots=True)
class Ground:
    """A scenario with target and container behind proxies, for all commands.

    The metadata of blobs contain a digest of the target's address.
    """

    scenario: Scenario
    env: dict[str, str]
    target: TcpProxy
    store: TcpProxy


@pytest.fixture
async def ground(stack: Stack, workspace: Workspace, env: dict[str, str]) -> AsyncIterator[Ground]:
    made = Scenario(stack, workspace)
    await made.load(
        malpractice(made, n, 1 + n % 3, learner=n // 4) if n % 2 else made.submission(n)
        for n in range(1, ROWS + 1)
    )
    async with (
        TcpProxy("127.0.0.1", stack.postgres.port) as target,
        TcpProxy("127.0.0.1", stack.azurite.port) as store,
    ):
        there = {
            **env,
            STORE: env[STORE].replace(f":{stack.azurite.port}/", f":{store.port}/"),
            "DATABASE_URL": env["DATABASE_URL"].replace(
                f":{stack.postgres.port}/", f":{target.port}/"
            ),
        }
        yield Ground(made, there, target, store)


async def some_rows_are_gone(scenario: Scenario) -> bool:
    return len(await scenario.rows("lti_launch_sessions")) < ROWS - 2


async def all_rows_are_gone(scenario: Scenario) -> bool:
    return not await scenario.rows("lti_launch_sessions")


async def some_blobs_are_gone(scenario: Scenario) -> bool:
    return len(await scenario.blobs()) < ROWS


MOMENTS: list[tuple[signal.Signals, Callable[[Scenario], Awaitable[bool]]]] = [
    (signal.SIGKILL, some_rows_are_gone),
    (signal.SIGKILL, all_rows_are_gone),
    (signal.SIGKILL, some_blobs_are_gone),
    (signal.SIGTERM, some_rows_are_gone),
]


@pytest.mark.parametrize(("number", "until"), MOMENTS)
async def test_a_repeated_rollback_finishes_an_interrupted_one(
    ground: Ground, number: signal.Signals, until: Callable[[Scenario], Awaitable[bool]]
) -> None:
    scenario, env = ground.scenario, ground.env
    empty = await picture(scenario)
    run = await migrate(env, *range(1, ROWS + 1))
    narrow = {**env, "ROGO_PG_POOL_SIZE": "1"}
    async with start_cli(narrow, "rollback", "--run", run, "--yes") as command:
        await command.wait_for_event("rollback begins")
        ground.target.delay_s = 0.05 if until is some_rows_are_gone else 0.0
        ground.store.delay_s = 0.1
        while not await until(scenario):
            await asyncio.sleep(0.01)
        os.kill(command.process.pid, number)
        result = await command.wait()
    ground.target.delay_s = ground.store.delay_s = 0.0
    ground.store.cut()  # requests in transit arrive now or never
    await asyncio.sleep(0.5)
    assert result.code == (-9 if number is signal.SIGKILL else 143), result.output
    left = await picture(scenario)
    assert left.blobs, "it was over before the signal came"
    if until is some_rows_are_gone:
        assert left.tables["lti_launch_sessions"]
    assert (await roll_back(env, run)).code == 0
    assert await picture(scenario) == empty


def losing(request: bytes, losses: list[bytes]) -> Callable[[Wire], tuple[Hook, Hook]]:
    """A tap that drops the reply to the first two requests of this kind."""

    def tap(wire: Wire) -> tuple[Hook, Hook]:
        asked = False

        def ask(chunk: bytes) -> bytes:
            nonlocal asked
            asked = request in chunk
            return chunk

        def reply(chunk: bytes) -> bytes | None:
            if not asked or len(losses) == 2:
                return chunk
            losses.append(chunk)
            wire.cut()
            return None

        return ask, reply

    return tap


@pytest.mark.parametrize("request_", [b"COMMIT", b"DELETE /"])
async def test_a_lost_reply_is_repeated(ground: Ground, request_: bytes) -> None:
    scenario, env = ground.scenario, ground.env
    empty = await picture(scenario)
    run = await migrate(env, *range(1, ROWS + 1))
    losses: list[bytes] = []
    proxy = ground.target if request_ == b"COMMIT" else ground.store
    proxy.tap = losing(request_, losses)
    result = await roll_back(env, run)
    assert (result.code, result.messages) == (0, [])
    assert f"{ROWS} of {ROWS} submissions rolled back, {ROWS} blobs deleted" in result.summary_line
    assert len(losses) == 2
    assert await picture(scenario) == empty


async def test_it_waits_for_a_store_that_is_down(ground: Ground) -> None:
    scenario, env = ground.scenario, ground.env
    empty = await picture(scenario)
    run = await migrate(env, *range(1, ROWS + 1))
    ground.store.delay_s = 0.05
    rolling = asyncio.create_task(roll_back(env, run))
    while not await all_rows_are_gone(scenario):
        assert not rolling.done()
        await asyncio.sleep(0.01)
    ground.store.refuse = True
    ground.store.cut()
    await asyncio.sleep(0.5)
    ground.store.delay_s, ground.store.refuse = 0.0, False
    result = await rolling
    assert (result.code, result.messages) == (0, [])
    assert await picture(scenario) == empty


async def test_a_lost_lock_stops_the_rollback(ground: Ground) -> None:
    scenario, env = ground.scenario, ground.env
    empty = await picture(scenario)
    run = await migrate(env, *range(1, ROWS + 1))
    ground.target.delay_s = 0.05
    rolling = asyncio.create_task(roll_back({**env, "ROGO_PG_POOL_SIZE": "1"}, run))
    while not await some_rows_are_gone(scenario):
        assert not rolling.done()
        await asyncio.sleep(0.01)
    ground.target.cut()
    result = await rolling
    assert result.code == 3
    assert "lost the connection that holds the run lock" in result.summary_line
    assert len(await scenario.blobs()) == ROWS
    assert (await roll_back(env, run)).code == 0
    assert await picture(scenario) == empty
