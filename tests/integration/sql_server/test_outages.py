"""Services that are cut off, fall silent and come back, through both drivers."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from rogo_async.sources.warehouse.pool import Deadlines
from rogo_async.sources.warehouse.reader import Warehouse
from tests.support.fake_sql_server import Delay, Responder, Silence
from tests.support.sql_server import connection_string, opened
from tests.support.tcp_proxy import TcpProxy

OUTAGE_S: Final = float(os.environ.get("ROGO_TEST_OUTAGE_S", "2"))
"""How long a server is away. ROGO_TEST_OUTAGE_S=20 makes it as long as a failover takes."""
SIZE: Final = 4
ATTEMPTS: Final = range(1, 41)
IMPATIENT: Final = Deadlines(connect_s=1, query_s=1, close_s=0.5, grace_s=0.3)
DRIVER_LETS_GO_S: Final = 15.0
"""How long a driver whose cancellation is not acknowledged keeps its connection: about ten."""
PROCESS_ENDS_S: Final = 10.0


@pytest.fixture
async def proxy(responder: Responder) -> AsyncIterator[TcpProxy]:
    """What stands between the product and the responder."""
    async with TcpProxy("127.0.0.1", responder.port) as running:
        yield running
        # Links that were swallowed end with it, and so do the threads that wait for them.
        running.black_hole = False


async def all_is_found(warehouse: Warehouse) -> None:
    found = await warehouse.look_up(ATTEMPTS)
    assert {
        attempt: (len(each.reports), [score.label for score in each.scores])
        for attempt, each in found.items()
    } == dict.fromkeys(ATTEMPTS, (1, ["Question 1", "Question 2"]))


async def fills_up(responder: Responder, warehouse: Warehouse) -> None:
    """The pool gives all its connections at once, and has no more of them, once the driver has
    let go of those that were given up.
    """
    responder.on("reports", Delay(0.5), SIZE)
    async with asyncio.TaskGroup() as looking:
        tasks = [looking.create_task(all_is_found(warehouse)) for _ in range(SIZE)]
        await asyncio.sleep(0.15)
        while responder.open < SIZE:
            assert not all(task.done() for task in tasks)
            await asyncio.sleep(0.02)
    give_up = time.monotonic() + DRIVER_LETS_GO_S
    while responder.open > SIZE:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)
    assert responder.open == SIZE


async def test_server_that_cuts_everyone_off(
    responder: Responder, proxy: TcpProxy, driver: str
) -> None:
    async with opened(connection_string(driver, proxy.port), SIZE) as warehouse:
        for break_off in (proxy.cut, proxy.reset):
            await fills_up(responder, warehouse)
            break_off()
            await all_is_found(warehouse)
        await fills_up(responder, warehouse)


async def test_one_broken_connection_condemns_the_idle_ones(
    responder: Responder, driver: str
) -> None:
    """A failover costs one failure for each call that is under way, not for each connection."""
    async with opened(connection_string(driver, responder.port), SIZE) as warehouse:
        await fills_up(responder, warehouse)
        responder.cut()
        await all_is_found(warehouse)
        assert sum(warehouse._breaker._call_stats.retries.values()) <= 2


async def test_server_that_cuts_everyone_off_in_the_middle(
    responder: Responder, proxy: TcpProxy, driver: str
) -> None:
    async with opened(connection_string(driver, proxy.port), SIZE) as warehouse:
        responder.on("reports", Delay(30), SIZE)
        async with asyncio.TaskGroup() as looking:
            for _ in range(SIZE):
                looking.create_task(all_is_found(warehouse))
            await asyncio.sleep(0.3)
            proxy.cut()
        await fills_up(responder, warehouse)


async def test_server_that_comes_back(responder: Responder, proxy: TcpProxy, driver: str) -> None:
    text = connection_string(driver, proxy.port)
    async with opened(text, SIZE, limit_s=OUTAGE_S + 60) as warehouse:
        await fills_up(responder, warehouse)
        proxy.refuse = True
        proxy.cut()
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(all_is_found(warehouse)) for _ in range(2 * SIZE)]
            await asyncio.sleep(OUTAGE_S)
            assert not any(each.done() for each in looking)
            proxy.refuse = False
            began = time.monotonic()
        assert time.monotonic() - began < 5
        await fills_up(responder, warehouse)


async def test_server_that_falls_silent_and_comes_back(
    responder: Responder, proxy: TcpProxy, driver: str
) -> None:
    text = connection_string(driver, proxy.port)
    async with opened(text, SIZE, limit_s=OUTAGE_S + 60, deadlines=IMPATIENT) as warehouse:
        await fills_up(responder, warehouse)
        proxy.black_hole = True
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(all_is_found(warehouse)) for _ in range(SIZE)]
            await asyncio.sleep(OUTAGE_S)
            assert not any(each.done() for each in looking)
            proxy.black_hole = False
            began = time.monotonic()
        assert time.monotonic() - began < 5
        await fills_up(responder, warehouse)


@pytest.mark.parametrize("moment", ["prelogin", "login", "reports"])
async def test_one_connection_that_falls_silent(
    responder: Responder, driver: str, moment: str
) -> None:
    text = connection_string(driver, responder.port).replace("Connection Timeout=3;", "")
    async with opened(text, SIZE, deadlines=IMPATIENT) as warehouse:
        responder.on(moment, Silence())
        began = time.monotonic()
        await all_is_found(warehouse)
        assert time.monotonic() - began < 6
        await fills_up(responder, warehouse)


async def test_process_ends_while_a_driver_hangs(responder: Responder, driver: str) -> None:
    responder.on("reports", Silence())
    script = Path(__file__).with_name("hanging_client.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        script,
        connection_string(driver, responder.port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            said = b""
            while b"gave up" not in said:
                said += await process.stdout.read(1)
        began = time.monotonic()
        async with asyncio.timeout(PROCESS_ENDS_S):
            said += await process.stdout.read()
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (code, said.splitlines()[-1]) == (0, b"gave up"), said
    assert time.monotonic() - began < PROCESS_ENDS_S
