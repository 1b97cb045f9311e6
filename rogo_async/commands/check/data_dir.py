"""The data directory, and the two files that a run reads from it (specification §1, §2)."""

import errno
import fcntl
import os
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rogo_async.commands.check.results import Check, Needs, Verdict, fail, in_thread, ok, warning
from rogo_async.common.data_dir import FAILED, LOCK_FILE, MAPPING, SUBMISSIONS
from rogo_async.common.errors import InputChanged
from rogo_async.common.settings import Settings
from rogo_async.rules.records import SourceRow
from rogo_async.sources.submissions_csv import SubmissionsFile, load_mapping

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


NEWEST_ROWS: Final = 1_000
"""Rows at the end of submission_files.csv whose sources are looked at."""
_LEAST_FREE_BYTES: Final = 200 * _MIB
_TIMES_THE_INPUTS: Final = 3
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FAR: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "9p", "glusterfs"})
_ELSEWHERE: Final = "Name another directory (--data-dir, ROGO_DATA_DIR)"
_MEND: Final = f"Mend its owner and mode. {_ELSEWHERE}"


class Directory:
    """The data directory. ``newest`` holds the last rows once its files have been read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._nearly_full = False
        self.newest: list[SourceRow] = []

    def checks(self) -> list[Check]:
        """The directory first, then its files."""
        looks = {
            "directory.exists": in_thread(self._exists),
            "directory.space": in_thread(self._space),
            "directory.writable": in_thread(self._writable),
            "directory.filesystem": in_thread(self._filesystem),
            "directory.lock": in_thread(self._lock),
            "inputs.submissions": self._submissions,
            "inputs.mapping": self._mapping,
        }
        needs = {"directory.exists": "settings.ROGO_DATA_DIR"}
        return [
            Check(name, look, (needs.get(name, "directory.exists"),), _MEND)
            for name, look in looks.items()
        ]

    def _exists(self) -> Verdict:
        shown = self._path.absolute()
        if not self._path.exists():
            return fail(f"{shown} is not there", f"Create it. {_ELSEWHERE}")
        if not self._path.is_dir():
            return fail(f"{shown} is no directory", _ELSEWHERE)
        if not os.access(self._path, os.R_OK | os.X_OK, effective_ids=True):
            return fail(f"{shown} may not be entered", _MEND)
        return ok(f"{shown} is there")

    def _space(self) -> Verdict:
        status = os.statvfs(self._path)
        free = status.f_bavail * status.f_frsize
        inputs = [self._path / name for name in (SUBMISSIONS, MAPPING)]
        size = sum(path.stat().st_size for path in inputs if path.is_file())
        wanted = max(_LEAST_FREE_BYTES, _TIMES_THE_INPUTS * size)
        shown = f"{free // _MIB:,} MiB are free, {-(-wanted // _MIB):,} may be needed"
        self._nearly_full = free < wanted
        if self._nearly_full:
            return fail(f"the disk is nearly full: {shown}", f"Make room. {_ELSEWHERE}")
        return ok(shown)

    def _writable(self) -> Verdict:
        """Write something that has no name, and so is gone whatever happens."""
        try:
            for directory in (self._path, self._path / "runs"):
                if directory.exists():
                    _write_in(directory)
        except OSError as error:
            if error.errno in _FULL and self._nearly_full:
                raise Needs("directory.space") from None
            if error.errno in _FULL:
                return fail(
                    f"{directory} takes no more ({error.strerror})",
                    f"Make room: blocks, inodes or quota. {_ELSEWHERE}",
                )
            return fail(f"{directory} cannot be written ({error.strerror})", _MEND)
        strangers = [path.name for path in self._own_files() if not _is_mine(path)]
        if strangers:
            user = os.geteuid()
            return fail(
                f"{', '.join(strangers)} belongs to another user", f"chown it to user {user}"
            )
        return ok("can be written")

    def _filesystem(self) -> Verdict:
        kind = _kind_of(self._path)
        if kind in _FAR or kind.startswith("fuse."):
            return warning(
                f"lies on {kind}, where the lock against a second run may not hold",
                f"Use a local disk. {_ELSEWHERE}",
            )
        return ok(f"is local ({kind})")

    def _lock(self) -> Verdict:
        """Whether a run holds the lock; a shared one, for an instant, is in nobody's way."""
        try:
            descriptor = os.open(self._path / LOCK_FILE, os.O_RDONLY)
        except FileNotFoundError:
            return ok("the lock is free")
        except OSError as error:
            if not _is_mine(self._path / LOCK_FILE):
                raise Needs("directory.writable") from None
            return fail(f"{LOCK_FILE} cannot be read ({error.strerror})", f"chmod 600 {LOCK_FILE}")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            return warning(
                f"the lock is held by {holder or 'another process'}",
                "Let it finish before you start another",
            )
        finally:
            os.close(descriptor)
        return ok("the lock is free")

    async def _submissions(self) -> Verdict:
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
            return warning(f"{SUBMISSIONS} has no rows", "See whether its export went well")
        return ok(f"{SUBMISSIONS}: {rows:,} rows with all columns that are used")

    async def _mapping(self) -> Verdict:
        path = self._path / MAPPING
        try:
            mapping = await load_mapping(path)
        except InputChanged:
            return _changing(path)
        if not mapping.rows:
            return warning(f"{MAPPING} names no attempt", "See whether its export went well")
        return ok(
            f"{MAPPING}: {mapping.lines:,} lines, {mapping.without_attempt:,} of them without a "
            f"usable Attempt ID; {mapping.disagreeing:,} attempts have lines that disagree"
        )

    def _own_files(self) -> Iterator[Path]:
        """Files that a run changes in their place: the others are replaced."""
        for name in (FAILED, LOCK_FILE):
            if (self._path / name).exists():
                yield self._path / name


def _changing(path: Path) -> Verdict:
    return fail(f"{path.name} changes while it is read", "Let its export finish, then check again")


def _is_mine(path: Path) -> bool:
    return os.geteuid() in {0, path.stat().st_uid}


def _write_in(directory: Path) -> None:
    with tempfile.TemporaryFile(dir=directory, prefix="rogo_check_") as file:
        file.write(b"rogo_check")
        file.flush()
        os.fsync(file.fileno())


def _kind_of(path: Path) -> str:
    """The type of the file system that a directory lies on, as the kernel names it."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            mount, _, rest = line.partition(" - ")
            if mount.split()[2] == wanted:
                return rest.split()[0]
    return "of an unknown kind"
