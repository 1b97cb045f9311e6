"""Connections to the target, their deadlines, and what their errors mean.

asyncpg waits for ever for a cancelled statement on a dead socket, and its pool's release waits
with it: a connection whose last statement did not end in an answer of the server is terminated
before it is given back.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import asyncpg

from rogo_async.common import error_classes
from rogo_async.common.error_classes import ErrorClass
from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    DependencyError,
    FailureCode,
    RowError,
    SystemicError,
    TransientError,
    reason_of,
)
from rogo_async.destination.postgres.queries import query

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 20.0
CLOSE_S: Final = 5.0
RUN: Final = "rogo_async"
"""The application_name of a run's sessions."""

_WATCHFUL: Final = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "120s",
}
"""Has the server notice within a minute that this machine is gone, and let its locks go."""

_MEANING: Final = {
    "28P01": "the login was refused. Check user and password in DATABASE_URL",
    "28000": "the login was refused. Check user and sslmode in DATABASE_URL",
    "3D000": "there is no such database. Check its name in DATABASE_URL",
    "42501": "a permission is missing. Grant this user its rights on the tables",
    "42P01": "a table is missing. Check database and search path in DATABASE_URL",
    "53100": "the server's disk is full",
    "42704": "the server does not know a parameter of DATABASE_URL, or a type of the schema",
}


def translate_connect_error(operation: str, error: BaseException) -> Exception:
    """Translate an error of connecting: no row is involved, and a value that cannot be used comes
    from DATABASE_URL.

    Returns a DependencyError.
    """
    if isinstance(error, OSError) and error.filename is not None:
        reason = "a file that DATABASE_URL names (sslrootcert, sslcert …) cannot be read"
        return SystemicError(Dependency.TARGET, operation, reason)
    if isinstance(error, ValueError):
        reason = "DATABASE_URL has a host or a parameter that cannot be used"
        return SystemicError(Dependency.TARGET, operation, reason)
    fault = translate_error(operation, error)
    if isinstance(fault, DependencyError):
        return fault
    reason = "the server refuses a parameter in DATABASE_URL"
    return SystemicError(Dependency.TARGET, operation, reason)


class TableConflict(Exception):
    """A unique or foreign key stands in the way. Only the table's name is kept."""

    def __init__(self, table: str, constraint: str) -> None:
        super().__init__(table)
        self.table = table
        self.constraint = constraint


def translate_error(operation: str, error: BaseException, *, writing: bool = False) -> Exception:
    """What an asyncpg error stands for; the server's own text, which may quote values, is not
    repeated.

    RowError target_refused for refused content, TableConflict for a key in the way, else a
    DependencyError; while ``writing`` a lost reply is an AmbiguousError.
    """
    if isinstance(error, ssl.SSLError):
        return SystemicError(
            Dependency.TARGET,
            operation,
            "TLS failed: the server's certificate is not trusted, "
            "or not for this name. Set sslmode and sslrootcert in DATABASE_URL",
        )
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return SystemicError(
            Dependency.TARGET, operation, "DATABASE_URL holds a setting that cannot be used"
        )
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(operation, error, writing=writing)
    if type(error) is ConnectionError and "rejected SSL" in str(error):
        # asyncpg's own word for a server that declines TLS, and for a connection that was lost
        # while it was asked for; the system's errors are subclasses.
        return SystemicError(
            Dependency.TARGET,
            operation,
            "the server offers no TLS. Turn it on there, or set sslmode=disable in DATABASE_URL "
            "if the way to it is safe",
        )
    reason = reason_of(error)
    if writing:
        return AmbiguousError(Dependency.TARGET, operation, reason)
    return TransientError(Dependency.TARGET, operation, reason)


def _of_sqlstate(operation: str, error: asyncpg.PostgresError, *, writing: bool) -> Exception:
    state = error.sqlstate or ""
    reason = f"SQLSTATE {state}"
    match error_classes.of_postgres(state or None):
        case ErrorClass.CONTENT:
            return RowError(
                FailureCode.TARGET_REFUSED,
                f"the target refused the content ({reason}, {type(error).__name__})",
            )
        case ErrorClass.CONFLICT:
            return TableConflict(error.table_name or "?", error.constraint_name or "?")
        case ErrorClass.TRANSIENT:
            if writing and (state.startswith("08") or state in {"57P01", "57P02", "57P03"}):
                return AmbiguousError(Dependency.TARGET, operation, reason)
            return TransientError(Dependency.TARGET, operation, reason)
        case ErrorClass.SYSTEMIC:
            meaning = _MEANING.get(state)
            return SystemicError(
                Dependency.TARGET, operation, f"{reason}: {meaning}" if meaning else reason
            )


