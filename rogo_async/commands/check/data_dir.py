"""Checks of the data directory, its two input files, and this machine."""

import errno
import fcntl
import os
import platform
import resource
import sys
import tempfile
from pathlib import Path
from typing import Final

from rogo_async.commands.check.results import (
    Check,
    CheckResult,
    SkipCheck,
    fail,
    in_thread,
    ok,
    warning,
)
from rogo_async.common.data_dir import ACCEPTED, LOCK_FILE, MAPPING, SUBMISSIONS, DataDir
from rogo_async.common.errors import InputChanged
from rogo_async.common.settings import Settings
from rogo_async.common.text import plural
from rogo_async.rules.records import SourceRow
from rogo_async.sources.accepted_failures import read_accepted_failures
from rogo_async.sources.mapping_csv import load_mapping
from rogo_async.sources.submissions_csv import SubmissionsFile

NEWEST_ROWS: Final = 1_000
"""Rows at the end of submission_files.csv whose source files are checked."""
_MIB: Final = 1024 * 1024
_MIN_FREE_BYTES: Final = 200 * _MIB
_SPACE_PER_INPUT_SIZE: Final = 3
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_REMOTE: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "glusterfs"}
)
_USE_ANOTHER: Final = "or use another directory (--data-dir, ROGO_DATA_DIR)"
_FIX_MODE: Final = f"Fix its owner and mode, {_USE_ANOTHER}"
_FREE_SPACE: Final = f"Free disk space, {_USE_ANOTHER}"
_WAIT_FOR_RUN: Final = "Wait until it ends before you start a run"
_CHECK_EXPORT: Final = "Check that its export completed"

_OLDEST_PYTHON: Final = (3, 11)
_OPEN_FILES_PER_CONSUMER: Final = 4
_OTHER_OPEN_FILES: Final = 100
_MEMORY_BYTES: Final = 512 * _MIB
_MEMINFO: Final = Path("/proc/meminfo")
_CGROUP: Final = Path("/sys/fs/cgroup")


class DataDirChecks:
    """Checks of the data directory. They read the newest rows into ``newest``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_nearly_full = False
        self.newest: list[SourceRow] = []

    def checks(self) -> list[Check]:
        """The directory first, then its files."""
        runs = {
            "directory.exists": in_thread(self._exists),
            "directory.space": in_thread(self._space),
            "directory.writable": in_thread(self._writable),
            "directory.filesystem": in_thread(self._filesystem),
            "directory.lock": in_thread(self._lock),
            "inputs.submissions": self._submissions,
            "inputs.mapping": self._mapping,
            "inputs.accepted": in_thread(self._accepted),
        }
        needs = {"directory.exists": "settings.ROGO_DATA_DIR"}
        return [
            Check(name, run, (needs.get(name, "directory.exists"),), _FIX_MODE)
            for name, run in runs.items()
        ]

    def _exists(self) -> CheckResult:
        path = self._path.absolute()
        if not self._path.exists():
            return fail(f"{path} does not exist", f"Create it, {_USE_ANOTHER}")
        if not self._path.is_dir():
            return fail(
                f"{path} is not a directory", "Use another directory (--data-dir, ROGO_DATA_DIR)"
            )
        if not os.access(self._path, os.R_OK | os.X_OK, effective_ids=True):
            return fail(f"no permission to read {path}", _FIX_MODE)
        return ok(f"{path} exists")

    def _space(self) -> CheckResult:
        status = os.statvfs(self._path)
        free = status.f_bavail * status.f_frsize
        inputs = [self._path / name for name in (SUBMISSIONS, MAPPING)]
        input_size = sum(path.stat().st_size for path in inputs if path.is_file())
        needed = max(_MIN_FREE_BYTES, _SPACE_PER_INPUT_SIZE * input_size)
        message = f"{free // _MIB:,} MiB free, a run needs up to {-(-needed // _MIB):,} MiB"
        self._is_nearly_full = free < needed
        if self._is_nearly_full:
            return fail(f"disk nearly full: {message}", _FREE_SPACE)
        return ok(message)

    def _writable(self) -> CheckResult:
        """Write an unnamed file, which the kernel deletes when it is closed."""
        if foreign := DataDir(self._path).files_of_another_user():
            return fail(
                f"owned by another user: {', '.join(foreign)}",
                f"Run as root: chown -R {os.geteuid()} {self._path.absolute()}",
            )
        try:
            for directory in (self._path, self._path / "runs"):
                if directory.exists():
                    _write_in(directory)
        except OSError as error:
            if error.errno in _DISK_FULL and self._is_nearly_full:
                raise SkipCheck("directory.space") from None
            if error.errno in _DISK_FULL:
                return fail(
                    f"cannot write in {directory} ({error.strerror})",
                    f"Free blocks, inodes or quota, {_USE_ANOTHER}",
                )
            return fail(f"cannot write in {directory} ({error.strerror})", _FIX_MODE)
        return ok("writable")

    def _filesystem(self) -> CheckResult:
        kind = _filesystem_of(self._path)
        if kind is None:
            return ok("local disk (file system type unknown)")
        if kind in _REMOTE or kind.startswith("fuse."):
            return warning(
                f"remote file system ({kind}), where the run lock may not work",
                "Use a directory on a local disk (--data-dir, ROGO_DATA_DIR)",
            )
        return ok(f"local disk ({kind})")

    def _lock(self) -> CheckResult:
        """Whether a run holds the lock. The test takes a shared lock for a moment."""
        try:
            descriptor = os.open(self._path / LOCK_FILE, os.O_RDONLY)
        except FileNotFoundError:
            return ok("run lock is free")
        except OSError as error:
            if LOCK_FILE in DataDir(self._path).files_of_another_user():
                raise SkipCheck("directory.writable") from None
            return fail(f"cannot read {LOCK_FILE} ({error.strerror})", f"Run chmod 600 {LOCK_FILE}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            return warning(f"run lock is held by {holder or 'another process'}", _WAIT_FOR_RUN)
        finally:
            os.close(descriptor)
        return ok("run lock is free")

    async def _submissions(self) -> CheckResult:
        path = self._path / SUBMISSIONS
        try:
            file = await SubmissionsFile.open(path)
        except InputChanged:
            return _changing(path)
        try:
            rows = len(file)
            file.select_newest(NEWEST_ROWS)
            async for chunk in file.chunks_from_end():
                self.newest.extend(chunk)
        except InputChanged:
            return _changing(path)
        finally:
            file.close()
        if not rows:
            return warning(f"{SUBMISSIONS} has no rows", _CHECK_EXPORT)
        if count := file.rows_with_null_name:
            return warning(
                f"{SUBMISSIONS}: the text NULL is a person's name in {count:,} of "
                f"{plural(rows, 'row')}. It is migrated as it is",
                "Check the export, and empty these cells if they have no name",
            )
        return ok(f"{SUBMISSIONS}: {plural(rows, 'row')} with all required columns")

    async def _mapping(self) -> CheckResult:
        path = self._path / MAPPING
        try:
            mapping = await load_mapping(path)
        except InputChanged:
            return _changing(path)
        if not mapping.rows:
            return warning(f"{MAPPING} contains no attempts", _CHECK_EXPORT)
        return ok(
            f"{MAPPING}: {plural(mapping.lines, 'line')}, {mapping.without_attempt:,} without a "
            f"usable Attempt ID, {mapping.malformed:,} malformed; "
            f"{plural(mapping.disagreeing, 'attempt')} with contradictory lines"
        )

    def _accepted(self) -> CheckResult:
        accepted = read_accepted_failures(self._path / ACCEPTED)
        if accepted.problems:
            more = len(accepted.problems) - 1
            return fail(
                f"{accepted.problems[0]}" + (f" (and {more:,} more)" if more else ""),
                f"Correct {ACCEPTED}. A run ignores these lines: their rows count as failed",
            )
        return ok(f"{ACCEPTED}: {len(accepted.entries):,} entries")


def _changing(path: Path) -> CheckResult:
    return fail(
        f"{path.name} changed while it was read",
        "Wait until its export has finished, then repeat the check",
    )


def _write_in(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory, prefix="rogo_check_") as file:
        file.write(b"rogo_check")
        file.flush()
        os.fsync(file.fileno())


def _filesystem_of(path: Path) -> str | None:
    """The kernel's name of a directory's file system type; None if unknown."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            mount, _, rest = line.partition(" - ")
            if mount.split()[2] == wanted:
                return rest.split()[0]
    return None


