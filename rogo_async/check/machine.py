"""The machine: what a run of the set concurrency needs of it."""

import platform
import resource
import sys
from pathlib import Path
from typing import Final

from rogo_async.check.findings import Check, Verdict, fail, in_thread, ok, warning
from rogo_async.settings import Settings

_OLDEST_PYTHON: Final = (3, 11)
_FILES_FOR_EACH: Final = 4
_FILES_BESIDE: Final = 100
_MIB: Final = 1024 * 1024
_MEMORY_BYTES: Final = 512 * _MIB
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


def machine_checks(settings: Settings) -> list[Check]:
    """Python, open files, memory."""
    return [
        Check("machine.python", in_thread(_python)),
        Check(
            "machine.files",
            in_thread(lambda: _files(settings.rogo_concurrency)),
            ("settings.ROGO_CONCURRENCY",),
        ),
        Check("machine.memory", in_thread(_memory)),
    ]


def _python() -> Verdict:
    version = platform.python_version()
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return fail(f"Python {version} is too old", "Use Python 3.11 or later")
    return ok(f"Python {version}")


def _files(concurrency: int) -> Verdict:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _FILES_FOR_EACH * concurrency + _FILES_BESIDE
    if limit != resource.RLIM_INFINITY and limit < needed:
        return fail(
            f"{limit:,} files may be open at once, ROGO_CONCURRENCY {concurrency} needs {needed:,}",
            f"Raise it (ulimit -n {needed}, LimitNOFILE={needed} in the unit), "
            "or lower ROGO_CONCURRENCY",
        )
    shown = "any number of" if limit == resource.RLIM_INFINITY else f"{limit:,}"
    return ok(f"{shown} files may be open at once, {needed:,} are needed")


def _memory() -> Verdict:
    available = min(_of_the_system(), _of_the_cgroup())
    shown = f"{available // _MIB:,} MiB of memory are available"
    if available < _MEMORY_BYTES:
        return warning(
            f"{shown}, a run may use up to {_MEMORY_BYTES // _MIB}",
            "Give the machine more memory, or lower ROGO_CONCURRENCY",
        )
    return ok(shown)


def _of_the_system() -> int:
    for line in _MEMINFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return sys.maxsize


def _of_the_cgroup() -> int:
    """What the container's own limit leaves, where there is one (cgroup version 2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CGROUP / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return sys.maxsize
    return sys.maxsize if limit == "max" else int(limit) - int(used)
