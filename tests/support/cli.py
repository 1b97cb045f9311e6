"""Runs the command as an operator does and returns its exit code, messages, log and files.

The command is a separate process, as cron starts it: its environment has only the settings and a
PATH, its working directory is the data directory. It is forked from a process that has imported
the package (``forked_command``); with ``prefix`` it is a new interpreter.
"""

import asyncio
import csv
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked_command import ForkedCommand

DEADLINE_S = 300.0
"""Ends a test that hangs, also on a machine that is busy with other work."""

MIGRATED = "migrated.csv"
FAILED = "submissions_failed_migration.csv"
SUMMARY = "run_summary.json"
STOPPING = "stopping: finishing the work in progress; a second signal stops immediately"
"""The event with which a run ends early."""

NEW_INTERPRETER = ("env",)
"""A ``prefix`` with which the command is a new interpreter with a command line of its own."""

_LINE_BYTES = 8 * 1024 * 1024
_READ_AT_START = "PYTHON"
"""Variables that have no effect once the interpreter runs."""
_MODULE = (sys.executable, "-m", "rogo_async")


@dataclass(frozen=True, slots=True)
class CliResult:
    """The result of a command. ``messages`` are its lines on stderr other than log lines."""

    code: int
    stdout: str
    messages: list[str]
    log: list[dict[str, Any]]

    @property
    def output(self) -> str:
        """All its output."""
        return "\n".join([self.stdout, *self.messages, *map(json.dumps, self.log)])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of this event."""
        return [entry for entry in self.log if entry["event"] == name]


class RunningCommand:
    """A running command. Its log is read while it runs."""

    def __init__(self, process: asyncio.subprocess.Process | ForkedCommand) -> None:
        self.process = process
        self._said: list[str] = []
        self._log: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._stdout = asyncio.create_task(_all(process.stdout), name="reading stdout")
        self._stderr = asyncio.create_task(self._read(process.stderr), name="reading stderr")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log lines of this event so far."""
        return [entry for entry in self._log if entry["event"] == name]

    async def wait_for_event(
        self, event: str, matches: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> dict[str, Any]:
        """Wait for a log line of this event. Fails when the command exits without it."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self._changed.clear()
                for entry in self._log:
                    if entry["event"] == event and matches(entry):
                        return entry
                if self._stderr.done():
                    raise AssertionError(f"no such event: {event}; {self._said} {self._log}")
                await self._changed.wait()

    async def wait(self, deadline_s: float = DEADLINE_S) -> CliResult:
        """Wait until it exits. Fails, with its output, when it does not."""
        try:
            async with asyncio.timeout(deadline_s):
                code = await self.process.wait()
                stdout = await asyncio.shield(self._stdout)
                await asyncio.shield(self._stderr)
        except TimeoutError:
            raise AssertionError(
                f"still running after {deadline_s} s: {self._said} {self._log}"
            ) from None
        return CliResult(code, stdout.decode(), self._said, self._log)

    async def kill(self) -> None:
        """Kill it if it still runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await asyncio.gather(self._stdout, self._stderr)

    async def _read(self, stderr: asyncio.StreamReader | None) -> None:
        assert stderr is not None
        async for raw in stderr:
            line = raw.decode().rstrip("\n")
            if line.startswith("{"):
                self._log.append(json.loads(line))
            elif line:
                self._said.append(line)
            self._changed.set()
        asyncio.get_running_loop().call_soon(self._changed.set)


async def _all(stdout: asyncio.StreamReader | None) -> bytes:
    assert stdout is not None
    return await stdout.read()


@asynccontextmanager
async def start_cli(
    env: Mapping[str, str],
    *args: str,
    prefix: Sequence[str] = (),
    umask: str = "",
    **settings: str,
) -> AsyncIterator[RunningCommand]:
    """A command that is killed at the end of the block if it still runs.

    ``settings`` are added to the environment; ``prefix`` is a command that executes the
    rest of its line; ``umask``, in octal digits, is that of the command.
    """
    environment = {"PATH": os.environ["PATH"], **env, **settings}
    mask = int(umask, 8) if umask else -1  # -1: that of this process
    process: asyncio.subprocess.Process | ForkedCommand
    if prefix or any(name.startswith(_READ_AT_START) for name in environment):
        process = await asyncio.create_subprocess_exec(
            *prefix,
            *_MODULE,
            *args,
            env=environment,
            cwd=environment.get("ROGO_DATA_DIR"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            umask=mask,
            limit=_LINE_BYTES,
        )
    else:
        process = ForkedCommand(args, environment, mask, _LINE_BYTES)
        await process.start()
    command = RunningCommand(process)
    try:
        yield command
    finally:
        await command.kill()


async def run_cli(
    env: Mapping[str, str],
    *args: str,
    deadline_s: float = DEADLINE_S,
    prefix: Sequence[str] = (),
    umask: str = "",
    **settings: str,
) -> CliResult:
    """Run a command to its end."""
    async with start_cli(env, *args, prefix=prefix, umask=umask, **settings) as command:
        return await command.wait(deadline_s)


def rows_done(more_than: int) -> Callable[[dict[str, Any]], bool]:
    """A condition for progress lines: more rows of the migration itself are done."""
    return lambda entry: "stage" not in entry and entry["done"] > more_than


def summary(data_dir: Path) -> dict[str, Any]:
    """The summary of the latest run, which must add up.

    It is in runs/, and that of a full run is run_summary.json, too.
    """
    text = max((data_dir / "runs").glob("*Z-*[0-9a-f].json")).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    latest = data_dir / SUMMARY
    is_latest = latest.exists() and latest.read_text(encoding="utf-8") == text
    assert is_latest == (found["selection"] is None)
    parts = ("migrated", "refreshed", "failed", "skipped", "not_reached")
    assert sum(found[name] for name in parts) == found["rows_total"]
    assert all(found[name] >= 0 for name in parts)
    return found


def counts(data_dir: Path) -> tuple[int, int, int, int]:
    """Rows migrated, failed, skipped and not processed in the latest run."""
    found = summary(data_dir)
    return found["migrated"], found["failed"], found["skipped"], found["not_reached"]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by column."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def failures(path: Path) -> dict[str, str]:
    """The code of each row of a failed-rows file by its Attempt ID."""
    rows = table(path)
    codes = {row["Attempt ID"]: row["Error"].partition(": ")[0] for row in rows}
    assert len(codes) == len(rows)
    return codes