LIBRARY_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
)


@dataclass(frozen=True, slots=True)
class ConnectOptions:
    """Where the target is. ``tls`` None leaves the choice to the URL; ``name`` is what the
    server's administrator sees of us.
    """

    dsn: str
    tls: ssl.SSLContext | None
    name: str = RUN

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of asyncpg's connect and create_pool."""
        tls = {} if self.tls is None else {"ssl": self.tls}
        return {
            "dsn": self.dsn,
            "timeout": CONNECT_S,
            "command_timeout": STATEMENT_S,
            "server_settings": {"application_name": self.name, "TimeZone": "UTC", **_WATCHFUL},
            **tls,
        }


class Session:
    """One connection for the length of a with block, speaking in named queries."""

    def __init__(self, connection: Any) -> None:
        self.raw = connection

    async def row(self, name: str, values: Mapping[str, object]) -> Any:
        """The first row of a named query, or None."""
        statement = query(name)
        return await self.raw.fetchrow(statement.sql, *statement.arguments(values))

    async def rows(
        self, name: str, values: Mapping[str, object], deadline_s: float = STATEMENT_S
    ) -> list[Any]:
        """All rows of a named query."""
        statement = query(name)
        found: list[Any] = await self.raw.fetch(
            statement.sql, *statement.arguments(values), timeout=deadline_s
        )
        return found


class Connections:
    """The pool of connections that a run shares. Made by ``open``; its owner calls ``aclose``."""

    def __init__(self, options: ConnectOptions, pool: Any) -> None:
        self.options = options
        self._pool = pool

    @classmethod
    async def open(cls, options: ConnectOptions, size: int) -> Self:
        """Connect once to see that it works; the other connections are made when needed.

        Raises TransientError while the server is away and SystemicError where it refuses.
        """
        pool: Any = asyncpg.create_pool(
            min_size=0, max_size=size, init=_prepare, reset=_keep, **options.arguments()
        )
        try:
            async with asyncio.timeout(2 * CONNECT_S):
                await pool
                await pool.release(await pool.acquire())
        except (*LIBRARY_ERRORS, ValueError) as error:
            pool.terminate()
            raise translate_connect_error("connect", error) from None
        return cls(options, pool)

    async def aclose(self) -> None:
        """Close the pool, by force where closing takes too long."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._pool.close()
        except LIBRARY_ERRORS:
            self._pool.terminate()

    def session(self, operation: str, *, writing: bool = False) -> "PooledSession":
        """A connection for the length of an async with block, as a Session; whatever goes wrong
        on it leaves as a fault of this package.

        Raises what ``translate_error`` gives.
        """
        return PooledSession(self._pool, operation, writing=writing)

    async def probe(self) -> None:
        """Ask the server for one value on a connection. Raises a DependencyError."""
        async with self.session("probe") as session:
            await session.raw.fetchval("SELECT 1", timeout=CONNECT_S)


class PooledSession:
    """A connection of the pool, from one end of an async with block to the other.

    No ``asynccontextmanager``: the loop would register a generator for each submission.
    """

    __slots__ = ("_connection", "_operation", "_pool", "_writing")

    def __init__(self, pool: Any, operation: str, *, writing: bool) -> None:
        self._pool = pool
        self._operation = operation
        self._writing = writing
        self._connection: Any = None

    async def __aenter__(self) -> Session:
        try:
            self._connection = await self._pool.acquire(timeout=CONNECT_S + STATEMENT_S)
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
            # A connection that was lost has gone back to the pool by itself.
            with contextlib.suppress(asyncpg.InterfaceError):
                self._connection.terminate()
        await self._pool.release(self._connection, timeout=CLOSE_S)
        if isinstance(error, LIBRARY_ERRORS):
            raise translate_error(self._operation, error, writing=self._writing) from None


async def _prepare(connection: Any) -> None:
    await connection.execute("SET jit = off")


async def _keep(connection: Any) -> None:
    """Nothing to reset: statements here leave no state, and a reset is a round trip each."""
