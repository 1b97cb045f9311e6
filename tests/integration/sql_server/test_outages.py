"""Outages of the warehouse: cut connections, silent servers and recovery, with both drivers."""

import asyncio
import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from rogo_async.common.errors import Dependency, TransientError
from rogo_async.sources.warehouse.connection_string import odbc_settings
from rogo_async.sources.warehouse.pool import Deadlines, Pool
from rogo_async.sources.warehouse.reader import Warehouse
from tests.support.cli import DEADLINE_S
from tests.support.fake_sql_server import Delay, FakeSqlServer, Silence
from tests.support.sql_server import connection_string, opened
from tests.support.tcp_proxy import TcpProxy

OUTAGE_S: Final = float(os.environ.get("ROGO_TEST_OUTAGE_S", "2"))
"""Length of an outage. ROGO_TEST_OUTAGE_S=20 is as long as a failover."""
SIZE: Final = 4
ATTEMPTS: Final = range(1, 41)
SHORT_DEADLINES: Final = Deadlines(connect_s=1, query_s=1, close_s=0.5, grace_s=0.3)
DRIVER_CLOSES_S: Final = 60.0
"""A driver keeps its connection about 10 s if the server does not confirm a cancellation."""
PROCESS_ENDS_S: Final = 30.0


@pytest.fixture
async def proxy(sql_server: FakeSqlServer) -> AsyncIterator[TcpProxy]:
    """A proxy between the product and the server."""
    async with TcpProxy("127.0.0.1", sql_server.port) as running:
        yield running
        # This ends the silent connections, and with them the threads that wait.
        running.black_hole = False


async def all_rows_found(warehouse: Warehouse) -> None:
    found = await warehouse.look_up(ATTEMPTS)
    assert {
        attempt: (len(each.reports), [score.label for score in each.scores])
        for attempt, each in found.items()
    } == dict.fromkeys(ATTEMPTS, (1, ["Question 1", "Question 2"]))


async def pool_is_complete(sql_server: FakeSqlServer, warehouse: Warehouse) -> None:
    """The pool opens all its connections at once, and no more after the driver has closed the
    abandoned ones.
    """
    sql_server.on("reports", Delay(0.5), SIZE)
    async with asyncio.TaskGroup() as looking:
        tasks = [looking.create_task(all_rows_found(warehouse)) for _ in range(SIZE)]
        await asyncio.sleep(0.15)
        while sql_server.open < SIZE:
            assert not all(task.done() for task in tasks)
            await asyncio.sleep(0.02)
    give_up = time.monotonic() + DRIVER_CLOSES_S
    while sql_server.open > SIZE:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)
    assert sql_server.open == SIZE


async def test_server_cuts_all_connections(
    sql_server: FakeSqlServer, proxy: TcpProxy, driver: str
) -> None:
    async with opened(connection_string(driver, proxy.port), SIZE) as warehouse:
        for break_off in (proxy.cut, proxy.reset):
            await pool_is_complete(sql_server, warehouse)
            break_off()
            await all_rows_found(warehouse)
        await pool_is_complete(sql_server, warehouse)


async def test_one_broken_connection_discards_the_idle_ones(
    sql_server: FakeSqlServer, driver: str
) -> None:
    """A failover fails each call in progress once, not each connection."""
    async with opened(connection_string(driver, sql_server.port), SIZE) as warehouse:
        await pool_is_complete(sql_server, warehouse)
        sql_server.cut()
        await all_rows_found(warehouse)
        assert sum(warehouse._breaker._call_stats.retries.values()) <= 2


async def test_server_cuts_all_connections_during_queries(
    sql_server: FakeSqlServer, proxy: TcpProxy, driver: str
) -> None:
    async with opened(connection_string(driver, proxy.port), SIZE) as warehouse:
        sql_server.on("reports", Delay(30), SIZE)
        async with asyncio.TaskGroup() as looking:
            for _ in range(SIZE):
                looking.create_task(all_rows_found(warehouse))
            await asyncio.sleep(0.3)
            proxy.cut()
        await pool_is_complete(sql_server, warehouse)


