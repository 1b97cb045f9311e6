"""Allows one run at a time per target: a PostgreSQL advisory lock on its own connection.

A heartbeat verifies the lock every few seconds. A lost lock stops the run, since another run may
start. ``verify_held`` protects each write: after a stall of this machine it asks the server first.
If two writers overlap nevertheless, the unique launch id allows only one insert (invariant 2, see
``writer``).

Source: specification §5, locks.
"""

import asyncio
import time
from typing import Any, Final, Self

import asyncpg

from rogo_async.common.errors import LockHeld, RunStopped, SetupError
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.destination.postgres.connections import (
    CLOSE_S,
    LIBRARY_ERRORS,
    ConnectOptions,
    Session,
    translate_connect_error,
    translate_error,
)

_CLASS: Final = 0x526F676F
_OBJECT: Final = 1
LOCK_KEY: Final = {"class": _CLASS, "object": _OBJECT}
HEARTBEAT_S: Final = 5.0
_HEARTBEAT_TIMEOUT_S: Final = 60.0
"""A slow server still holds the lock; after this time its keepalives detected a lost client."""

_FRESH_S: Final = 3 * HEARTBEAT_S


def _now_s() -> float:
    """CLOCK_BOOTTIME: includes the time that the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RunLock:
    """The lock, held from ``acquire`` to ``release``. The run stops if the lock is lost."""

    def __init__(self, connection: Any, stop_signal: StopSignal) -> None:
        self._connection = connection
        self._stop_signal = stop_signal
        self._check_lock = asyncio.Lock()
        self._verified_s = _now_s()
        self._releasing = False
        self._heartbeat_task: asyncio.Task[None] | None = None

    @classmethod
    async def acquire(cls, options: ConnectOptions, stop_signal: StopSignal) -> Self:
        """Take the lock. Raises LockHeld at once, with the start of the run that holds it.

        Raises SetupError for a pooler that does not keep sessions, and a DependencyError if the
        target is unreachable.
        """
        try:
            connection = await asyncpg.connect(**options.arguments())
        except (*LIBRARY_ERRORS, ValueError) as error:
            raise translate_connect_error("lock", error) from None
        lock = cls(connection, stop_signal)
        try:
            await lock._take_lock()
        except LIBRARY_ERRORS as error:
            connection.terminate()
            raise translate_error("lock", error) from None
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lock._on_termination)
        lock._heartbeat_task = asyncio.create_task(lock._heartbeat(), name="run-lock")
        return lock

    async def verify_held(self) -> None:
        """Return if the lock was held recently; otherwise raise RunStopped.

        Normally the last heartbeat is recent and no query is needed. After a stall of this
        machine a write may resume before the heartbeat, so this asks the server.
        """
        if _now_s() - self._verified_s > _FRESH_S:
            await self._check_server()
        if StopReason.LOCK_LOST in self._stop_signal.reasons:
            raise RunStopped

    async def release(self) -> None:
        """Release the lock by closing its session."""
        self._releasing = True
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
            await asyncio.gather(self._heartbeat_task, return_exceptions=True)
        try:
            await self._connection.close(timeout=CLOSE_S)
        except LIBRARY_ERRORS:
            self._connection.terminate()

    async def _take_lock(self) -> None:
        session = Session(self._connection)
        # Before taking the lock: a pooler would keep it for its next client.
        if (await session.row("backend", {}))["pid"] != self._connection.get_server_pid():
            raise SetupError(
                "DATABASE_URL names a connection pooler, which does not keep the lock against a "
                "second run. Name the PostgreSQL server itself"
            )
        if not (await session.row("try_lock", LOCK_KEY))["locked"]:
            holder = await session.row("lock_holder", LOCK_KEY)
            since = holder["since"] if holder is not None else None
            when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start not visible)"
            raise LockHeld(f"another run has held this target's lock {when}")

    async def _heartbeat(self) -> None:
        while StopReason.LOCK_LOST not in self._stop_signal.reasons:
            await asyncio.sleep(HEARTBEAT_S)
            await self._check_server()

    async def _check_server(self) -> None:
        async with self._check_lock:
            asked_s = _now_s()
            if asked_s - self._verified_s < HEARTBEAT_S / 2:
                return
            try:
                session = Session(self._connection)
                (found,) = await session.rows("own_lock", LOCK_KEY, _HEARTBEAT_TIMEOUT_S)
                held = found["held"]
            except LIBRARY_ERRORS:
                held = 0
            if held:
                self._verified_s = asked_s
            else:
                self._lost()
                self._connection.terminate()

    def _on_termination(self, _connection: object) -> None:
        self._lost()

    def _lost(self) -> None:
        if not self._releasing:
            self._stop_signal.stop(
                StopReason.LOCK_LOST, "lost the connection that holds the run lock"
            )
