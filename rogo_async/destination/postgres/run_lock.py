"""One run at a time for a target: an advisory lock on a connection of its own."""

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
_ANSWER_S: Final = 60.0
"""A server that is slow still keeps the lock for us; by then it would have noticed our absence."""

_FRESH_S: Final = 3 * HEARTBEAT_S


def _now_s() -> float:
    """A clock that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RunLock:
    """Held from ``acquire`` to ``release``; losing it ends the run, for another may begin."""

    def __init__(self, connection: Any, stop_signal: StopSignal) -> None:
        self._connection = connection
        self._stop_signal = stop_signal
        self._turn = asyncio.Lock()
        self._proved_s = _now_s()
        self._releasing = False
        self._heart: asyncio.Task[None] | None = None

    @classmethod
    async def acquire(cls, options: ConnectOptions, stop_signal: StopSignal) -> Self:
        """Take the lock or raise LockHeld at once, telling since when another run has held it.

        Raises SetupError behind a pooler that does not keep sessions, and a DependencyError when
        the target cannot be reached.
        """
        try:
            connection = await asyncpg.connect(**options.arguments())
        except (*LIBRARY_ERRORS, ValueError) as error:
            raise translate_connect_error("lock", error) from None
        lock = cls(connection, stop_signal)
        try:
            await lock._take()
        except LIBRARY_ERRORS as error:
            connection.terminate()
            raise translate_error("lock", error) from None
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lock._on_termination)
        lock._heart = asyncio.create_task(lock._beat(), name="run-lock")
        return lock

    async def verify_held(self) -> None:
        """Return when it is certain that the lock was held a moment ago; raise RunStopped if not.

        Between two heartbeats that costs nothing. After this machine stood still, what wakes first
        may be a write: it must not go out before the server has been asked.
        """
        if _now_s() - self._proved_s > _FRESH_S:
            await self._prove()
        if StopReason.LOCK_LOST in self._stop_signal.reasons:
            raise RunStopped

    async def release(self) -> None:
        """Let the lock go by ending its session."""
        self._releasing = True
        if self._heart is not None:
            self._heart.cancel()
            await asyncio.gather(self._heart, return_exceptions=True)
        try:
            await self._connection.close(timeout=CLOSE_S)
        except LIBRARY_ERRORS:
            self._connection.terminate()

    async def _take(self) -> None:
        session = Session(self._connection)
        # Before the lock is asked for: a pooler would keep it for its next client.
        if (await session.row("backend", {}))["pid"] != self._connection.get_server_pid():
            raise SetupError(
                "DATABASE_URL leads through a connection pooler, which does not keep the lock "
                "that stops two runs at once: name the PostgreSQL server itself"
            )
        if not (await session.row("try_lock", LOCK_KEY))["locked"]:
            holder = await session.row("lock_holder", LOCK_KEY)
            since = holder["since"] if holder is not None else None
            when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start not visible here)"
            raise LockHeld(f"another run has held this target's lock {when}")

    async def _beat(self) -> None:
        while StopReason.LOCK_LOST not in self._stop_signal.reasons:
            await asyncio.sleep(HEARTBEAT_S)
            await self._prove()

    async def _prove(self) -> None:
        async with self._turn:
            asked_s = _now_s()
            if asked_s - self._proved_s < HEARTBEAT_S / 2:
                return
            try:
                (found,) = await Session(self._connection).rows("own_lock", LOCK_KEY, _ANSWER_S)
                held = found["held"]
            except LIBRARY_ERRORS:
                held = 0
            if held:
                self._proved_s = asked_s
            else:
                self._lost()
                self._connection.terminate()

    def _on_termination(self, _connection: object) -> None:
        self._lost()

    def _lost(self) -> None:
        if not self._releasing:
            self._stop_signal.stop(
                StopReason.LOCK_LOST, "the connection that held the run's lock was lost"
            )
