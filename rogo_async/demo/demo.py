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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import orjson

from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.changes.changed_dataset import change
from rogo_async.demo.changes.check_refresh import check_refresh
from rogo_async.demo.changes.known_answer import Outcome
from rogo_async.demo.changes.load_changes import change_platform, change_source
from rogo_async.demo.changes.snapshot import read_target
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.checks.comparison import CheckResult
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load, set_routes
from rogo_async.demo.servers import azurite
from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.demo.servers.process import write_private
from rogo_async.demo.servers.stack import LOCK_FILE, Stack
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
_TO_PRACTISE: Final = (
    "check",
    "plan",
    "run --limit 10",
    "run",
    "status",
    "verify",
    "report",
    "rollback --help",
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

    async def execute(
        self, *, serve: bool, migrate: bool = True, refresh: bool = False
    ) -> ExitCode:
        """Returns DONE if all checks pass, else SOME_FAILED.

        With ``serve`` the servers run until a signal; without ``migrate`` they also do, and the
        rows are left to the user. With ``refresh`` a second run follows, on changed data. Raises
        SetupError when a server cannot start, or for a directory with other data.
        """
        with self._open_directory() as directory:
            say, began = self._say, time.monotonic()
            if not azurite.is_installed():
                say(f"installing Azurite {azurite.VERSION} from npm: 190 MB, about 15 s, only once")
            say("starting PostgreSQL, Azurite and a small HTTP source")
            async with Stack(directory, keep=self._directory is not None) as stack:
                say(f"servers started in {time.monotonic() - began:.1f} s")
                code = await self._prepare_and_migrate(
                    stack, directory, migrate=migrate, refresh=refresh
                )
                if serve or not migrate:
                    await self._serve(stack, directory, ["check"] if migrate else _TO_PRACTISE)
            return code

    @contextlib.contextmanager
    def _open_directory(self) -> Iterator[Path]:
        if self._directory is not None:
            _require_usable(self._directory)
            yield self._directory
        else:
            with tempfile.TemporaryDirectory(prefix="rogo_demo_") as name:
                yield Path(name)

    async def _prepare_and_migrate(
        self, stack: Stack, directory: Path, *, migrate: bool, refresh: bool
    ) -> ExitCode:
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
            self._say(
                "the data are already loaded; the demo migrates only in a new directory. "
                "With --serve it starts the servers for your own commands"
            )
            return ExitCode.DONE
        self._say(f"generating and loading {self._rows:,} rows (seed {self._seed})")
        await load(dataset, stack, stack.workspace)
        write_private(state_file, orjson.dumps(options))
        if not migrate:
            return ExitCode.DONE
        await self._run(stack)
        code = self._report(dataset, await check(dataset, stack, stack.workspace))
        return max(code, await self._refresh(stack, dataset)) if refresh else code

    async def _refresh(self, stack: Stack, dataset: Dataset) -> ExitCode:
        """Changes the source and the platform's rows, and runs again with ``--refresh``."""
        changed, dsn = change(dataset, self._seed), stack.postgres.dsn(stack.workspace.target)
        count, on_platform = len(changed.changed), len(changed.platform_changes())
        self._say(f"changing {count:,} submissions, {on_platform:,} of them on the platform")
        await change_source(changed, stack, stack.workspace)
        await change_platform(changed, stack, stack.workspace)
        before = await read_target(dsn)
        await self._run(stack, "--refresh")
        self._say("expected results of the migrated submissions:")
        for outcome in Outcome:
            self._say(f"  {outcome}: {changed.counts()[outcome]:,}")
        return self._show(check_refresh(changed, before, await read_target(dsn)))

    async def _run(self, stack: Stack, *options: str) -> None:
        arguments = ("-m", "rogo_async", "run", *options)
        self._say(" ".join(("running", *arguments[1:])))
        environment = {
            **{
                name: os.environ[name]
                for name in (*_INHERITED, "PATH", "HOME", "TERM", "LANG", "NO_COLOR", "COLUMNS")
                if name in os.environ
            },
            **stack.environment(),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=environment, cwd=stack.workspace.data_dir
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
        return self._show(results)

    def _show(self, results: Sequence[CheckResult]) -> ExitCode:
        say = self._say
        for result in results:
            say(f"{'ok    ' if result.ok else 'FAILED'} {result.name}: {result.detail}")
        failed = sum(not result.ok for result in results)
        say(
            f"{len(results) - failed} of {len(results)} checks passed"
            + ("" if failed else ": every row has the expected result")
        )
        return ExitCode.SOME_FAILED if failed else ExitCode.DONE

    async def _serve(self, stack: Stack, directory: Path, commands: Sequence[str]) -> None:
        # A proxy of the operator's environment does not reach the servers on this machine.
        environment = {**stack.environment(), "NO_PROXY": LOOPBACK}
        lines = [f"export {k}={shlex.quote(v)}" for k, v in environment.items()]
        file = directory / ENVIRONMENT
        write_private(file, ("\n".join(lines) + "\n").encode())
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        for line in lines:
            self._echo(line)
        self._say("the servers are running; Ctrl-C stops them. To use them in another terminal:")
        self._say(f"  . {shlex.quote(str(file.resolve()))}")
        python = shlex.quote(sys.executable)  # Debian has no `python`
        for command in commands:
            self._say(f"  {python} -m rogo_async {command}")
        await stopped.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        self._say("stopping the servers")


def _require_usable(directory: Path) -> None:
    """Makes the directory. Raises SetupError if it cannot, or for files that are not a demo's."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = {path.name for path in directory.iterdir()}
    except OSError as error:
        raise SetupError(
            f"--dir {directory} cannot be used ({error.strerror}): name another directory"
        ) from None
    if found and LOCK_FILE not in found:
        raise SetupError(
            f"--dir {directory} has files that are not a demo's: name a new or empty directory"
        )
