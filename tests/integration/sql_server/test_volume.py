"""30,000 attempts in few queries, with both drivers."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final

import pytest

from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS
from tests.support.fake_sql_server import FakeSqlServer, Table
from tests.support.sql_server import opened, report_row, score_row, served, tables

ATTEMPTS: Final = 30_000
LOOK_UPS_AHEAD: Final = 3
EXTRA_QUERIES: Final = 8


@pytest.fixture(scope="module")
def held() -> list[Table]:
    attempts = range(1, ATTEMPTS + 1)
    return tables(map(report_row, attempts), map(score_row, attempts))


async def test_thirty_thousand_attempts(driver: str, held: list[Table]) -> None:
    found: set[int] = set()
    async with FakeSqlServer(held) as running, opened(served(running, driver)) as warehouse:
        chunks = _chunks(iter(range(1, ATTEMPTS + 1)))

        async def look_up() -> None:
            for chunk in chunks:
                answer = await warehouse.look_up(chunk)
                assert all(len(each.reports) == len(each.scores) == 1 for each in answer.values())
                assert found.isdisjoint(answer)
                found.update(answer)

        await asyncio.gather(*(look_up() for _ in range(LOOK_UPS_AHEAD)))
        queries = sum(running.queries.values()) - running.queries["types"]
        connections = running.connections
    assert found == set(range(1, ATTEMPTS + 1))
    assert queries <= 2 * ATTEMPTS / CHUNK_ATTEMPTS + EXTRA_QUERIES
    assert connections <= EXTRA_QUERIES


def _chunks(attempts: Iterator[int]) -> Iterator[list[int]]:
    while chunk := list(islice(attempts, CHUNK_ATTEMPTS)):
        yield chunk
