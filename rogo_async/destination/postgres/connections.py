"""Connections to the target: options, deadlines, pool, and the meaning of their errors.

When a statement is cancelled on a dead socket, asyncpg waits forever, and so does the release of
the connection to its pool. Therefore a connection is terminated before its release unless the
server answered its last statement.
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
"""The application_name of a run's sessions; ``sweep`` and ``rollback`` look for it."""

_KEEPALIVE: Final = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "120s",
}
"""Lets the server detect within a minute that this machine is gone, and release its locks."""

_MEANING: Final = {
    "28P01": "login failed. Check user and password in DATABASE_URL",
    "28000": "login failed. Check user and sslmode in DATABASE_URL",
    "3D000": "the database does not exist. Check its name in DATABASE_URL",
    "42501": "permission denied. Grant the user of DATABASE_URL its rights on the tables",
    "42P01": "a table does not exist. Check the database and the search path in DATABASE_URL",
    "53100": "the server's disk is full",
    "42704": "unknown parameter in DATABASE_URL, or unknown type in the schema",
}


def translate_connect_error(operation: str, error: BaseException) -> Exception:
    """Translate a connection error to a DependencyError.

    No row is involved, so an unusable value comes from DATABASE_URL.
    """
    if isinstance(error, OSError) and error.filename is not None:
        reason = "cannot read a file named in DATABASE_URL (sslrootcert, sslcert …)"
        return SystemicError(Dependency.TARGET, operation, reason)
    if isinstance(error, ValueError):
        reason = "invalid host or parameter in DATABASE_URL"
        return SystemicError(Dependency.TARGET, operation, reason)
    translated = translate_error(operation, error)
    if isinstance(translated, DependencyError):
        return translated
    reason = "the server rejects a parameter in DATABASE_URL"
    return SystemicError(Dependency.TARGET, operation, reason)


class TableConflict(Exception):
    """A unique or foreign key rejects the row. Keeps the names of table and constraint only."""

    def __init__(self, table: str, constraint: str) -> None:
        super().__init__(table)
        self.table = table
        self.constraint = constraint


def translate_error(operation: str, error: BaseException, *, writing: bool = False) -> Exception:
    """Translate an asyncpg error, without the server's own text, which may quote values.

    Returns RowError target_refused for rejected content, TableConflict for a violated key
    (rule 15), else a DependencyError. While ``writing``, a lost reply is an AmbiguousError: the
    commit may have succeeded.
    """
    if isinstance(error, ssl.SSLError):
        return SystemicError(
            Dependency.TARGET,
            operation,
            "TLS failed: the server's certificate is not trusted or is for another name. "
            "Set sslmode and sslrootcert in DATABASE_URL",
        )
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return SystemicError(Dependency.TARGET, operation, "invalid parameter in DATABASE_URL")
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(operation, error, writing=writing)
    if type(error) is ConnectionError and "rejected SSL" in str(error):
        # asyncpg raises this when the server declines TLS, and when the connection is lost during
        # that request. Errors of the operating system are subclasses of ConnectionError.
        return SystemicError(
            Dependency.TARGET,
            operation,
            "the server does not offer TLS. Enable TLS on the server, or set sslmode=disable in "
            "DATABASE_URL if the network is trusted",
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
                f"the target rejected the content ({reason}, {type(error).__name__})",
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
    """How to connect to the target.

    If ``tls`` is None, the sslmode in ``dsn`` applies. ``name`` is the application_name that the
    server shows in pg_stat_activity.
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
            "server_settings": {"application_name": self.name, "TimeZone": "UTC", **_KEEPALIVE},
            **tls,
        }


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

    def __init__(self, options: ConnectOptions, pool: Any) -> None:
        self.options = options
        self._pool = pool

    @classmethod
    async def open(cls, options: ConnectOptions, size: int) -> Self:
        """Open one connection as a test; the pool opens the others when they are needed.

        Raises TransientError while the server is unreachable, SystemicError for a permanent error.
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
        return PooledSession(self._pool, operation, writing=writing)

    async def probe(self) -> None:
        """Test that the server answers. Raises a DependencyError."""
        async with self.session("probe") as session:
            await session.raw.fetchval("SELECT 1", timeout=CONNECT_S)


class PooledSession:
    """Async context manager: takes a connection from the pool and returns it.

    A class, since ``asynccontextmanager`` would create a generator for each submission.
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
            # asyncpg has already returned a lost connection to the pool.
            with contextlib.suppress(asyncpg.InterfaceError):
                self._connection.terminate()
        await self._pool.release(self._connection, timeout=CLOSE_S)
        if isinstance(error, LIBRARY_ERRORS):
            raise translate_error(self._operation, error, writing=self._writing) from None


async def _prepare(connection: Any) -> None:
    await connection.execute("SET jit = off")


async def _keep(connection: Any) -> None:
    """Do nothing: no statement leaves session state, and a reset costs a round trip."""
