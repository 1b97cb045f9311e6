"""Checks whether a run lets the service copy files: tries one small file of each host (rule 14)."""

import asyncio
import uuid
from collections.abc import Awaitable
from contextlib import AsyncExitStack, aclosing
from functools import partial
from typing import Final

from yarl import URL

from rogo_async.commands.check.blob_store import PREFIX, delete_test_blob
from rogo_async.commands.check.data_dir import DataDirChecks
from rogo_async.commands.check.probe import NoRetry, with_timeout
from rogo_async.commands.check.results import Check, CheckReport, CheckResult, ok
from rogo_async.commands.check.source_files import urls_of_host
from rogo_async.common.errors import Dependency, RowError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.settings import CopyMode, Settings
from rogo_async.common.urls import Origin, origin
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.service_copy import CopyDeclined, CopySource, ServiceCopy
from rogo_async.destination.blobs.store import Blob, Store
from rogo_async.pipeline.server_side_copy import require_candidate, source_of
from rogo_async.sources.host_access import accesses_of
from rogo_async.sources.http_files import Sources, name_of

_MOST_BYTES: Final = 8 * 1024 * 1024
"""A larger file is not copied for a test."""
_STREAMS: Final = "a run streams files through this machine"


class CopyChecks:
    """One check for each source host. A copied blob is deleted, even after an interruption."""

    def __init__(self, settings: Settings, report: CheckReport, data_dir: DataDirChecks) -> None:
        self._settings = settings
        self._report = report
        self._data_dir = data_dir
        self._blob = Blob(f"{PREFIX}{uuid.uuid4().hex}", "application/octet-stream", {})
        self._store: Store
        self._sources: Sources
        self._service: ServiceCopy
        self._destination: Origin

    async def execute(self, store: Awaitable[object], sources: Awaitable[object]) -> None:
        """Run the checks, after those of the store and of the sources."""
        await asyncio.gather(store, sources)
        report, settings = self._report, self._settings
        if not report.passed("settings.ROGO_SOURCE_HOSTS"):
            report.skip("copy.hosts", "settings.ROGO_SOURCE_HOSTS")
            return
        hosts = sorted(settings.allow_list.origins)
        if not report.passed("store.delete"):
            for host in hosts:
                report.skip(f"copy.{name_of(host)}", "store.delete")
            return
        async with AsyncExitStack() as stack:
            account = await stack.enter_async_context(aclosing(Account(settings)))
            http = await stack.enter_async_context(aclosing(HttpSession(settings.proxies)))
            breaker = NoRetry(Dependency.STORE)
            self._store = Store(account, http, breaker)
            self._service = ServiceCopy(account, http, self._store, breaker)
            self._destination = origin(URL(account.container_url, encoded=True))
            self._sources = Sources(
                http,
                settings.allow_list,
                accesses_of(settings),
                lambda _probe, _host: NoRetry(Dependency.SOURCE),
            )
            await report.run([self._check(host) for host in hosts])

    def _check(self, host: Origin) -> Check:
        name = name_of(host)

        async def copy() -> CheckResult:
            if self._settings.rogo_copy is CopyMode.STREAM:
                return ok(f"{name}: {_STREAMS} (ROGO_COPY)")
            try:
                require_candidate(self._sources.of(host), host, self._destination)
                source = await self._smallest(host)
                if source is None:
                    return ok(f"{name}: no small file to try a copy by the service with")
                await self._try(source)
            except CopyDeclined as declined:
                answer = f" ({declined.detail})" if declined.detail else ""
                reason = declined.route.value.removeprefix("streamed: ")
                return ok(f"{name}: {_STREAMS}: {reason}{answer}")
            return ok(f"{name}: a run lets the service copy files")

        return Check(f"copy.{name}", copy, (f"source.{name}.files",))

    async def _smallest(self, host: Origin) -> CopySource | None:
        """The smallest of the newest files that can be copied. Raises CopyDeclined if none can."""
        found: list[CopySource] = []
        declined: CopyDeclined | None = None
        for url in urls_of_host(self._data_dir.newest, self._settings, host):
            try:
                look = partial(self._sources.host(url).look, url)
                info, readable = await with_timeout(Dependency.SOURCE, look)
                found.append(source_of(info, readable))
            except CopyDeclined as error:
                declined = error
            except RowError:
                continue  # the check of the host's files reports it
        if not found and declined is not None:
            raise declined
        small = [source for source in found if source.size_bytes <= _MOST_BYTES]
        return min(small, key=lambda source: source.size_bytes, default=None)

    async def _try(self, source: CopySource) -> None:
        try:
            await with_timeout(Dependency.STORE, lambda: self._service.copy(self._blob, source))
        finally:
            await delete_test_blob(self._store, self._blob.name)
