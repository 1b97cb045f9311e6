"""Pool of connections to the warehouse, each with its own thread.

aioodbc's own pool deadlocks if a connection dies while others wait for one, and it connects while
it holds its lock. This pool limits slots, not connections. A call that exceeds its deadline
continues in its thread, so the pool discards that connection together with the thread.
"""

import asyncio
import contextlib
import os
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

import structlog

from rogo_async.sources.warehouse import convert, drivers
from rogo_async.sources.warehouse.connection_string import OdbcSettings
from rogo_async.sources.warehouse.drivers import DriverKind
from rogo_async.sources.warehouse.errors import timed_out, translate_error, unreadable

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThread(Executor):
    """An executor with one daemon thread.

    The process can exit while a call hangs, which a ThreadPoolExecutor would prevent.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call for the thread."""
        future: Future[T] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - signature of the base class
        """End the thread after the queued calls."""
        self._work.put(None)

    def cpu_s(self) -> float:
        """CPU time that the thread has used, in seconds; 0 if it has ended (Linux, proc(5))."""
        try:
            stat = Path(f"/proc/self/task/{self._thread.native_id}/stat").read_bytes()
        except OSError:
            return 0.0
        user, system = stat.rpartition(b")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            _call(*item)
            # Without this, the frame keeps the result of the call alive.
            del item


def _call(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - the future passes it on
        future.set_exception(error)
        # The traceback refers to this frame; without these names it keeps no object alive.
        del future, call
    else:
        future.set_result(result)


_ACCESS_TOKEN: Final = 1256
"""SQL_COPT_SS_ACCESS_TOKEN."""
log = structlog.get_logger()

_MOST_SPINNING: Final = 3
_SPINNING: Final = 0.04
"""The share of a core that a thread uses at least when it spins, also on a busy machine."""

Tokens = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Names and versions of driver and server, as they report them."""

    driver: str
    driver_version: str
    server: str
    server_version: str


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits in seconds for a login, a query and closing.

    The driver gets the first two as timeouts. If it exceeds one by ``grace_s``, the call is
    abandoned.
    """

    connect_s: float = 10.0
    query_s: float = 60.0
    close_s: float = 5.0
    grace_s: float = 2.0


DEFAULT_DEADLINES: Final = Deadlines()


def ignore(_: str) -> None:
    """For a command that ends soon anyway."""


class Pool:
    """At most ``size`` connections; a broken one is discarded, and replaced when needed.

    ``tokens`` gives an access token for a new connection, if ``odbc`` needs one. ``on_spinning``
    receives a text for the operator when so many driver calls that were abandoned use the CPU that
    the run must end: their threads cannot be stopped.
    """

    def __init__(
        self,
        odbc: OdbcSettings,
        size: int,
        tokens: Tokens | None = None,
        deadlines: Deadlines = DEFAULT_DEADLINES,
        on_spinning: Callable[[str], object] = ignore,
    ) -> None:
        self._on_spinning = on_spinning
        self._spinning = 0
        self._pyodbc = drivers.import_pyodbc()
        self._odbc = odbc
        self._tokens = tokens
        self._deadlines = deadlines
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def rows(
        self, operation: str, sql: str, args: Sequence[object] = (), table: str = "the two tables"
    ) -> list[Any]:
        """Run a query and return all rows; ``table`` is its table, for error texts.

        Raises TransientError or SystemicError.
        """
        async with self._connection(operation) as connection:
            return await connection.rows(operation, sql, args, table)

    async def server_info(self) -> "ServerInfo":
        """Names and versions of driver and server. Raises TransientError or SystemicError."""
        async with self._connection("server_info") as connection:
            return await connection.server_info("server_info")

    async def aclose(self) -> None:
        """Close idle connections; wait until the deadline at most."""
        self._discard_idle()
        if self._closing:
            await asyncio.wait(self._closing, timeout=self._deadlines.close_s)

    @asynccontextmanager
    async def _connection(self, operation: str) -> AsyncIterator["_Connection"]:
        async with self._slots:
            connection = self._idle.pop() if self._idle else None
            try:
                if connection is None:
                    connection = _Connection(self._pyodbc, self._deadlines)
                    await connection.open(operation, self._odbc, await self._attributes())
                yield connection
            except BaseException:
                if connection is not None:
                    self._discard(connection)
                # Idle connections are older than this error and may be broken, too.
                self._discard_idle()
                raise
            self._idle.append(connection)

    async def _attributes(self) -> dict[int, bytes]:
        if self._tokens is None:
            return {}
        token = (await self._tokens()).encode("utf-16-le")
        return {_ACCESS_TOKEN: struct.pack("<I", len(token)) + token}

    def _discard_idle(self) -> None:
        while self._idle:
            self._discard(self._idle.pop())

    def _discard(self, connection: "_Connection") -> None:
        task = asyncio.create_task(self._close(connection), name="warehouse-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, connection: "_Connection") -> None:
        if not await connection.close():
            return
        self._spinning += 1
        log.warning(
            "a call of the ODBC driver never ends and uses the CPU; its thread was abandoned",
            driver=self._odbc.driver.name,
            abandoned=self._spinning,
        )
        if self._spinning == _MOST_SPINNING:
            self._on_spinning(
                f"{self._spinning} calls of the ODBC driver {self._odbc.driver.name} never end and "
                "use the CPU. Use Microsoft's ODBC Driver 18 for SQL Server, then run again"
            )


class _Connection:
    """One aioodbc connection and its thread."""

    def __init__(self, pyodbc: Any, deadlines: Deadlines) -> None:
        self._pyodbc = pyodbc
        self._deadlines = deadlines
        self._thread = DaemonThread("warehouse")
        self._connection: Any = None
        self._cursor: Any = None

    async def open(self, operation: str, odbc: OdbcSettings, attributes: dict[int, bytes]) -> None:
        """Log in. Raises TransientError or SystemicError."""
        import aioodbc  # noqa: PLC0415 - as in drivers.import_pyodbc

        limit_s = odbc.connect_s or self._deadlines.connect_s
        try:
            async with asyncio.timeout(limit_s + self._deadlines.grace_s):
                self._connection = await aioodbc.connect(
                    dsn=odbc.connection_string,
                    autocommit=True,
                    timeout=max(1, round(limit_s)),
                    executor=self._thread,
                    attrs_before=attributes,
                    after_created=lambda raw: self._prepare(raw, odbc.driver.kind),
                )
        except TimeoutError:
            raise timed_out(operation, limit_s) from None
        except self._pyodbc.Error as error:
            raise translate_error(operation, error) from None

    async def rows(self, operation: str, sql: str, args: Sequence[object], table: str) -> list[Any]:
        """Run a query and return all rows. Raises TransientError or SystemicError."""
        limit_s = self._deadlines.query_s
        try:
            async with asyncio.timeout(limit_s + self._deadlines.grace_s):
                self._cursor = await self._connection.execute(sql, *args)
                found: list[Any] = await self._cursor.fetchall()
                await self._cursor.close()
        except TimeoutError:
            raise timed_out(operation, limit_s) from None
        except self._pyodbc.Error as error:
            raise translate_error(operation, error, table) from None
        except (ArithmeticError, ValueError, struct.error, SystemError) as error:
            # Microsoft's driver returns half a value if the connection breaks within it.
            raise unreadable(operation, error) from None
        self._cursor = None
        return found

    async def server_info(self, operation: str) -> ServerInfo:
        """Names and versions of driver and server. Raises TransientError or SystemicError."""
        names = ("DRIVER_NAME", "DRIVER_VER", "DBMS_NAME", "DBMS_VER")
        limit_s = self._deadlines.query_s
        try:
            async with asyncio.timeout(limit_s + self._deadlines.grace_s):
                return ServerInfo(
                    *[
                        str(await self._connection.getinfo(getattr(self._pyodbc, f"SQL_{name}")))
                        for name in names
                    ]
                )
        except TimeoutError:
            raise timed_out(operation, limit_s) from None
        except self._pyodbc.Error as error:
            raise translate_error(operation, error) from None

    async def close(self) -> bool:
        """Close the connection in its thread, after the current call, and end the thread.

        Returns whether the current call uses the CPU and has not ended by the deadline.

        This side keeps no reference to the connection: releasing the last reference calls the
        driver, which may hang.
        """
        leftovers = [self._cursor, None]
        if self._connection is not None:
            # Otherwise aioodbc reports and closes it when it is garbage collected.
            leftovers[1] = self._connection._conn  # noqa: SLF001
            self._connection._conn = None  # noqa: SLF001
        self._connection = self._cursor = None
        self._thread.submit(_close, leftovers, self._pyodbc.Error)
        closed = asyncio.wrap_future(self._thread.submit(_nothing))
        self._thread.shutdown()
        cpu_s = self._thread.cpu_s()
        await asyncio.wait({closed}, timeout=self._deadlines.close_s)
        if closed.done():
            return False
        log.debug("a warehouse connection is still closing", seconds=self._deadlines.close_s)
        closed.cancel()
        return self._thread.cpu_s() - cpu_s > _SPINNING * self._deadlines.close_s

    async def _prepare(self, raw: Any, kind: DriverKind) -> None:
        with contextlib.suppress(self._pyodbc.Error):
            # Not every driver supports it; the deadline of the call applies anyway.
            raw.timeout = max(1, round(self._deadlines.query_s))
        if kind is not DriverKind.OTHER:
            convert.register_converters(self._pyodbc, raw)


def _close(leftovers: list[Any], driver_error: type[Exception]) -> None:
    """Free the cursor, then close the connection and free it."""
    leftovers[0] = None
    if leftovers[1] is not None:
        with contextlib.suppress(driver_error):
            leftovers[1].close()
    leftovers.clear()


def _nothing() -> None:
    """The last call of the thread; when it returns, the connection is closed."""
