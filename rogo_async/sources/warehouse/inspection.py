"""The warehouse looked over piece by piece, which a run opens as a whole (SPEC §5, check)."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Self

from rogo_async.sources.warehouse import convert
from rogo_async.sources.warehouse.connection_string import Route
from rogo_async.sources.warehouse.drivers import Kind
from rogo_async.sources.warehouse.pool import Deadlines, Facts, Pool
from rogo_async.sources.warehouse.reader import insisting, open_pool
from rogo_async.sources.warehouse.tables import (
    MARKS,
    REPORT,
    REPORT_COLUMNS,
    SCHEMA,
    SCORE_COLUMNS,
    SCORES,
    columns_of,
    full_name,
    marks_in,
    missing_from,
    table_of,
)

_DEADLINES: Final = Deadlines(query_s=10.0)
_WRITING: Final = ("INSERT", "UPDATE", "DELETE")
_RECORDS: Final = {REPORT: convert.report, SCORES: convert.score}
_ONE_ROW: Final = "1 = 1 ORDER BY (SELECT NULL) OFFSET 0 ROWS FETCH NEXT 1 ROWS ONLY"
"""SQL Server and PostgreSQL both read it."""
_MAY_SQL_SERVER: Final = "SELECT HAS_PERMS_BY_NAME(?, 'OBJECT', ?)"
_MAY_OTHERS: Final = (
    "SELECT COUNT(*) FROM INFORMATION_SCHEMA.TABLE_PRIVILEGES "
    "WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND PRIVILEGE_TYPE = ?"
)


@dataclass(frozen=True, slots=True)
class TableFaults:
    """Tables that are absent, or not to be seen, and the columns that are missing from others."""

    absent: tuple[str, ...]
    lacking: Mapping[str, tuple[str, ...]]


class Inspection:
    """One connection. Made by ``open``; its owner calls ``aclose``.

    Every call raises TransientError while the server is away and SystemicError where it refuses.
    """

    def __init__(self, route: Route, pool: Pool) -> None:
        self._kind = route.driver.kind
        self._pool = pool
        self._found: dict[str, dict[str, str]] = {}
        self._opened = AsyncExitStack()

    @classmethod
    async def open(cls, route: Route) -> Self:
        """Log in."""
        async with AsyncExitStack() as stack:
            pool = open_pool(route, 1, _DEADLINES, stack)
            inspection = cls(route, pool)
            await insisting(lambda: pool.rows("login", "SELECT 1"))
            inspection._opened = stack.pop_all()
        return inspection

    async def aclose(self) -> None:
        """Close the connection."""
        await self._opened.aclose()

    async def facts(self) -> Facts:
        """What driver and server say of themselves."""
        return await self._pool.facts()

    async def faults(self) -> TableFaults:
        """Hold the catalogue against what a run reads."""
        self._found = {name: await columns_of(self._pool, name) for name in (REPORT, SCORES)}
        lacking = {
            name: tuple(missing_from(self._found[name], wanted))
            for name, wanted in ((REPORT, REPORT_COLUMNS), (SCORES, SCORE_COLUMNS))
        }
        if not marks_in(self._found[REPORT]):
            lacking[REPORT] = (*lacking[REPORT], " or ".join(MARKS))
        return TableFaults(
            tuple(full_name(name) for name, columns in self._found.items() if not columns),
            {
                full_name(name): columns
                for name, columns in lacking.items()
                if columns and self._found[name]
            },
        )

    async def empty(self) -> list[str]:
        """Read a row of each table, as a run reads it; the names of those that have none.

        ``faults`` comes first, and must have found none. Raises ValueError where an AttemptId is
        no number.
        """
        report, scores = self._found[REPORT], self._found[SCORES]
        tables = (
            table_of(REPORT, (*REPORT_COLUMNS, *marks_in(report)), report),
            table_of(SCORES, SCORE_COLUMNS, scores),
        )
        empty = []
        for table in tables:
            name = full_name(table.name)
            rows = await self._pool.rows("read", table.select(_ONE_ROW), (), name)
            for row in rows:
                _RECORDS[table.name](dict(zip(table.columns, row, strict=True)))
            if not rows:
                empty.append(name)
        return empty

    async def writable(self) -> list[str]:
        """The tables that this login could change, as far as the server tells."""
        return [
            full_name(table)
            for table in (REPORT, SCORES)
            if any([await self._may(table, right) for right in _WRITING])
        ]

    async def _may(self, table: str, right: str) -> bool:
        if self._kind is Kind.OTHER:
            rows = await self._pool.rows("rights", _MAY_OTHERS, (SCHEMA, table, right))
        else:
            rows = await self._pool.rows("rights", _MAY_SQL_SERVER, (full_name(table), right))
        return bool(rows[0][0])
