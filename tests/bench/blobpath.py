"""Copies blobs with our FileCopier in its own process: ``python -m tests.bench.blobpath ORDER``.

No rules, no rows, no databases. ORDER is JSON; the settings are those of a run, from the
environment.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rogo_async.commands import runner
from rogo_async.common.settings import Settings, load_settings
from tests.support.file_copier import OneFileEach, open_file_copier


async def move_all(settings: Settings, urls: list[str]) -> None:
    """Copy one file per submission, with as many tasks as there would be consumers."""
    waiting = enumerate(urls, start=1)
    async with open_file_copier(settings) as copier, asyncio.TaskGroup() as group:
        for _ in range(settings.rogo_concurrency):
            group.create_task(_take(copier, waiting))


async def _take(copier: OneFileEach, waiting: Iterator[tuple[int, str]]) -> None:
    for attempt, url in waiting:
        await copier.copy(attempt, url)


def main() -> None:
    """Copy all files of the order."""
    urls = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    with asyncio.Runner(loop_factory=runner._loop_factory()) as loop_runner:
        loop_runner.run(move_all(load_settings(), urls))


if __name__ == "__main__":
    main()
