"""Connections to the warehouse, each with a thread of its own, and what their errors mean.

aioodbc's own pool deadlocks when a connection dies while others wait for one, and connects while
holding its lock; this pool hands out slots instead of connections. A call that overran its
deadline goes on in its thread, so that connection is thrown away with the thread.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from rogo_async import classify
from rogo_async.errors import Dependency, DependencyFault, SetupError, SystemicFault, TransientFault
from rogo_async.warehouse.dsn import VARIABLE, odbc_string

CONNECT_S: Final = 10.0
QUERY_S: Final = 60.0
CLOSE_S: Final = 5.0

_NUMBER = re.compile(r"\((\d+)\) \(SQL\w+\)")
_PG_LOGIN = re.compile(r"FATAL:\s+(password authentication|database .* does not|role |no pg_hba)")
_MEANING: Final = {
    "18456": f"the login was refused. Check user and password in {VARIABLE}",
    "4060": f"the database cannot be opened. Check its name in {VARIABLE}",
    "40615": "the server's firewall refuses this machine. Add its address there",
    "28000": f"the login was refused. Check user and password in {VARIABLE}",
    "42501": "a permission is missing. Grant SELECT on the two tables",
    "229": "a permission is missing. Grant SELECT on the two tables",
    "IM002": f"the driver or data source named in {VARIABLE} is not installed",
    "01000": f"the driver named in {VARIABLE} cannot be loaded. Install it, or name another",
    "login": f"the login was refused. Check user, password and database in {VARIABLE}",
}
log = structlog.get_logger()


def import_pyodbc() -> Any:
    """The pyodbc module. Raises SetupError where the system's unixODBC is absent."""
    try:
        # Here and not above: they need the system's unixODBC, whose absence we explain.
        import aioodbc  # noqa: F401, PLC0415
        import pyodbc  # noqa: PLC0415
    except ImportError as error:
        if "libodbc" in str(error):
            raise SetupError(
                "unixODBC is not installed (libodbc.so.2 is missing): apt-get install unixodbc"
            ) from None
        raise SetupError("pyodbc or aioodbc is not installed: pip install rogo-async") from None
    return pyodbc


class Pool:
    """At most ``size`` connections; a broken one is thrown away and made anew when needed."""

    def __init__(self, dsn: str, size: int) -> None:
        self._pyodbc = import_pyodbc()
        self._pyodbc.pooling = False
        self._dsn = odbc_string(dsn)
        self._slots = asyncio.Semaphore(size)
        self._idle: list[_Connection] = []
        self._closing: set[asyncio.Task[None]] = set()

    async def rows(self, operation: str, sql: str, args: Sequence[object] = ()) -> list[Any]:
        """All rows of one query. Raises TransientFault or SystemicFault."""
        async with self._connection(operation) as connection:
            return await connection.rows(operation, sql, args)

    async def aclose(self) -> None:
        """Close what is idle; wait for it no longer than the deadline."""
        for connection in self._idle:
            self._discard(connection)
        self._idle.clear()
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_S)

    @asynccontextmanager
    async def _connection(self, operation: str) -> AsyncIterator["_Connection"]:
        async with self._slots:
            if self._idle:
                connection = self._idle.pop()
            else:
                connection = _Connection(self._pyodbc)
                try:
                    await connection.open(self._dsn, operation)
                except BaseException:
                    self._discard(connection)
                    raise
            try:
                yield connection
            except BaseException:
                self._discard(connection)
                raise
            self._idle.append(connection)

    def _discard(self, connection: "_Connection") -> None:
        task = asyncio.create_task(connection.close(), name="warehouse-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Connection:
    """One aioodbc connection and the thread that it runs on."""

    def __init__(self, pyodbc: Any) -> None:
        self._pyodbc = pyodbc
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="warehouse")
        self._connection: Any = None

    async def open(self, dsn: str, operation: str) -> None:
        import aioodbc  # noqa: PLC0415 - as in import_pyodbc

        try:
            async with asyncio.timeout(CONNECT_S + 2):
                self._connection = await aioodbc.connect(
                    dsn=dsn, autocommit=True, timeout=int(CONNECT_S), executor=self._executor
                )
        except TimeoutError:
            raise _timed_out(operation, CONNECT_S) from None
        except self._pyodbc.Error as error:
            raise fault_of(operation, error) from None

    async def rows(self, operation: str, sql: str, args: Sequence[object]) -> list[Any]:
        try:
            async with asyncio.timeout(QUERY_S):
                cursor = await self._connection.execute(sql, *args)
                found: list[Any] = await cursor.fetchall()
                await cursor.close()
        except TimeoutError:
            raise _timed_out(operation, QUERY_S) from None
        except self._pyodbc.Error as error:
            raise fault_of(operation, error) from None
        return found

    async def close(self) -> None:
        try:
            if self._connection is not None:
                async with asyncio.timeout(CLOSE_S):
                    await self._connection.close()
        except (TimeoutError, self._pyodbc.Error):
            log.debug("a warehouse connection was left behind unclosed")
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)


def _timed_out(operation: str, seconds: float) -> TransientFault:
    return TransientFault(Dependency.WAREHOUSE, operation, f"no answer within {seconds:g} s")


def fault_of(operation: str, error: Exception) -> DependencyFault:
    """The fault that a pyodbc error stands for. The server's own text is left out of it."""
    state = str(error.args[0]) if error.args else ""
    text = str(error.args[1]) if len(error.args) > 1 else ""
    found = _NUMBER.search(text) if "[SQL Server]" in text or "[FreeTDS]" in text else None
    number = int(found[1]) if found else None
    if state == "08001" and _PG_LOGIN.search(text):
        verdict, wait_s, key = classify.Verdict.SYSTEMIC, 0.0, "login"
    else:
        verdict, wait_s = classify.of_odbc(state, number)
        key = str(number) if str(number) in _MEANING else state
    reason = f"SQLSTATE {state}" + (f", error {number}" if number is not None else "")
    if key in _MEANING and verdict is classify.Verdict.SYSTEMIC:
        reason += f": {_MEANING[key]}"
    if verdict is classify.Verdict.TRANSIENT:
        return TransientFault(Dependency.WAREHOUSE, operation, reason, wait_s)
    return SystemicFault(Dependency.WAREHOUSE, operation, reason)