async def test_server_recovers(sql_server: FakeSqlServer, proxy: TcpProxy, driver: str) -> None:
    text = connection_string(driver, proxy.port)
    async with opened(text, SIZE, limit_s=OUTAGE_S + 60) as warehouse:
        await pool_is_complete(sql_server, warehouse)
        proxy.refuse = True
        proxy.cut()
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(all_rows_found(warehouse)) for _ in range(2 * SIZE)]
            await asyncio.sleep(OUTAGE_S)
            assert not any(each.done() for each in looking)
            proxy.refuse = False
            began = time.monotonic()
        assert time.monotonic() - began < 45
        await pool_is_complete(sql_server, warehouse)


async def test_silent_server_recovers(
    sql_server: FakeSqlServer, proxy: TcpProxy, driver: str
) -> None:
    text = connection_string(driver, proxy.port)
    async with opened(text, SIZE, limit_s=OUTAGE_S + 60, deadlines=SHORT_DEADLINES) as warehouse:
        await pool_is_complete(sql_server, warehouse)
        proxy.black_hole = True
        async with asyncio.TaskGroup() as group:
            looking = [group.create_task(all_rows_found(warehouse)) for _ in range(SIZE)]
            await asyncio.sleep(OUTAGE_S)
            assert not any(each.done() for each in looking)
            proxy.black_hole = False
            began = time.monotonic()
        assert time.monotonic() - began < 45
        await pool_is_complete(sql_server, warehouse)


@pytest.mark.parametrize("moment", ["prelogin", "login", "reports"])
async def test_one_silent_connection(sql_server: FakeSqlServer, driver: str, moment: str) -> None:
    text = connection_string(driver, sql_server.port).replace("Connection Timeout=3;", "")
    async with opened(text, SIZE, deadlines=SHORT_DEADLINES) as warehouse:
        sql_server.on(moment, Silence())
        began = time.monotonic()
        await all_rows_found(warehouse)
        assert time.monotonic() - began < 20
        await pool_is_complete(sql_server, warehouse)


async def test_the_third_abandoned_call_that_uses_the_cpu_ends_the_run(text: str) -> None:
    """FreeTDS may spin when the server ends an encrypted session. Its threads cannot be stopped."""
    ended = threading.Event()

    def spin() -> None:
        # Without Python's lock, like a driver: otherwise the threads would share one processor.
        while not ended.is_set():
            hashlib.pbkdf2_hmac("sha256", b"", b"", 20_000)

    said: list[str] = []
    pool = Pool(odbc_settings(text), SIZE, deadlines=SHORT_DEADLINES, on_spinning=said.append)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not said:  # a thread may get no time to spin, on a busy machine
                with contextlib.suppress(TransientError):
                    async with pool._connection("reports") as connection:
                        connection._thread.submit(spin)
                        raise TransientError(Dependency.WAREHOUSE, "reports", "no response")
                while pool._closing:
                    await asyncio.sleep(0.02)
                assert bool(said) is (pool._spinning == 3)
        assert "Use Microsoft's ODBC Driver 18 for SQL Server" in said[0]
    finally:
        ended.set()
        await pool.aclose()


async def test_an_abandoned_call_that_waits_does_not_end_the_run(text: str) -> None:
    """Otherwise a server that is silent for a while would end it."""
    ended = threading.Event()
    said: list[str] = []
    pool = Pool(odbc_settings(text), SIZE, deadlines=SHORT_DEADLINES, on_spinning=said.append)
    try:
        for _ in range(4):
            with contextlib.suppress(TransientError):
                async with pool._connection("reports") as connection:
                    connection._thread.submit(ended.wait)
                    raise TransientError(Dependency.WAREHOUSE, "reports", "no response")
        async with asyncio.timeout(DRIVER_CLOSES_S):
            while pool._closing:
                await asyncio.sleep(0.02)
        assert (pool._spinning, said) == (0, [])
    finally:
        ended.set()
        await pool.aclose()


async def test_process_exits_while_a_driver_hangs(sql_server: FakeSqlServer, driver: str) -> None:
    sql_server.on("reports", Silence())
    script = Path(__file__).with_name("hanging_client.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        script,
        connection_string(driver, sql_server.port),
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
