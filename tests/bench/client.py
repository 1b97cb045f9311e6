"""Runs the command as a process and measures its CPU time and memory."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rogo_async.demo.servers.process import die_with_parent

COMMAND: Final = (sys.executable, "-m", "rogo_async", "run")
WITHOUT_FILES: Final = (sys.executable, "-m", "tests.bench.without_files")
_POLL_S: Final = 0.05


class BenchError(Exception):
    """A bench cannot continue. One line: the problem and how to fix it."""


@dataclass(frozen=True, slots=True)
class Used:
    """Resources used by a process. ``peak_bytes`` is its own peak (VmHWM), read every 50 ms."""

    pid: int
    began: float
    wall_s: float
    cpu_s: float
    peak_bytes: int
    code: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A run of our command: its resources and its run_summary.json."""

    used: Used
    summary: dict[str, Any]


async def run(
    environment: Mapping[str, str],
    data_dir: Path,
    consumers: int | None,
    expected: int,
    command: Sequence[str] = COMMAND,
) -> Ran:
    """Run the migration; ``expected`` rows must migrate. ``consumers`` None is the default."""
    settings = {} if consumers is None else {"ROGO_CONCURRENCY": str(consumers)}
    used = await process(command, {**environment, **settings}, data_dir)
    path = data_dir / "run_summary.json"
    summary: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    if used.code != 0 or summary.get("migrated") != expected:
        raise BenchError(
            f"a run ended with {used.code} and {summary.get('migrated')} of {expected} rows "
            f"migrated: {last_lines(data_dir / 'output.log')}"
        )
    return Ran(used, summary)


async def process(command: Sequence[str], environment: Mapping[str, str], directory: Path) -> Used:
    """Run a command to its end, its output in ``output.log``. It ends with this process."""
    with (directory / "output.log").open("ab") as log:
        began, started = time.time(), time.monotonic()
        child = subprocess.Popen(  # noqa: ASYNC220 - wait4 below returns its usage
            die_with_parent(command, signal.SIGKILL),
            env={"PATH": os.environ["PATH"], **environment},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    watching = asyncio.create_task(_peak(child.pid), name="watching memory")
    waiting = asyncio.create_task(asyncio.to_thread(os.wait4, child.pid, 0), name="waiting")
    try:
        _, status, usage = await asyncio.shield(waiting)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        await waiting
        raise
    finally:
        watching.cancel()
        child.returncode = -1  # wait4 has reaped it
        await asyncio.wait({watching})
    wall_s = time.monotonic() - started
    peak_bytes = watching.result() if not watching.cancelled() else 0
    cpu_s = usage.ru_utime + usage.ru_stime
    code = os.waitstatus_to_exitcode(status)
    return Used(child.pid, began, wall_s, cpu_s, peak_bytes, code)


def last_lines(log: Path) -> str:
    """The last lines of a process's output."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return " ".join(lines[-2:])[-600:]


async def _peak(pid: int) -> int:
    """The highest VmHWM seen until cancelled. The rusage of a child begins at its parent's."""
    peak = 0
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        peak = max(peak, int(line.split()[1]) * 1024)
            await asyncio.sleep(_POLL_S)
    return peak
