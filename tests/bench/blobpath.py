"""Copies blobs with our FileCopier in its own process: ``python -m tests.bench.blobpath ORDER``.

No rules, no rows, no databases. ORDER is JSON; the settings are those of a run, from the
environment.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from yarl import URL

from rogo_async.commands import runner
from rogo_async.common.call_stats import CallStats
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import Dependency
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.settings import Settings, load_settings
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.store import Store
from rogo_async.pipeline.file_copier import ByteBudget, FileCopier
from rogo_async.rules.identity import identify
from rogo_async.rules.records import FileKind, FileRef
from rogo_async.sources.http_files import Sources


async def move_all(settings: Settings, urls: list[str]) -> None:
    """Copy one file per submission, with as many tasks as there would be consumers."""
    run_id, stop_signal, call_stats = new_run_id(), StopSignal(), CallStats()

    def breaker(dependency: Dependency, probe: Probe, host: str = "") -> CircuitBreaker:
        limit_s = settings.rogo_outage_limit
        return CircuitBreaker(dependency, probe, stop_signal, call_stats, limit_s, host=host)

    account = Account(settings)
    async with contextlib.aclosing(HttpSession()) as http:
        sources = Sources(
            http,
            settings.allow_list,
            settings.source_sas,
            lambda probe, host: breaker(Dependency.SOURCE, probe, host),
        )
        store = Store(account, http, breaker(Dependency.STORE, account.check))
        metadata = {"migratedFrom": "rogo_warehouse", "runId": run_id, "target": "bench"}
        file_copier = FileCopier(sources, store, ByteBudget(), metadata)
        waiting = enumerate(urls, start=1)
        async with asyncio.TaskGroup() as group:
            for _ in range(settings.rogo_concurrency):
                group.create_task(_take(file_copier, waiting, run_id, settings))
    await account.aclose()


async def _take(
    file_copier: FileCopier, waiting: Iterator[tuple[int, str]], run_id: str, settings: Settings
) -> None:
    for attempt, url in waiting:
        ref = FileRef(
            FileKind.SUBMISSION, 1, "answer.txt", "txt", "text/plain", URL(url, encoded=True)
        )
        await file_copier.copy([ref], identify(attempt, run_id, settings.rogo_instance_id))


def main() -> None:
    """Copy all files of the order."""
    urls = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    with asyncio.Runner(loop_factory=runner._loop_factory()) as loop_runner:
        loop_runner.run(move_all(load_settings(), urls))


if __name__ == "__main__":
    main()
