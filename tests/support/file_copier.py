"""The file copier of a run, without rules, rows and databases."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from yarl import URL

from rogo_async.common.call_stats import CallStats
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import Dependency
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.service_copy import ServiceCopy
from rogo_async.destination.blobs.store import MIGRATED_FROM, Store
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.pipeline.server_side_copy import ServerSideCopier
from rogo_async.rules.identity import identify
from rogo_async.rules.records import FileKind, FileRef, StoredFile
from rogo_async.sources.host_access import accesses_of
from rogo_async.sources.http_files import Sources


class OneFileEach:
    """Copies files, each as the only one of a submission."""

    def __init__(self, copier: FileCopier, call_stats: CallStats) -> None:
        self.call_stats = call_stats
        self._copier = copier
        self._run_id = new_run_id()

    async def copy(self, attempt: int, url: str, content_type: str = "text/plain") -> StoredFile:
        """Copy the learner's file of an attempt."""
        source = URL(url, encoded=True)
        ref = FileRef(FileKind.SUBMISSION, 1, "answer.txt", "txt", content_type, source)
        (stored,) = await self._copier.copy([ref], identify(attempt, self._run_id, "lms"))
        return stored


@contextlib.asynccontextmanager
async def open_file_copier(settings: Settings) -> AsyncIterator[OneFileEach]:
    """The file copier with these settings."""
    stop_signal, call_stats = StopSignal(), CallStats()

    def breaker(dependency: Dependency, probe: Probe, host: str = "") -> CircuitBreaker:
        limit_s = settings.rogo_outage_limit
        return CircuitBreaker(dependency, probe, stop_signal, call_stats, limit_s, host=host)

    async with (
        contextlib.aclosing(Account(settings)) as account,
        contextlib.aclosing(HttpSession()) as http,
    ):
        sources = Sources(
            http,
            settings.allow_list,
            accesses_of(settings),
            lambda probe, host: breaker(Dependency.SOURCE, probe, host),
        )
        guard = breaker(Dependency.STORE, account.check)
        store = Store(account, http, guard)
        service = ServiceCopy(account, http, store, guard)
        destination = URL(account.container_url, encoded=True)
        server_side = ServerSideCopier(sources, service, settings.rogo_copy, destination)
        metadata = {"migratedFrom": MIGRATED_FROM, "runId": new_run_id(), "target": "none"}
        copier = FileCopier(sources, store, server_side, ByteBudget(), metadata)
        yield OneFileEach(copier, call_stats)
        await guard.aclose()


def settings_of(env: Mapping[str, str], **settings: Any) -> Settings:
    """The settings in an environment."""
    fields: dict[str, Any] = {name.lower(): value for name, value in env.items()}
    return Settings(**{**fields, **settings, "_env_file": None})
