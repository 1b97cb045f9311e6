"""The demo: start servers, load generated data, run the tool, check the results, stop servers."""

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

from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.checks.comparison import CheckResult
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load, set_routes
from rogo_async.demo.servers.process import write_private
from rogo_async.demo.servers.stack import Stack
from rogo_async.rules.records import Status

RUN_S: Final = 3600.0
STATE_FILE: Final = "demo.json"
ENVIRONMENT: Final = "environment"
_INHERITED: Final = (
    "ROGO_CONCURRENCY",
    "ROGO_PG_POOL_SIZE",
    "ROGO_WAREHOUSE_POOL_SIZE",
    "ROGO_LOG_FORMAT",
    "ROGO_PROGRESS_INTERVAL",
    "ROGO_WRITE_INTERVAL",
)


class Demo:
    """One demo with ``rows`` generated rows; ``echo`` prints a line."""

    def __init__(
        self, rows: int, seed: int, directory: Path | None, echo: Callable[[str], object]
    ) -> None:
        self._rows = rows
        self._seed = seed
        self._directory = directory
        self._echo = echo

    def _say(self, text: str) -> None:
        self._echo(f"demo: {text}")

    async def execute(self, *, serve: bool) -> ExitCode:
        """Returns DONE if all checks pass, else SOME_FAILED.

        Raises SetupError when a server cannot start, or for another data set in the directory.
        """
        with self._open_directory() as directory:
            say, began = self._say, time.monotonic()
            say("starting PostgreSQL, Azurite and a small HTTP source")
            async with Stack(directory, keep=self._directory is not None) as stack:
                say(f"servers started in {time.monotonic() - began:.1f} s")
                code = await self._migrate_once(stack, directory)
                if serve:
                    await self._serve(stack, directory)
            return code

    @contextlib.contextmanager
    def _open_directory(self) -> Iterator[Path]:
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield self._directory
        else:
            with tempfile.TemporaryDirectory(prefix="rogo_demo_") as name:
                yield Path(name)

    async def _migrate_once(self, stack: Stack, directory: Path) -> ExitCode:
        dataset = generate_for(stack, stack.workspace, self._rows, self._seed)
        state_file = directory / STATE_FILE
        options = {"rows": self._rows, "seed": self._seed}
        if state_file.exists():
            if orjson.loads(state_file.read_bytes()) != options:
                raise SetupError(
                    f"{directory} has a demo with other --rows or --seed "
                    f"({state_file.read_text()}): use these values, or another directory"
                )
            set_routes(dataset, stack)
            self._say("the data in this directory are already migrated; nothing to run")
            return ExitCode.DONE
        self._say(f"generating and loading {self._rows:,} rows (seed {self._seed})")
        await load(dataset, stack, stack.workspace)
        write_private(state_file, orjson.dumps(options))
        self._say("running rogo_async run")
        await self._run(stack)
        return self._report(dataset, await check(dataset, stack, stack.workspace))

    async def _run(self, stack: Stack) -> None:
        environment = {
            **{
                name: os.environ[name]
                for name in (*_INHERITED, "PATH", "HOME", "TERM", "LANG", "NO_COLOR", "COLUMNS")
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
        self._say(f"run finished with exit code {code}")

    def _report(self, dataset: Dataset, results: list[CheckResult]) -> ExitCode:
        say = self._say
        say("expected results:")
        for status in (Status.MIGRATED, Status.FAILED, Status.SKIPPED):
            codes = Counter(
                row.code.value for row in dataset.expected if row.status is status and row.code
            )
            say(f"  {status.value}: {dataset.counts()[status]:,}")
            for code, count in sorted(codes.items()):
                say(f"      {code}: {count:,}")
        for result in results:
            say(f"{'ok    ' if result.ok else 'FAILED'} {result.name}: {result.detail}")
        failed = sum(not result.ok for result in results)
        say(
            f"{len(results) - failed} of {len(results)} checks passed"
            + ("" if failed else ": every row has the expected result")
        )
        return ExitCode.SOME_FAILED if failed else ExitCode.DONE

    async def _serve(self, stack: Stack, directory: Path) -> None:
        lines = [f"export {k}={shlex.quote(v)}" for k, v in stack.environment().items()]
        file = directory / ENVIRONMENT
        write_private(file, ("\n".join(lines) + "\n").encode())
        for line in lines:
            self._echo(line)
        self._say("the servers are running; Ctrl-C stops them. To use them in another terminal:")
        self._say(f"  . {shlex.quote(str(file))}")
        self._say(f"  {shlex.quote(sys.executable)} -m rogo_async check")
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        await stopped.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        self._say("stopping the servers")
