"""After a standstill nothing is written or deleted before the server confirms the run lock.

The server has dropped the lock, and the command does not know it yet: the heartbeat is due later,
as on a machine that was suspended. Source: specification §5, locks.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from rogo_async.commands.orphans import OrphanFinder
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, RunStopped
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres import run_lock as module
from rogo_async.destination.postgres.connections import boot_time_s
from rogo_async.destination.postgres.journal import Journal, Journals
from rogo_async.destination.postgres.lock_claims import WHOLE_LOCK
from rogo_async.destination.postgres.malpractice_rules import RuleRestorer
from rogo_async.destination.postgres.refresh_rollback import Refresh, RefreshReverter
from rogo_async.destination.postgres.rollback import RemovalResult, SubmissionRemover
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.writer import StoredFiles, Writer, WriteResult
from rogo_async.pipeline.services import LockedTarget, ServiceFactory
from rogo_async.rules.identity import identify, launch_id
from tests.support.batch_proxy import BatchProxy
from tests.support.builders import REFERENCE, Scenario
from tests.support.rollback_fixtures import migrate, settings_of
from tests.support.store_proxy import running_proxy
from tests.support.writing import CONSTANTS, LMS, Finding, prepared

SUBMISSION, IDENTITY = prepared(Finding(1, 2, "severe"), "one"), identify(1, "run", LMS.instance_id)
STORE = "AZURE_STORAGE_CONNECTION_STRING"
END_SESSION_THAT_INSERTS = (
    "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND application_name = 'rogo_async' AND pid <> ALL ($1)"
)


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(1)], REFERENCE)
    return made


@dataclass(frozen=True, slots=True)
class Ground:
    """The lock of a command, not yet lost; ``factory`` opens its other services."""

    factory: ServiceFactory
    stop_signal: StopSignal
    opened: AsyncExitStack
    monkeypatch: pytest.MonkeyPatch

    async def stand_still(self, lock: RunLock, seconds: float = 16.0) -> None:
        """The server drops the lock. The clock advances, and no heartbeat notices it."""
        assert lock._heartbeat_task is not None
        lock._heartbeat_task.cancel()
        await lock._connection.execute("SELECT pg_advisory_unlock_all()")
        self.monkeypatch.setattr(module, "boot_time_s", lambda: boot_time_s() + seconds)

    async def another_run(self) -> RunLock:
        """Another run takes the lock."""
        lock = await RunLock.acquire(
            self.factory._options, WHOLE_LOCK, StopSignal(), lambda _: None
        )
        self.opened.push_async_callback(lock.release)
        return lock


@pytest.fixture
async def batches(stack: Stack, env: dict[str, str]) -> AsyncIterator[BatchProxy]:
    """A store with batch requests, which ``env`` uses."""
    async with running_proxy(stack.azurite.endpoint, BatchProxy) as running:
        env[STORE] = env[STORE].replace(stack.azurite.endpoint, running.endpoint)
        yield running


@pytest.fixture
async def ground(
    env: dict[str, str],
    batches: BatchProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Ground]:
    stop_signal = StopSignal()
    async with AsyncExitStack() as opened:
        factory = ServiceFactory(settings_of(env), stop_signal, CallStats(), opened)
        yield Ground(factory, stop_signal, opened, monkeypatch)


class Files:
    """The files of a submission; ``renewed`` counts how often its blobs were renewed."""

    def __init__(self, *, exist: bool) -> None:
        self.renewed = 0
        self._exist = exist
        self.stored = StoredFiles([], 1, self._renew)

    async def _renew(self) -> bool:
        self.renewed += 1
        return self._exist


@pytest.fixture
async def target(scenario: Scenario, ground: Ground, tmp_path: Path) -> tuple[LockedTarget, Writer]:
    """A writer whose lock was verified after its connection was opened."""
    found = await ground.factory.locked_target()
    await found.lock.verify_held(found.connections.newest_s)
    journal = Journal(tmp_path / "journal")
    return found, Writer(found.connections, found.breaker, CONSTANTS, journal, found.lock)


async def test_nothing_is_inserted_when_another_run_has_the_lock(
    scenario: Scenario, ground: Ground, target: tuple[LockedTarget, Writer]
) -> None:
    await ground.stand_still(target[0].lock)
    await ground.another_run()
    with pytest.raises(RunStopped):
        await target[1].write(SUBMISSION, Files(exist=True).stored, IDENTITY)
    assert list(ground.stop_signal.reasons) == [StopReason.LOCK_LOST]
    assert await scenario.nothing_written()


@pytest.mark.parametrize("exist", [True, False])
async def test_blobs_are_renewed_before_the_insert(
    scenario: Scenario, ground: Ground, target: tuple[LockedTarget, Writer], *, exist: bool
) -> None:
    """Another command may have listed or deleted them before the lock was taken again."""
    await ground.stand_still(target[0].lock)
    files = Files(exist=exist)
    result = await target[1].write(SUBMISSION, files.stored, IDENTITY)
    assert target[0].lock.hold == 2
    assert files.renewed == 1
    if exist:
        assert result is WriteResult.INSERTED
    else:
        assert result is WriteResult.FILES_GONE
        assert await scenario.nothing_written()


async def test_a_new_session_asks_for_the_lock_without_a_standstill(
    scenario: Scenario, ground: Ground, target: tuple[LockedTarget, Writer]
) -> None:
    """The server may have been restarted: it has the new session, and not the lock."""
    await ground.stand_still(target[0].lock, 0.0)
    locks = target[0].lock, await ground.another_run()
    async with scenario.target() as administrator:
        holders = [lock._connection.get_server_pid() for lock in locks]
        assert await administrator.fetchval(END_SESSION_THAT_INSERTS, holders)
    with pytest.raises(RunStopped):
        await target[1].write(SUBMISSION, Files(exist=True).stored, IDENTITY)
    assert await scenario.nothing_written()


async def test_a_rollback_asks_before_it_deletes_rows(
    scenario: Scenario, env: dict[str, str], ground: Ground, tmp_path: Path
) -> None:
    await migrate(env, 1)
    lock = await ground.factory.lock()
    connections = await ground.factory.connections()
    breaker = ground.factory.breaker(Dependency.TARGET, connections.probe)
    journals = Journals(Journal(tmp_path / "journal"))
    restorer = RuleRestorer(journals, env["ROGO_INSTANCE_ID"], "user-first")
    remover = SubmissionRemover(connections, breaker, restorer, lock)
    (submission,) = [each async for each in remover.migrated_submissions()]
    await lock.verify_held(connections.newest_s)
    await ground.stand_still(lock)
    with pytest.raises(RunStopped):
        await remover.remove(submission)
    assert await scenario.attempts() == [1]
    assert list(ground.stop_signal.reasons) == [StopReason.LOCK_LOST]


async def test_a_rollback_asks_before_it_puts_former_rows_back(
    env: dict[str, str], ground: Ground, tmp_path: Path
) -> None:
    lock = await ground.factory.lock()
    connections = await ground.factory.connections()
    breaker = ground.factory.breaker(Dependency.TARGET, connections.probe)
    journals = Journals(Journal(tmp_path / "journal"))
    reverter = RefreshReverter(connections, breaker, journals, lock)
    await reverter.prepare()
    gone = Refresh(1, launch_id(1, env["ROGO_INSTANCE_ID"]), IDENTITY.submission_id, {}, {}, {}, {})
    await lock.verify_held(connections.newest_s)
    assert await reverter.revert(gone) is RemovalResult.ALREADY_GONE
    await ground.stand_still(lock)
    with pytest.raises(RunStopped):
        await reverter.revert(gone)
    assert list(ground.stop_signal.reasons) == [StopReason.LOCK_LOST]


@pytest.mark.parametrize("batch_tries", [0, 1])
async def test_blobs_are_not_deleted_without_the_lock(
    scenario: Scenario,
    env: dict[str, str],
    ground: Ground,
    batches: BatchProxy,
    batch_tries: int,
) -> None:
    await migrate(env, 1)
    async with scenario.target() as target:
        await target.execute("DELETE FROM submission_files")
    lock = await ground.factory.lock()
    connections = await ground.factory.connections()
    finder = await OrphanFinder.open(ground.factory, lock, connections, ground.stop_signal)
    finder._batch_tries = batch_tries
    (orphans,) = [page.orphans async for page in finder.pages() if page.orphans]
    await ground.stand_still(lock)
    assert await finder.delete(orphans, lambda _: None) == (0, 0)
    assert (batches.batches, batches.singles) == ([], 0)
    assert list(ground.stop_signal.reasons) == [StopReason.LOCK_LOST]


async def test_blobs_are_not_deleted_once_the_lock_was_lost(
    ground: Ground, target: tuple[LockedTarget, Writer]
) -> None:
    """Also after it was taken again: another process may have run the same shard meanwhile."""
    held, writer = target
    assert await writer.may_delete_blobs()
    await ground.stand_still(held.lock)
    assert not await writer.may_delete_blobs()
    await writer.ready()  # it is taken again
    assert not await writer.may_delete_blobs()


async def test_a_submission_that_a_killed_try_wrote_is_found(
    target: tuple[LockedTarget, Writer],
) -> None:
    """It may have been committed after this try had read the attempts of the target."""
    assert not await target[1].is_written(IDENTITY)
    await target[1].write(SUBMISSION, Files(exist=True).stored, IDENTITY)
    assert await target[1].is_written(IDENTITY)
