"""Connections to the target: deadlines and pool.

When a statement is cancelled on a dead socket, asyncpg waits forever, and so does the release of
the connection to its pool. Therefore a connection is terminated before its release unless the
server answered its last statement.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final, Self

import asyncpg

from rogo_async.destination.postgres.connector import CONNECT_S, STATEMENT_S, ConnectOptions
from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.timestamps import register_timestamps
from rogo_async.destination.postgres.translation import (
    LIBRARY_ERRORS,
    translate_connect_error,
    translate_error,
)

CLOSE_S: Final = 5.0


def boot_time_s() -> float:
    """CLOCK_BOOTTIME in seconds: includes the time that the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Session:
    """One connection, used with the named queries of ``sql/``."""

    def __init__(self, connection: Any) -> None:
        self.raw = connection

    async def row(self, name: str, values: Mapping[str, object]) -> Any:
        """Run a named query and return its first row, or None."""
        statement = query(name)
        return await self.raw.fetchrow(statement.sql, *statement.arguments(values))

    async def execute(self, name: str, values: Mapping[str, object]) -> None:
        """Run a named statement that returns no rows."""
        statement = query(name)
        await self.raw.execute(statement.sql, *statement.arguments(values))

    async def rows(
        self, name: str, values: Mapping[str, object], deadline_s: float = STATEMENT_S
    ) -> list[Any]:
        """Run a named query and return all its rows."""
        statement = query(name)
        found: list[Any] = await self.raw.fetch(
            statement.sql, *statement.arguments(values), timeout=deadline_s
        )
        return found


class Connections:
    """A pool of connections. Create it with ``open``; call ``aclose`` after use."""

    def __init__(self, options: ConnectOptions, size: int) -> None:
        self.options = options
        self.newest_s = 0.0
        """When the newest connection was opened, on the clock of ``boot_time_s``."""
        arguments: dict[str, Any] = {"connect": options.connect, "init": self._prepare}
        self._pool: Any = asyncpg.create_pool(min_size=0, max_size=size, reset=_keep, **arguments)

    @classmethod
    async def open(cls, options: ConnectOptions, size: int) -> Self:
        """Open one connection as a test; the pool opens the others when they are needed.

        Raises TransientError while the server is unreachable, SystemicError for a permanent error.
        """
        connections = cls(options, size)
        pool = connections._pool
        try:
            async with asyncio.timeout(options.deadline_s + CONNECT_S):
                await pool
                await pool.release(await pool.acquire())
        except (*LIBRARY_ERRORS, ValueError) as error:
            pool.terminate()
            raise translate_connect_error("connect", error, options) from None
        return connections

    async def aclose(self) -> None:
        """Close the pool; terminate its connections after CLOSE_S."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()
        except LIBRARY_ERRORS:
            self._pool.terminate()

    def session(self, operation: str, *, writing: bool = False) -> "PooledSession":
        """Return an async context manager with a Session on a connection of the pool.

        Translates the errors of asyncpg to RowError, TableConflict or DependencyError.
        """
        acquire_s = self.options.deadline_s + STATEMENT_S
        return PooledSession(self._pool, acquire_s, operation, writing=writing)

    async def probe(self) -> None:
        """Test that the server answers. Raises a DependencyError."""
        async with self.session("probe") as session:
            await session.raw.fetchval("SELECT 1", timeout=CONNECT_S)

    async def _prepare(self, connection: Any) -> None:
        await connection.execute("SET jit = off")
        await register_timestamps(connection)
        self.newest_s = boot_time_s()


class PooledSession:
    """Async context manager: takes a connection from the pool and returns it.

    A class, since ``asynccontextmanager`` would create a generator for each submission.
    """

    __slots__ = ("_acquire_s", "_connection", "_operation", "_pool", "_writing")

    def __init__(self, pool: Any, acquire_s: float, operation: str, *, writing: bool) -> None:
        self._pool = pool
        self._acquire_s = acquire_s
        self._operation = operation
        self._writing = writing
        self._connection: Any = None

    async def __aenter__(self) -> Session:
        try:
            self._connection = await self._pool.acquire(timeout=self._acquire_s)
        except LIBRARY_ERRORS as error:
            raise translate_error(self._operation, error) from None
        return Session(self._connection)

    async def __aexit__(
        self, _kind: object, error: BaseException | None, _traceback: object
    ) -> None:
        if isinstance(error, asyncpg.PostgresError):
            answered = not isinstance(error, asyncpg.PostgresConnectionError)
        else:
            answered = error is None
        if not answered:
            # asyncpg has already returned a lost connection to the pool.
            with contextlib.suppress(asyncpg.InterfaceError):
                self._connection.terminate()
        await self._pool.release(self._connection, timeout=CLOSE_S)
        if isinstance(error, LIBRARY_ERRORS):
            raise translate_error(self._operation, error, writing=self._writing) from None


async def _keep(connection: Any) -> None:
    """Do nothing: no statement leaves session state, and a reset costs a round trip."""
