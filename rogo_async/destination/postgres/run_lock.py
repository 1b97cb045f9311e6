"""Allows one run at a time per target: a PostgreSQL advisory lock on its own connection.

``lock_claims`` says what a run and a shard take of it.

A heartbeat verifies the lock every few seconds. When the lock is lost, ``on_lost`` pauses a run
until ``regain`` has taken it again, and ends any other command. ``verify_held`` protects each
write and each deletion: it asks the server first after a stall of this machine, and for a session
that may be on another server than the lock. Each hold of the lock has a number, since another
command may have held it, and may have deleted blobs, between two holds. If two writers overlap
nevertheless, the unique launch id allows only one insert (invariant 2, see ``writer``).

Source: specification §5, locks.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Self

import structlog

from rogo_async.common.errors import (
    Dependency,
    DependencyError,
    LockHeld,
    RunStopped,
    SystemicError,
    TransientError,
)
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.destination.postgres.connections import CLOSE_S, Session, boot_time_s
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.lock_claims import LOCK_KEY, Claim
from rogo_async.destination.postgres.translation import (
    LIBRARY_ERRORS,
    translate_connect_error,
    translate_error,
)

HEARTBEAT_S: Final = 5.0
_HEARTBEAT_TIMEOUT_S: Final = 60.0
"""A slow server still holds the lock; after this time its keepalives detected a lost client."""

_FRESH_S: Final = 3 * HEARTBEAT_S
LOST: Final = "lost the connection that holds the run lock"
_NOBODY: Final = object()
OnLost = Callable[[DependencyError], None]
log = structlog.get_logger()


class RunLock:
    """The lock, from ``acquire`` to ``release``.

    ``hold`` is the number of the current or the last hold; it grows each time the lock is taken.
    """

    def __init__(
        self, options: ConnectOptions, claim: Claim, stop_signal: StopSignal, on_lost: OnLost
    ) -> None:
        self.hold = 0
        self._options = options
        self._claim = claim
        self._stop_signal = stop_signal
        self._on_lost = on_lost
        self._connection: Any = None
        self._own: dict[int, object] = {}
        """The server's processes of the last hold and of later tries: their start by process id."""
        self._check_lock = asyncio.Lock()
        self._verified_s = 0.0
        self._heartbeat_task: asyncio.Task[None] | None = None

    @classmethod
    async def acquire(
        cls, options: ConnectOptions, claim: Claim, stop_signal: StopSignal, on_lost: OnLost
    ) -> Self:
        """Take ``claim`` of the lock. Raises LockHeld at once, with the start of its holder.

        ``on_lost`` is called when the lock is lost. Raises SystemicError for a pooler, and another
        DependencyError if the target is unreachable.
        """
        lock = cls(options, claim, stop_signal, on_lost)
        await lock._take()
        lock._heartbeat_task = asyncio.create_task(lock._heartbeat(), name="run-lock")
        return lock

    async def verify_held(self, since_s: float = 0.0) -> int:
        """The number of the hold, if the lock was held recently and after ``since_s``.

        Normally the last heartbeat is recent and no query is needed. After a stall of this machine
        a write may resume before the heartbeat, so this asks the server. So does a write on a
        session that began at ``since_s`` (clock of ``boot_time_s``), after the last heartbeat: it
        may be on another server, or on the same one after a restart. Raises TransientError if the
        lock is lost, and RunStopped if another run has taken it.
        """
        await self._check_server(max(boot_time_s() - _FRESH_S, since_s))
        if StopReason.LOCK_LOST in self._stop_signal.reasons:
            raise RunStopped
        if self._connection is None:
            raise TransientError(Dependency.TARGET, "lock", LOST)
        return self.hold

    async def regain(self) -> bool:
        """Take a lost lock again. Returns whether it was lost.

        Raises a DependencyError if that is not possible yet. Ends the run and raises RunStopped if
        another run has taken the lock.
        """
        if self._connection is not None:
            return False
        self._stop_signal.raise_if_stopping()
        try:
            await self._take()
        except LockHeld as held:
            self._stop_signal.stop(StopReason.LOCK_LOST, f"{LOST}, and {held}")
            raise RunStopped from None
        log.info("run lock taken again", hold=self.hold)
        return True

    async def release(self) -> None:
        """Release the lock by closing its session."""
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
            await asyncio.gather(self._heartbeat_task, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=CLOSE_S)
        except LIBRARY_ERRORS:
            connection.terminate()

    async def _take(self) -> None:
        try:
            connection = await self._options.connect()
        except (*LIBRARY_ERRORS, ValueError) as error:
            raise translate_connect_error("lock", error, self._options) from None
        asked_s = boot_time_s()
        try:
            await self._lock_on(connection)
        except LIBRARY_ERRORS as error:
            connection.terminate()
            raise translate_error("lock", error) from None
        except BaseException:
            connection.terminate()
            raise
        self._connection, self._verified_s = connection, asked_s
        self.hold += 1
        connection.add_termination_listener(self._on_termination)
        if connection.is_closed():
            self._on_termination(connection)

    async def _lock_on(self, connection: Any) -> None:
        """Take the lock on a new connection."""
        session = Session(connection)
        backend = await session.row("backend", {})
        # Before taking the lock: a pooler would keep it for its next client.
        if backend["pid"] != connection.get_server_pid():
            raise SystemicError(
                Dependency.TARGET,
                "lock",
                "DATABASE_URL names a connection pooler, which does not keep the lock against a "
                "second run. Name the PostgreSQL server itself",
            )
        # The server may not know yet that an earlier connection is lost.
        for pid, since in self._own.items():
            await session.row("end_session", {"pid": pid, "since": since})
        self._own[backend["pid"]] = backend["since"]
        obstacle = await self._claim.take(session)
        if obstacle is not None:
            since = obstacle.since
            if obstacle.pid is None or self._own.get(obstacle.pid, _NOBODY) == since:
                raise TransientError(Dependency.TARGET, "lock", "the run lock is not free yet")
            when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start not visible)"
            raise LockHeld(f"{obstacle.text} {when}")
        self._own = {backend["pid"]: backend["since"]}

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            await self._check_server(boot_time_s() - HEARTBEAT_S / 2)

    async def _check_server(self, needed_s: float) -> None:
        """Ask the server, unless it confirmed the lock after ``needed_s``."""
        if self._verified_s >= needed_s:
            return
        async with self._check_lock:
            connection = self._connection
            if connection is None or self._verified_s >= needed_s:
                return
            asked_s = boot_time_s()
            try:
                (found,) = await Session(connection).rows(
                    "own_lock", LOCK_KEY, _HEARTBEAT_TIMEOUT_S
                )
                held = found["held"]
            except LIBRARY_ERRORS:
                held = 0
            if held:
                self._verified_s = asked_s
            else:
                self._on_termination(connection)
                connection.terminate()

    def _on_termination(self, connection: object) -> None:
        if connection is self._connection:
            self._connection = None
            self._on_lost(TransientError(Dependency.TARGET, "lock", LOST))
