"""A run that has lost its lock writes nothing, even before its heartbeat notices."""

import time

import pytest

from rogo_async.common.errors import RunStopped
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres import run_lock as module
from rogo_async.destination.postgres.connections import ConnectOptions
from rogo_async.destination.postgres.run_lock import RunLock


@pytest.fixture
def options(stack: Stack, workspace: Workspace) -> ConnectOptions:
    return ConnectOptions(stack.writer_dsn(workspace), None)


async def test_after_a_stall_the_lock_is_verified_with_the_server(
    options: ConnectOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_signal = StopSignal()
    lock = await RunLock.acquire(options, stop_signal)
    try:
        await lock.verify_held()
        await lock._connection.execute("SELECT pg_advisory_unlock_all()")
        await lock.verify_held()  # the last heartbeat is recent
        later = time.clock_gettime(time.CLOCK_BOOTTIME) + 3600
        monkeypatch.setattr(module, "_now_s", lambda: later)
        with pytest.raises(RunStopped):
            await lock.verify_held()
        assert StopReason.LOCK_LOST in stop_signal.reasons
        with pytest.raises(RunStopped):
            await lock.verify_held()
    finally:
        await lock.release()


async def test_after_a_stall_a_held_lock_stays_valid(
    options: ConnectOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_signal = StopSignal()
    lock = await RunLock.acquire(options, stop_signal)
    try:
        later = time.clock_gettime(time.CLOCK_BOOTTIME) + 3600
        monkeypatch.setattr(module, "_now_s", lambda: later)
        await lock.verify_held()
        assert not stop_signal.stopping
    finally:
        await lock.release()


async def test_keepalives_are_requested_from_the_server(
    options: ConnectOptions,
) -> None:
    lock = await RunLock.acquire(options, StopSignal())
    try:
        for name, value in (("idle", "30"), ("interval", "10"), ("count", "3")):
            assert await lock._connection.fetchval(f"SHOW tcp_keepalives_{name}") == value
    finally:
        await lock.release()
