"""A command that has lost its lock writes nothing, even before its heartbeat notices."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.errors import DependencyError, LockHeld, RunStopped, TransientError
from rogo_async.common.shard import Shard
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres import run_lock as module
from rogo_async.destination.postgres.connections import boot_time_s
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.lock_claims import (
    LOCK_KEY,
    WHOLE_LOCK,
    Claim,
    ShardLock,
)
from rogo_async.destination.postgres.run_lock import RunLock
from tests.support.tcp_proxy import TcpProxy


@pytest.fixture
def options(stack: Stack, workspace: Workspace) -> ConnectOptions:
    return ConnectOptions.of(DatabaseUrl.parse(stack.writer_dsn(workspace)))


@pytest.fixture
def losses() -> list[DependencyError]:
    """The calls of ``on_lost``."""
    return []


@pytest.fixture
async def lock(options: ConnectOptions, losses: list[DependencyError]) -> AsyncIterator[RunLock]:
    taken = await RunLock.acquire(options, WHOLE_LOCK, StopSignal(), losses.append)
    yield taken
    await taken.release()


async def drop_lock(lock: RunLock) -> None:
    """The server forgets the lock, and the connection stays."""
    await lock._connection.execute("SELECT pg_advisory_unlock_all()")


async def test_after_a_stall_the_lock_is_verified_with_the_server(
    lock: RunLock, losses: list[DependencyError], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await lock.verify_held() == 1
    await drop_lock(lock)
    assert await lock.verify_held() == 1  # the last heartbeat is recent
    later = boot_time_s() + 3600
    monkeypatch.setattr(module, "boot_time_s", lambda: later)
    for _ in range(2):
        with pytest.raises(TransientError, match="run lock"):
            await lock.verify_held()
    assert len(losses) == 1


@pytest.mark.parametrize(("age_s", "is_asked"), [(14.0, False), (15.1, True)])
async def test_a_check_is_valid_for_15_seconds(
    lock: RunLock, monkeypatch: pytest.MonkeyPatch, age_s: float, *, is_asked: bool
) -> None:
    """Longer than two heartbeats, much shorter than the server keeps a session that it lost."""
    now_s = lock._verified_s + age_s
    monkeypatch.setattr(module, "boot_time_s", lambda: now_s)
    await lock.verify_held()
    assert lock._verified_s == (now_s if is_asked else now_s - age_s)


async def test_after_a_stall_a_held_lock_stays_valid(
    lock: RunLock, losses: list[DependencyError], monkeypatch: pytest.MonkeyPatch
) -> None:
    later = boot_time_s() + 3600
    monkeypatch.setattr(module, "boot_time_s", lambda: later)
    assert await lock.verify_held() == 1
    assert losses == []


async def test_for_a_new_session_the_lock_is_verified_with_the_server(lock: RunLock) -> None:
    """The session may be on a restarted server, which does not know the lock."""
    await drop_lock(lock)
    with pytest.raises(TransientError, match="run lock"):
        await lock.verify_held(boot_time_s())


async def test_a_lost_lock_is_taken_again(
    lock: RunLock, losses: list[DependencyError], target_db: str
) -> None:
    assert not await lock.regain()  # it is held
    await end_session_of(lock, target_db)
    with pytest.raises(TransientError, match="run lock"):
        await lock.verify_held(boot_time_s())
    assert len(losses) == 1
    assert await lock.regain()
    assert await lock.verify_held() == 2
    assert not await lock.regain()


async def end_session_of(lock: RunLock, target_db: str) -> None:
    administrator = await asyncpg.connect(target_db)
    try:
        pid = lock._connection.get_server_pid()
        assert await administrator.fetchval("SELECT pg_terminate_backend($1, 30000)", pid)
    finally:
        await administrator.close()


async def test_a_lock_that_another_run_has_taken_ends_the_run(
    lock: RunLock, options: ConnectOptions, target_db: str
) -> None:
    await end_session_of(lock, target_db)
    other = await RunLock.acquire(options, WHOLE_LOCK, StopSignal(), lambda _: None)
    try:
        with pytest.raises(TransientError, match="run lock"):
            await lock.verify_held(boot_time_s())
        with pytest.raises(RunStopped):
            await lock.regain()
        reason = lock._stop_signal.reasons[StopReason.LOCK_LOST]
        assert "lost the connection that holds the run lock" in reason
        assert "another run has held this target's lock since 20" in reason
        with pytest.raises(RunStopped):
            await lock.verify_held()
    finally:
        await other.release()


async def test_the_lock_of_a_lost_connection_that_the_server_keeps_is_ended(
    stack: Stack, workspace: Workspace
) -> None:
    """The network loses a connection, and the server does not notice."""
    port = stack.postgres.port
    async with TcpProxy("127.0.0.1", port) as proxy:
        dsn = stack.writer_dsn(workspace).replace(f":{port}/", f":{proxy.port}/")
        lock = await RunLock.acquire(
            ConnectOptions.of(DatabaseUrl.parse(dsn)), WHOLE_LOCK, StopSignal(), lambda _: None
        )
        try:
            connection = lock._connection
            proxy.black_hole = True
            lock._on_termination(connection)  # as after a heartbeat without an answer
            proxy.black_hole = False
            direct = ConnectOptions.of(DatabaseUrl.parse(stack.writer_dsn(workspace)))
            with pytest.raises(LockHeld):
                await RunLock.acquire(direct, WHOLE_LOCK, StopSignal(), lambda _: None)
            await regain(lock)
            assert await lock.verify_held() == 2
            connection.terminate()
        finally:
            await lock.release()


async def test_the_lock_of_a_try_whose_reply_was_lost_is_ended(
    lock: RunLock, options: ConnectOptions, target_db: str
) -> None:
    await end_session_of(lock, target_db)
    lost = await options.connect()
    try:
        taken = "SELECT pg_try_advisory_lock($1::int, $2::int)"
        assert await lost.fetchval(taken, *LOCK_KEY.values())
        since = await lost.fetchval(
            "SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        lock._own[lost.get_server_pid()] = since
        await regain(lock)
        assert await lock.verify_held() == 2
    finally:
        lost.terminate()


async def regain(lock: RunLock) -> None:
    """Take the lock again, as soon as the server has ended the earlier session."""
    while True:
        try:
            assert await lock.regain()
        except TransientError as error:
            assert "not free" in error.reason
        else:
            return


async def test_keepalives_are_requested_from_the_server(lock: RunLock) -> None:
    for name, value in (("idle", "30"), ("interval", "10"), ("count", "3")):
        assert await lock._connection.fetchval(f"SHOW tcp_keepalives_{name}") == value


RUN, OTHER_RUN = "20260301T010000Z-0000000a", "20260301T010000Z-0000000b"
SHARD = ShardLock(RUN, Shard(0, 2))


@pytest.mark.parametrize(
    ("held", "wanted", "is_free"),
    [
        (SHARD, ShardLock(RUN, Shard(1, 2)), True),
        (SHARD, SHARD, False),
        (SHARD, ShardLock(RUN, Shard(1, 3)), False),
        (SHARD, ShardLock(OTHER_RUN, Shard(1, 2)), False),
        (SHARD, WHOLE_LOCK, False),
        (WHOLE_LOCK, SHARD, False),
        (WHOLE_LOCK, WHOLE_LOCK, False),
    ],
)
async def test_shards_share_the_lock_with_those_of_their_run_only(
    options: ConnectOptions, target_db: str, held: Claim, wanted: Claim, *, is_free: bool
) -> None:
    """Specification §7. Also when the lock is lost and taken again meanwhile."""
    first = await RunLock.acquire(options, held, StopSignal(), lambda _: None)
    try:
        for _ in range(2):
            if is_free:
                second = await RunLock.acquire(options, wanted, StopSignal(), lambda _: None)
                await second.release()
            else:
                with pytest.raises(LockHeld, match=r"since 20"):
                    await RunLock.acquire(options, wanted, StopSignal(), lambda _: None)
            await end_session_of(first, target_db)
            with pytest.raises(TransientError, match="run lock"):
                await first.verify_held(boot_time_s())
            await regain(first)
    finally:
        await first.release()


@pytest.mark.parametrize("taker", [SHARD, ShardLock(OTHER_RUN, Shard(1, 2)), WHOLE_LOCK])
async def test_a_shard_whose_lock_another_process_has_taken_ends(
    options: ConnectOptions, taker: Claim, target_db: str
) -> None:
    stop_signal = StopSignal()
    lock = await RunLock.acquire(options, SHARD, stop_signal, lambda _: None)
    try:
        await end_session_of(lock, target_db)
        other = await RunLock.acquire(options, taker, StopSignal(), lambda _: None)
        try:
            with pytest.raises(TransientError, match="run lock"):
                await lock.verify_held(boot_time_s())
            with pytest.raises(RunStopped):
                await lock.regain()
        finally:
            await other.release()
    finally:
        await lock.release()
    assert (
        "lost the connection that holds the run lock, and"
        in stop_signal.reasons[StopReason.LOCK_LOST]
    )
