"""Runs the command as an operator does and returns its exit code, messages, log and files.

The command is a separate process, as cron starts it: its environment has only the settings and a
PATH, its working directory is the data directory.
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

DEADLINE_S = 90.0
MIGRATED = "migrated.csv"
FAILED = "submissions_failed_migration.csv"
SUMMARY = "run_summary.json"
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

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._said: list[str] = []
        self._log: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._stdout = asyncio.create_task(_all(process.stdout), name="reading stdout")
        self._stderr = asyncio.create_task(self._read(process.stderr), name="reading stderr")

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
    env: Mapping[str, str], *args: str, prefix: Sequence[str] = (), **settings: str
) -> AsyncIterator[RunningCommand]:
    """A command that is killed at the end of the block if it still runs.

    ``settings`` are added to the environment; ``prefix`` is a command that executes the
    rest of its line.
    """
    environment = {"PATH": os.environ["PATH"], **env, **settings}
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *_MODULE,
        *args,
        env=environment,
        cwd=environment.get("ROGO_DATA_DIR"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=8 * 1024 * 1024,
    )
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
    **settings: str,
) -> CliResult:
    """Run a command to its end."""
    async with start_cli(env, *args, prefix=prefix, **settings) as command:
        return await command.wait(deadline_s)


def summary(data_dir: Path) -> dict[str, Any]:
    """run_summary.json, which must equal the run's own copy and add up."""
    text = (data_dir / SUMMARY).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    assert (data_dir / "runs" / f"{found['run_id']}.json").read_text(encoding="utf-8") == text
    parts = ("migrated", "failed", "skipped", "not_reached")
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
