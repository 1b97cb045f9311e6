"""Fixtures of the tests with the T-SQL server: server, driver, and a check for left threads."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.fake_sql_server import FakeSqlServer
from tests.support.sql_server import DRIVERS, report_row, score_row, served, tables

THREADS_END_S = 15.0


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    """Each of the two drivers."""
    return str(request.param)


@pytest.fixture
async def sql_server() -> AsyncIterator[FakeSqlServer]:
    """A server with the attempts 1 to 40, each with one report and two scores."""
    attempts = range(1, 41)
    scores = [score_row(each, label) for each in attempts for label in ("Question 1", "Question 2")]
    async with FakeSqlServer(tables(map(report_row, attempts), scores)) as running:
        yield running
    assert running.unknown == []


@pytest.fixture
def text(sql_server: FakeSqlServer, driver: str) -> str:
    """The connection string of this test's server, for this test's driver."""
    return served(sql_server, driver)


@pytest.fixture(autouse=True)
async def no_thread_remains() -> AsyncIterator[None]:
    """All threads of the warehouse end, also those that hung."""
    yield
    give_up = time.monotonic() + THREADS_END_S
    while left := list(_warehouse_threads()):
        assert time.monotonic() < give_up, left
        await asyncio.sleep(0.05)


def _warehouse_threads() -> Iterator[threading.Thread]:
    return (each for each in threading.enumerate() if each.name == "warehouse")
