"""Abandoned connections; tests/integration/sql_server tests the rest with real drivers."""

import asyncio
import threading
from typing import Any

import pyodbc
import pytest

from rogo_async.common.errors import TransientError
from rogo_async.sources.warehouse.connection_string import OdbcSettings
from rogo_async.sources.warehouse.drivers import Driver, DriverKind
from rogo_async.sources.warehouse.pool import Deadlines, Pool

ODBC = OdbcSettings("DRIVER=x", Driver("x", DriverKind.OTHER, "for a test"))
IMPATIENT = Deadlines(connect_s=5, query_s=0.1, close_s=0.1, grace_s=0)
LONG_ENOUGH_S = 5


class Raw:
    """A pyodbc connection whose queries hang until they are released."""

    def __init__(self) -> None:
        self.timeout = 0
        self.let_go = threading.Event()
        self.closed_by: list[threading.Thread] = []
        self.closed = threading.Event()

    def execute(self, *_: Any) -> None:
        self.let_go.wait(LONG_ENOUGH_S)
        raise pyodbc.Error("HYT00", "[HYT00] timed out (0)")

    def close(self) -> None:
        self.closed_by.append(threading.current_thread())
        self.closed.set()


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Raw:
    made = Raw()
    monkeypatch.setattr(pyodbc, "connect", lambda *_, **__: made)
    return made


async def test_connection_that_hangs_is_closed_by_its_own_thread_when_it_returns(raw: Raw) -> None:
    pool = Pool(ODBC, 1, deadlines=IMPATIENT)
    with pytest.raises(TransientError, match=r"no response within 0\.1 s"):
        await pool.rows("reports", "SELECT 1")
    await pool.aclose()
    assert not raw.closed_by
    raw.let_go.set()
    assert await asyncio.to_thread(raw.closed.wait, LONG_ENOUGH_S)
    (thread,) = raw.closed_by
    assert thread is not threading.main_thread()
    assert thread.name == "warehouse"
    thread.join(LONG_ENOUGH_S)
    assert not thread.is_alive()


async def test_driver_gets_the_time_limit_in_whole_seconds(raw: Raw) -> None:
    pool = Pool(ODBC, 1, deadlines=Deadlines(query_s=7.4))
    raw.let_go.set()
    with pytest.raises(TransientError, match="HYT00"):
        await pool.rows("reports", "SELECT 1")
    await pool.aclose()
    assert raw.timeout == 7
