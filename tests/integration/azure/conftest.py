"""The destination in the process of the test: its clients, behind a proxy that can damage bytes."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from azure.storage.blob.aio import ContainerClient
from yarl import URL

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.shutdown import StopSignal
from rogo_async.demo.servers.stack import Stack
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.blobs.service_copy import ServiceCopy
from rogo_async.destination.blobs.store import Store
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.pipeline.server_side_copy import ServerSideCopier
from rogo_async.sources.http_files import Sources
from tests.support.batch_proxy import BatchProxy
from tests.support.rollback_fixtures import settings_of
from tests.support.store_proxy import running_proxy


@dataclass(frozen=True, slots=True)
class Destination:
    """The clients of an empty container. All their requests pass ``proxy``.

    ``container`` has direct access to it.
    """

    container: ContainerClient
    account: Account
    store: Store
    inventory: Inventory
    file_copier: FileCopier
    proxy: BatchProxy
    call_stats: CallStats


@pytest.fixture
async def destination(stack: Stack, tmp_path: Path) -> AsyncIterator[Destination]:
    """A container of this test, and sources that are served by the stack's scripted source."""
    name = f"migrated-{uuid.uuid4().hex[:12]}"
    env = stack.environment_of(replace(stack.workspace, container=name, data_dir=tmp_path))
    azurite = stack.azurite.endpoint
    async with contextlib.AsyncExitStack() as closing:
        container = await closing.enter_async_context(
            ContainerClient.from_connection_string(stack.azurite.connection_string, name)
        )
        await container.create_container()
        closing.push_async_callback(container.delete_container)
        proxy = await closing.enter_async_context(running_proxy(azurite, BatchProxy))
        store_setting = "AZURE_STORAGE_CONNECTION_STRING"
        env[store_setting] = env[store_setting].replace(azurite, proxy.endpoint)
        settings = settings_of(env)
        account = Account(settings)
        closing.push_async_callback(account.aclose)
        http = await closing.enter_async_context(contextlib.aclosing(HttpSession()))
        call_stats = CallStats()

        def breaker(dependency: Dependency, probe: Probe, host: str = "") -> CircuitBreaker:
            made = CircuitBreaker(dependency, probe, StopSignal(), call_stats, 30.0, host=host)
            closing.push_async_callback(made.aclose)
            return made

        guard = breaker(Dependency.STORE, account.check)
        store = Store(account, http, guard)
        sources = Sources(
            http,
            settings.allow_list,
            {},
            lambda probe, host: breaker(Dependency.SOURCE, probe, host),
        )
        service = ServiceCopy(account, http, store, guard)
        server_side = ServerSideCopier(
            sources, service, settings.rogo_copy, URL(account.container_url, encoded=True)
        )
        yield Destination(
            container,
            account,
            store,
            Inventory(account, http, guard),
            FileCopier(sources, store, server_side, ByteBudget(), {}),
            proxy,
            call_stats,
        )