def machine_checks(settings: Settings) -> list[Check]:
    """Python, open files, memory."""
    return [
        Check("machine.python", in_thread(_python)),
        Check(
            "machine.files",
            in_thread(lambda: _open_files(settings.rogo_concurrency)),
            ("settings.ROGO_CONCURRENCY",),
        ),
        Check("machine.memory", in_thread(_memory)),
    ]


def _python() -> CheckResult:
    version = platform.python_version()
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return fail(f"Python {version} is not supported", "Use Python 3.11 or later")
    return ok(f"Python {version}")


def _open_files(concurrency: int) -> CheckResult:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _OPEN_FILES_PER_CONSUMER * concurrency + _OTHER_OPEN_FILES
    if limit != resource.RLIM_INFINITY and limit < needed:
        return fail(
            f"limit of {limit:,} open files is too low: ROGO_CONCURRENCY {concurrency} needs "
            f"{needed:,}",
            f"Raise it (ulimit -n {needed}, or LimitNOFILE={needed} in the systemd unit), "
            "or lower ROGO_CONCURRENCY",
        )
    shown = "no limit on" if limit == resource.RLIM_INFINITY else f"limit of {limit:,}"
    return ok(f"{shown} open files, {needed:,} needed")


def _memory() -> CheckResult:
    available = available_memory()
    message = f"{available // _MIB:,} MiB of memory available"
    if available < _MEMORY_BYTES:
        return warning(
            f"{message}, a run uses up to {_MEMORY_BYTES // _MIB} MiB",
            "Add memory, or lower ROGO_CONCURRENCY",
        )
    return ok(message)


def available_memory() -> int:
    """Bytes of memory that this process can still use, within its machine and its container."""
    return min(_system_memory(), _cgroup_memory())


def _system_memory() -> int:
    for line in _MEMINFO.read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return sys.maxsize


def _cgroup_memory() -> int:
    """The memory left within the container's limit, if it has one (cgroup version 2)."""
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = (_CGROUP / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return sys.maxsize
    return sys.maxsize if limit == "max" else int(limit) - int(used)
