"""Reads the warehouse step by step for the command ``check``."""

from contextlib import AsyncExitStack
from typing import Final, Self

from rogo_async.common.proxies import Proxies
from rogo_async.sources.warehouse import convert
from rogo_async.sources.warehouse.connection_string import OdbcSettings
from rogo_async.sources.warehouse.drivers import DriverKind
from rogo_async.sources.warehouse.pool import Deadlines, Pool, ServerInfo
from rogo_async.sources.warehouse.reader import open_pool, retry_failover
from rogo_async.sources.warehouse.tables import (
    REPORT,
    SCHEMA,
    SCORES,
    Catalogue,
    full_name,
    read_catalogue,
)

_DEADLINES: Final = Deadlines(query_s=10.0)
_WRITE_RIGHTS: Final = ("INSERT", "UPDATE", "DELETE")
_RECORDS: Final = {REPORT: convert.report, SCORES: convert.score}
_ONE_ROW: Final = "1 = 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH NEXT 1 ROWS ONLY"
"""Valid in SQL Server and in PostgreSQL."""
_HAS_RIGHT_SQL_SERVER: Final = "SELECT HAS_PERMS_BY_NAME(?, 'OBJECT', ?)"
_HAS_RIGHT: Final = (
    "SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLE_PRIVILEGES "
    "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND PRIVILEGE_TYPE = ?"
)


class Inspection:
    """One connection. Create it with ``open``; call ``aclose`` after use.

    Each method raises TransientError while the server is unreachable and SystemicError for a
    permanent error.
    """

    def __init__(self, odbc: OdbcSettings, pool: Pool) -> None:
        self._kind = odbc.driver.kind
        self._pool = pool
        self._opened = AsyncExitStack()

    @classmethod
    async def open(cls, odbc: OdbcSettings, proxies: Proxies) -> Self:
        """Log in."""
        async with AsyncExitStack() as stack:
            pool = open_pool(odbc, 1, _DEADLINES, proxies, stack)
            inspection = cls(odbc, pool)
            await retry_failover(lambda: pool.rows("login", "SELECT 1"))
            inspection._opened = stack.pop_all()
        return inspection

    async def aclose(self) -> None:
        """Close the connection."""
        await self._opened.aclose()

    async def server_info(self) -> ServerInfo:
        """Names and versions of driver and server."""
        return await self._pool.server_info()

    async def catalogue(self) -> Catalogue:
        """Read the columns of both tables."""
        return await read_catalogue(self._pool)

    async def empty_tables(self, catalogue: Catalogue) -> list[str]:
        """Read one row of each table as a run reads it; return the names of empty tables.

        ``catalogue`` must have no missing columns. Raises ValueError for an AttemptId that is not
        a whole number.
        """
        empty = []
        for table in catalogue.tables():
            name = full_name(table.name)
            rows = await self._pool.rows("read", table.select(_ONE_ROW), (), name)
            for row in rows:
                _RECORDS[table.name](dict(zip(table.columns, row, strict=True)))
            if not rows:
                empty.append(name)
        return empty

    async def writable_tables(self) -> list[str]:
        """Tables that this login may change, as far as the server reports."""
        return [
            full_name(table)
            for table in (REPORT, SCORES)
            if any([await self._has_right(table, right) for right in _WRITE_RIGHTS])
        ]

    async def _has_right(self, table: str, right: str) -> bool:
        if self._kind is DriverKind.OTHER:
            rows = await self._pool.rows("rights", _HAS_RIGHT, (SCHEMA, table, right))
        else:
            rows = await self._pool.rows("rights", _HAS_RIGHT_SQL_SERVER, (full_name(table), right))
        return bool(rows[0][0])
