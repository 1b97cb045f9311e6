"""Reads the two tables of the warehouse, in chunks of attempts (specification §1)."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Self, TypeVar

from rogo_async.common.entra import AccessTokens
from rogo_async.common.errors import Dependency, SetupError, SystemicError
from rogo_async.common.proxies import DIRECT, Proxies
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.rules.records import Report, Score, WarehouseRows
from rogo_async.sources.warehouse import convert, drivers
from rogo_async.sources.warehouse.connection_string import OdbcSettings, odbc_settings
from rogo_async.sources.warehouse.errors import DatabaseNotOpened
from rogo_async.sources.warehouse.pool import DEFAULT_DEADLINES, Deadlines, Pool, ignore
from rogo_async.sources.warehouse.tables import Table, full_name, read_catalogue

CHUNK_ATTEMPTS: Final = 250
"""Attempts in one query.

SQL Server accepts at most 2,100 parameters. A row in the queue needs about 6 KB of memory with its
warehouse rows (measured).
"""
NOT_OPENED_WAITS_S: Final = (0.5, 1.0, 2.0)
"""Waits between retries at start while the database cannot be opened."""

_DATABASE_SCOPE: Final = "https://database.windows.net/.default"

R = TypeVar("R", Report, Score)
T = TypeVar("T")


class Warehouse:
    """Reads reports and scores. Create it with ``open``; call ``aclose`` after use."""

    def __init__(
        self,
        pool: Pool,
        breaker_for: Callable[[Probe], CircuitBreaker],
        reports: Table,
        scores: Table,
    ) -> None:
        self._pool = pool
        self._breaker = breaker_for(self._probe)
        self._reports = reports
        self._scores = scores
        self._opened = AsyncExitStack()

    @classmethod
    async def open(
        cls,
        dsn: str,
        size: int,
        breaker_for: Callable[[Probe], CircuitBreaker],
        deadlines: Deadlines = DEFAULT_DEADLINES,
        proxies: Proxies = DIRECT,
        on_spinning: Callable[[str], object] = ignore,
    ) -> Self:
        """Connect, check tables and columns, and test that both tables can be read.

        Raises SetupError for missing tables and columns, TransientError while the server is
        unreachable, SystemicError for a permanent error.
        """
        odbc = odbc_settings(dsn)
        drivers.log_driver(odbc.driver)
        async with AsyncExitStack() as stack:
            pool = open_pool(odbc, size, deadlines, proxies, stack, on_spinning)
            reports, scores = await retry_failover(lambda: _read_tables(pool))
            warehouse = cls(pool, breaker_for, reports, scores)
            await warehouse._probe()
            warehouse._opened = stack.pop_all()
        return warehouse

    async def aclose(self) -> None:
        """Close the connections."""
        await self._opened.aclose()

    async def look_up(self, attempts: Sequence[int]) -> dict[int, WarehouseRows]:
        """Read the rows of up to CHUNK_ATTEMPTS attempts, in two concurrent queries.

        The result does not contain attempts without rows. Raises RunStopped, or a DependencyError
        if only this query keeps failing.
        """
        padded = [*attempts, *[attempts[-1]] * (CHUNK_ATTEMPTS - len(attempts))]
        report_rows, score_rows = await _both(
            self._breaker.call("reports", lambda: self._select("reports", padded)),
            self._breaker.call("scores", lambda: self._select("scores", padded)),
        )
        reports = _by_attempt(self._reports, report_rows, convert.report)
        scores = _by_attempt(self._scores, score_rows, convert.score)
        return {
            attempt: WarehouseRows(tuple(reports.get(attempt, ())), tuple(scores.get(attempt, ())))
            for attempt in reports.keys() | scores.keys()
        }

    async def _select(self, which: str, attempts: Sequence[int]) -> list[Any]:
        table = self._reports if which == "reports" else self._scores
        sql = table.select_attempts(len(attempts))
        return await self._pool.rows(which, sql, attempts, full_name(table.name))

    async def _probe(self) -> None:
        """Test that all columns of both tables can be read."""
        for table in (self._reports, self._scores):
            sql = table.select("1 = 0")
            await self._pool.rows("probe", sql, table=full_name(table.name))


def open_pool(
    odbc: OdbcSettings,
    size: int,
    deadlines: Deadlines,
    proxies: Proxies,
    stack: AsyncExitStack,
    on_spinning: Callable[[str], object] = ignore,
) -> Pool:
    """Make a pool, with a source of access tokens if needed; the stack closes it."""
    tokens = None
    if odbc.token is not None:
        client_id = odbc.token.client_id
        tokens = AccessTokens(Dependency.WAREHOUSE, _DATABASE_SCOPE, proxies, client_id).token
    pool = Pool(odbc, size, tokens, deadlines, on_spinning)
    stack.push_async_callback(pool.aclose)
    return pool


async def retry_failover(call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Retry error 4060 a few times, since the database may be failing over."""
    for wait_s in NOT_OPENED_WAITS_S:
        try:
            return await call()
        except DatabaseNotOpened:
            await asyncio.sleep(wait_s)
    try:
        return await call()
    except DatabaseNotOpened as error:
        raise SystemicError(error.dependency, error.operation, error.reason) from None


async def _read_tables(pool: Pool) -> tuple[Table, Table]:
    catalogue = await read_catalogue(pool)
    problems = [
        f"warehouse: table {table} does not exist, or the login has no permission to see it. "
        "Check the database in DATA_WAREHOUSE_CONNECTION_STRING and grant SELECT"
        for table in catalogue.missing_tables()
    ]
    problems += [
        f"warehouse: {table} has no column {', '.join(columns)}"
        for table, columns in catalogue.missing_columns().items()
    ]
    if problems:
        raise SetupError(*problems)
    return catalogue.tables()


def _by_attempt(
    table: Table, rows: Sequence[Sequence[Any]], record: Callable[[Mapping[str, Any]], R]
) -> dict[int, list[R]]:
    found: dict[int, list[R]] = {}
    for row in rows:
        try:
            each = record(dict(zip(table.columns, row, strict=True)))
        except (ValueError, TypeError):
            raise SystemicError(
                Dependency.WAREHOUSE,
                "look_up",
                f"{full_name(table.name)} has an AttemptId that is not a whole number",
            ) from None
        found.setdefault(each.attempt, []).append(each)
    return found


async def _both(*reads: Coroutine[Any, Any, list[Any]]) -> list[list[Any]]:
    """Return both results. If one read fails, cancel the other and raise the first error."""
    tasks = [asyncio.create_task(read, name="warehouse-read") for read in reads]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
