"""The demonstration: stack up, data in, a real run in a process of its own, checks, stack down."""

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import orjson

from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.checks.comparison import CheckResult
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load, set_routes
from rogo_async.demo.servers.process import ServerStartError, write_private
from rogo_async.demo.servers.stack import Stack
from rogo_async.rules.records import Status

RUN_S: Final = 3600.0
MARK: Final = "demo.json"
ENVIRONMENT: Final = "environment"
_HANDED_ON: Final = (
    "ROGO_CONCURRENCY",
    "ROGO_PG_POOL_SIZE",
    "ROGO_WAREHOUSE_POOL_SIZE",
    "ROGO_LOG_FORMAT",
    "ROGO_PROGRESS_INTERVAL",
    "ROGO_WRITE_INTERVAL",
)


class Demo:
    """One demonstration with ``rows`` generated rows; ``say`` prints a line."""

    def __init__(
        self, rows: int, seed: int, directory: Path | None, say: Callable[[str], object]
    ) -> None:
        self._rows = rows
        self._seed = seed
        self._directory = directory
        self._say = say

    async def execute(self, *, serve: bool) -> ExitCode:
        """Give DONE when every check held, SOME_FAILED when one did not.

        Raises ServerStartError when the stack cannot start.
        """
        with self._place() as directory:
            say, began = self._say, time.monotonic()
            say("demo: starting PostgreSQL, Azurite and the small HTTP source")
            async with Stack(directory, keep=self._directory is not None) as stack:
                say(f"demo: up after {time.monotonic() - began:.1f} s")
                code = await self._migrate_once(stack, directory)
                if serve:
                    await self._serve(stack, directory)
            return code

    @contextlib.contextmanager
    def _place(self) -> Iterator[Path]:
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield self._directory
        else:
            with tempfile.TemporaryDirectory(prefix="rogo_demo_") as name:
                yield Path(name)

    async def _migrate_once(self, stack: Stack, directory: Path) -> ExitCode:
        dataset = generate_for(stack, stack.workspace, self._rows, self._seed)
        mark = directory / MARK
        what = {"rows": self._rows, "seed": self._seed}
        if mark.exists():
            if orjson.loads(mark.read_bytes()) != what:
                raise ServerStartError(
                    f"{directory} holds a demo with other --rows or --seed "
                    f"({mark.read_text()}): use these, or another directory"
                )
            set_routes(dataset, stack)
            self._say("demo: this directory's data were migrated before; nothing is run again")
            return ExitCode.DONE
        self._say(f"demo: generating and loading {self._rows:,} rows (seed {self._seed})")
        await load(dataset, stack, stack.workspace)
        write_private(mark, orjson.dumps(what))
        self._say("demo: running python -m rogo_async run")
        await self._run(stack)
        return self._report(dataset, await check(dataset, stack, stack.workspace))

    async def _run(self, stack: Stack) -> None:
        environment = {
            **{
                name: os.environ[name]
                for name in (*_HANDED_ON, "PATH", "HOME", "TERM", "LANG", "NO_COLOR", "COLUMNS")
                if name in os.environ
            },
            **stack.environment(),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "rogo_async", "run", env=environment, cwd=stack.workspace.data_dir
        )
        try:
            async with asyncio.timeout(RUN_S):
                code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        self._say(f"demo: run ended with exit code {code}")

    def _report(self, dataset: Dataset, results: list[CheckResult]) -> ExitCode:
        say = self._say
        for status in (Status.MIGRATED, Status.FAILED, Status.SKIPPED):
            codes = Counter(
                row.code.value for row in dataset.expected if row.status is status and row.code
            )
            say(f"demo: {status.value}: {dataset.counts()[status]:,}")
            for code, count in sorted(codes.items()):
                say(f"demo:     {code}: {count:,}")
        for result in results:
            say(f"demo: {'ok    ' if result.ok else 'FAILED'} {result.name}: {result.detail}")
        bad = sum(not result.ok for result in results)
        say(
            f"demo: {len(results) - bad} of {len(results)} checks passed"
            + ("" if bad else ": every row ended as it must")
        )
        return ExitCode.SOME_FAILED if bad else ExitCode.DONE

    async def _serve(self, stack: Stack, directory: Path) -> None:
        lines = [f"export {k}={shlex.quote(v)}" for k, v in stack.environment().items()]
        file = directory / ENVIRONMENT
        write_private(file, ("\n".join(lines) + "\n").encode())
        for line in lines:
            self._say(line)
        self._say(f"demo: the servers stay up. In another terminal:  . {file}")
        self._say("demo: then  python -m rogo_async run  - Ctrl-C here ends the servers")
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        await ended.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        self._say("demo: ending the servers")
