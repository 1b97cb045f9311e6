"""Connects to everything that a run needs, and closes it in reverse order."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from yarl import URL

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, DependencyError, SetupError, SystemicError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe, with_retry
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.service_copy import ServiceCopy
from rogo_async.destination.blobs.store import MIGRATED_FROM, Store, target_digest
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import RUN, ConnectOptions
from rogo_async.destination.postgres.instance_ids import verify_instance_id
from rogo_async.destination.postgres.journal import Journal, Journals
from rogo_async.destination.postgres.lock_claims import WHOLE_LOCK, Claim
from rogo_async.destination.postgres.malpractice_rules import RuleRestorer
from rogo_async.destination.postgres.parameters import TargetConstants
from rogo_async.destination.postgres.reconciler import Reconciler
from rogo_async.destination.postgres.reference_data import ReferenceData, read_reference_data
from rogo_async.destination.postgres.refresh import Refresher
from rogo_async.destination.postgres.row_writer import RowWriter
from rogo_async.destination.postgres.run_lock import OnLost, RunLock
from rogo_async.destination.postgres.writer import RunConstants, Writer
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.pipeline.server_side_copy import ServerSideCopier
from rogo_async.sources.host_access import accesses_of
from rogo_async.sources.http_files import Sources
from rogo_async.sources.warehouse.reader import Warehouse

T = TypeVar("T")
_CANCEL_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class LockedTarget:
    """The target of a run, with its lock. ``breaker`` is open while the lock is lost."""

    lock: RunLock
    connections: Connections
    breaker: CircuitBreaker


@dataclass(frozen=True, slots=True)
class Services:
    """The connected servers of a run, with their readers and writers."""

    warehouse: Warehouse
    target: LockedTarget
    reference: ReferenceData
    account: Account
    sources: Sources
    file_copier: FileCopier
    writer: Writer

    @property
    def connections(self) -> Connections:
        """The pool of connections to the target."""
        return self.target.connections


class ServiceFactory:
    """Connects to servers; ``stack`` closes the connections.

    Every method raises SetupError for a permanent error, RunStopped, and the last TransientError
    of a server that was unreachable for ROGO_OUTAGE_LIMIT.
    """

    def __init__(
        self,
        settings: Settings,
        stop_signal: StopSignal,
        call_stats: CallStats,
        stack: AsyncExitStack,
        name: str = RUN,
        claim: Claim = WHOLE_LOCK,
    ) -> None:
        self.settings = settings
        self._stop_signal = stop_signal
        self._call_stats = call_stats
        self._stack = stack
        self._options = ConnectOptions.of(settings.target_url, name)
        self._claim = claim

    async def lock(self) -> RunLock:
        """Take the target's run lock. Its loss stops the command. Raises LockHeld."""

        def stop(error: DependencyError) -> None:
            self._stop_signal.stop(StopReason.LOCK_LOST, error.reason)

        return await self._take_lock(stop)

    async def locked_target(self) -> LockedTarget:
        """Take the target's run lock, then open the pool. Raises LockHeld.

        A lost lock is an outage of the target: it ends when the lock has been taken again.
        """
        probes: list[Probe] = []

        async def probe() -> None:
            for each in probes:
                await each()

        breaker = self.breaker(Dependency.TARGET, probe)
        lock = await self._take_lock(breaker.trip)

        async def take_lock_again() -> None:
            if await lock.regain():
                breaker.record_success()

        probes.append(take_lock_again)
        connections = await self.connections()
        probes.insert(0, connections.probe)
        return LockedTarget(lock, connections, breaker)

    async def _take_lock(self, on_lost: OnLost) -> RunLock:
        lock = await self.with_retry(
            lambda: RunLock.acquire(self._options, self._claim, self._stop_signal, on_lost)
        )
        self._stack.push_async_callback(lock.release)
        return lock

    async def connections(self) -> Connections:
        """The pool of connections to the target."""
        size = self.settings.pg_pool_size
        connections = await self.with_retry(lambda: Connections.open(self._options, size))
        self._stack.push_async_callback(connections.aclose)
        return connections

    async def warehouse(self) -> Warehouse:
        """The warehouse, after a check of its tables and columns."""
        settings = self.settings
        dsn = settings.data_warehouse_connection_string.get_secret_value()
        warehouse = await self.with_retry(
            lambda: Warehouse.open(
                dsn,
                settings.warehouse_pool_size,
                lambda probe: self.breaker(Dependency.WAREHOUSE, probe),
                proxies=settings.proxies,
                on_spinning=lambda text: self._stop_signal.stop(StopReason.OUTAGE, text),
            )
        )
        self._stack.push_async_callback(warehouse.aclose)
        return warehouse

    async def account(self) -> Account:
        """The destination account, after a check of its container."""
        account = Account(self.settings)
        self._stack.push_async_callback(account.aclose)
        await self.with_retry(account.check)
        return account

    async def http(self) -> HttpSession:
        """The session for the bytes of files and blobs."""
        http = HttpSession(self.settings.proxies)
        self._stack.push_async_callback(http.aclose)
        return http

    async def sources(self, http: HttpSession) -> Sources:
        """The source hosts, each with a circuit breaker; after a request for an access token."""
        accesses = accesses_of(self.settings)
        for access in accesses.values():
            await self.with_retry(access.authorization)
        return Sources(
            http,
            self.settings.allow_list,
            accesses,
            lambda probe, host: self.breaker(Dependency.SOURCE, probe, host),
        )

    def breaker(self, dependency: Dependency, probe: Probe, host: str = "") -> CircuitBreaker:
        """A circuit breaker for a server, or for one ``host`` of several."""
        breaker = CircuitBreaker(
            dependency,
            probe,
            self._stop_signal,
            self._call_stats,
            self.settings.rogo_outage_limit,
            host=host,
        )
        self._stack.push_async_callback(breaker.aclose)
        return breaker

    async def with_retry(self, connect: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Connect at start-up: retry transient errors until ROGO_OUTAGE_LIMIT.

        Raises SetupError for a SystemicError.
        """
        connecting = asyncio.create_task(
            with_retry(connect, self._stop_signal, self.settings.rogo_outage_limit),
            name="connecting",
        )
        stopping = asyncio.create_task(self._stop_signal.wait(), name="connecting-stopping")
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self._stop_signal.raise_if_stopping()
            return await connecting
        except SystemicError as error:
            raise SetupError(f"{error.dependency.value}: {error.reason}") from None
        finally:
            connecting.cancel()
            stopping.cancel()
            await asyncio.wait({connecting, stopping}, timeout=_CANCEL_S)


async def open_services(factory: ServiceFactory, run_id: str, journal: Journal) -> Services:
    """Connect to everything that a run needs. Takes the target's lock before it opens the pool."""
    settings = factory.settings
    warehouse = await factory.warehouse()
    target = await factory.locked_target()
    connections = target.connections
    instance_id = settings.rogo_instance_id
    await factory.with_retry(lambda: verify_instance_id(connections, instance_id))
    reference = await factory.with_retry(
        lambda: read_reference_data(connections, settings.rogo_migration_user_id)
    )
    constants = RunConstants(settings.lms, settings.rogo_container, reference.applied_by)
    writer = Writer(connections, target.breaker, constants, journal, target.lock)
    await factory.with_retry(writer.verify_target)
    account = await factory.account()
    http = await factory.http()
    sources = await factory.sources(http)
    metadata = {
        "migratedFrom": MIGRATED_FROM,
        "runId": run_id,
        "target": target_digest(settings.target_url),
    }
    breaker = factory.breaker(Dependency.STORE, account.check)
    store = Store(account, http, breaker)
    service = ServiceCopy(account, http, store, breaker)
    server_side = ServerSideCopier(
        sources, service, settings.rogo_copy, URL(account.container_url, encoded=True)
    )
    file_copier = FileCopier(sources, store, server_side, ByteBudget(), metadata)
    return Services(warehouse, target, reference, account, sources, file_copier, writer)


def open_reconciler(
    settings: Settings,
    connections: Connections,
    breaker: CircuitBreaker,
    account: Account,
    applied_by: str,
    journals: Journals,
) -> Reconciler:
    """What compares submissions in the target with their source."""
    constants = TargetConstants(settings.lms, settings.rogo_container, applied_by, account.url_of)
    return Reconciler(connections, breaker, constants, journals.is_restored)


async def check_refresh_rights(connections: Connections) -> None:
    """Raises SetupError for missing rights in the target, and a DependencyError."""
    async with connections.session("prepare_refresh") as session:
        await RowWriter.open(session)


async def open_refresher(
    factory: ServiceFactory, target: LockedTarget, applied_by: str, journals: Journals
) -> Refresher:
    """What refreshes submissions in the target. Raises SetupError for missing rights."""
    restorer = RuleRestorer(journals, factory.settings.rogo_instance_id, applied_by)
    refresher = Refresher(target.connections, target.breaker, target.lock, journals, restorer)
    await factory.with_retry(refresher.prepare)
    return refresher
