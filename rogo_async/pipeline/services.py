"""Connects to everything that a run needs, and closes it in reverse order."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, SetupError, SystemicError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe, with_retry
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.store import MIGRATED_FROM, Store, target_digest
from rogo_async.destination.postgres.connections import RUN, Connections, ConnectOptions
from rogo_async.destination.postgres.journal import Journal
from rogo_async.destination.postgres.reference_data import ReferenceData, read_reference_data
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.writer import RunConstants, Writer
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.sources.http_files import Sources
from rogo_async.sources.warehouse.reader import Warehouse

T = TypeVar("T")
_CANCEL_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Services:
    """The connected servers of a run, with their readers and writers."""

    warehouse: Warehouse
    connections: Connections
    reference: ReferenceData
    sources: Sources
    file_copier: FileCopier
    writer: Writer


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
    ) -> None:
        self.settings = settings
        self._stop_signal = stop_signal
        self._call_stats = call_stats
        self._stack = stack
        self._options = ConnectOptions(settings.target_dsn, settings.target_ssl, name)

    async def lock(self) -> RunLock:
        """Take the target's run lock. Raises LockHeld."""
        lock = await self.with_retry(lambda: RunLock.acquire(self._options, self._stop_signal))
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
        http = HttpSession()
        self._stack.push_async_callback(http.aclose)
        return http

    def sources(self, http: HttpSession) -> Sources:
        """The source hosts, each with a circuit breaker."""
        return Sources(
            http,
            self.settings.allow_list,
            self.settings.source_sas,
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
    lock = await factory.lock()
    connections = await factory.connections()
    reference = await factory.with_retry(
        lambda: read_reference_data(connections, settings.rogo_migration_user_id)
    )
    account = await factory.account()
    http = await factory.http()
    sources = factory.sources(http)
    metadata = {
        "migratedFrom": MIGRATED_FROM,
        "runId": run_id,
        "target": target_digest(settings.target_dsn),
    }
    store = Store(account, http, factory.breaker(Dependency.STORE, account.check))
    file_copier = FileCopier(sources, store, ByteBudget(), metadata)
    constants = RunConstants(settings.lms, settings.rogo_container, reference.applied_by)
    writer = Writer(
        connections, factory.breaker(Dependency.TARGET, connections.probe), constants, journal, lock
    )
    return Services(warehouse, connections, reference, sources, file_copier, writer)
