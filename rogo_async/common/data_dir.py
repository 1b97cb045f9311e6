"""The data directory: its lock, its files, and the files of past runs (specification §2, §5)."""

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiofiles

from rogo_async.common.errors import DataDirFull, LockHeld, SetupError
from rogo_async.common.files import (
    PRIVATE_MODE,
    discarded_on_error,
    make_private_directory,
    replace_durably,
    sync_directory,
    write_private,
)

SUBMISSIONS: Final = "submission_files.csv"
MAPPING: Final = "attempt_number_mapping.csv"
MIGRATED: Final = "migrated.csv"
FAILED: Final = "submissions_failed_migration.csv"
ERROR_COLUMN: Final = "Error"
"""The last column of a failed-rows file: ``code: message``."""
FAILURES: Final = "failures_by_assessment.csv"
ACCEPTED: Final = "accepted_failures.csv"
SUMMARY: Final = "run_summary.json"
LOCK_FILE: Final = ".rogo_async.lock"
SHARDS: Final = "shards"
LATEST_FULL: Final = "latest_full_run"
_NOT_OF_A_RUN: Final = (".orphans.csv", ".rollback.csv")
_AFTER_ALL_RUNS: Final = "~"
RUN_ID: Final = r"\d{8}T\d{6}Z-[0-9a-f]{8}"
"""The pattern of a run id."""
RUN_ID_FORM: Final = "such as 20250310T010000Z-1a2b3c4d (a time in UTC, 8 hexadecimal digits)"

_FAILED_ROWS: Final = re.compile(r"\.failed\..*csv\Z")
_RUN_FILE: Final = re.compile(rf"({RUN_ID})\.")


def new_run_id() -> str:
    """A new run id, such as ``20250310T010000Z-1a2b3c4d``.

    Ids sort by start time: the second (UTC), then 20 bits of its fraction before 12 random bits.
    """
    now = datetime.now(UTC)
    fraction = now.microsecond * 2**20 // 1_000_000
    return f"{now:%Y%m%dT%H%M%SZ}-{fraction << 12 | secrets.randbits(12):08x}"


def check_run_id(text: str) -> None:
    """Raises ValueError for a text that does not have the form of a run id."""
    if re.fullmatch(RUN_ID, text) is None:
        raise ValueError(f"must be a run id {RUN_ID_FORM}")
    try:
        datetime.strptime(text.partition("-")[0], "%Y%m%dT%H%M%SZ")  # noqa: DTZ007 - only checked
    except ValueError:
        raise ValueError("does not begin with a valid time") from None


def _resolved(paths: Iterable[Path | None]) -> set[Path]:
    return {path.resolve() for path in paths if path is not None}


def shards_of(data_dir: Path, run_id: str) -> Path:
    """The directory of the shards of a run."""
    return data_dir / SHARDS / run_id


class DataDir:
    """The data directory of one run at a time. Call ``lock`` before any method that writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self._lock: int | None = None

    @property
    def is_used(self) -> bool:
        """Whether it has the files of a migration. False if that cannot be seen."""
        try:
            return self.runs.is_dir() or (self.path / SUBMISSIONS).exists()
        except OSError:
            return False

    def lock(self, holder: str) -> None:
        """Lock the directory for ``holder`` (``run x``).

        Raises LockHeld if another process holds the lock, and SetupError if the directory cannot
        be written.
        """
        if foreign := self.files_of_another_user():
            raise SetupError(
                f"owned by another user: {', '.join(foreign)}. Run as root: "
                f"chown -R {os.geteuid()} {self.path.absolute()}"
            )
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, PRIVATE_MODE)
        except OSError as error:
            raise SetupError(
                f"{self.path}: cannot be written ({error.strerror}). Fix its owner and mode, or "
                "use another directory (--data-dir, ROGO_DATA_DIR)"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise LockHeld(f"another run is active in {self.path}: {other or 'unknown'}") from None
        except OSError as error:
            os.close(descriptor)
            raise SetupError(
                f"{self.path}: cannot be locked ({error.strerror}). Use a local disk, or a "
                "file system that supports locks"
            ) from None
        self._lock = descriptor
        with contextlib.suppress(OSError):  # on a full disk the lock works without the name
            os.ftruncate(descriptor, 0)
            text = f"{holder} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
            os.pwrite(descriptor, text.encode(), 0)

    @property
    def is_locked(self) -> bool:
        """Whether a process holds the lock. True if that cannot be seen."""
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDONLY)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def files_of_another_user(self) -> list[str]:
        """The files of earlier runs that a run needs and that this user, unless root, does not own.

        They are private, so a run cannot read or change them.
        """
        user = os.geteuid()
        paths = (self.path / LOCK_FILE, self.path / FAILED, self.runs, self.runs / LATEST_FULL)
        # os.path.exists is false for what this user cannot see.
        return [
            str(path.relative_to(self.path))
            for path in paths
            if user and os.path.exists(path) and path.stat().st_uid != user  # noqa: PTH110 - see above
        ]

    def unlock(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    @property
    def failed_rows(self) -> Path:
        """The failed-rows file of the latest full run."""
        return self.path / FAILED

    def summary_of(self, run_id: str) -> Path:
        """The summary of a run, which may not exist."""
        return self.runs / f"{run_id}.json"

    def forget_summary(self, run_id: str) -> None:
        """Delete the summary of an earlier try of this run. Raises OSError."""
        for path in (self.summary_of(run_id), self.path / SUMMARY):
            path.unlink(missing_ok=True)
            sync_directory(path.parent)

    def begin_full_run(self, run_id: str) -> None:
        """Move the failed-rows file of the previous full run to ``runs/``, and record this run.

        Deletes the table of its failures. Raises OSError.
        """
        (self.path / FAILURES).unlink(missing_ok=True)
        current = self.path / FAILED
        if current.exists():
            previous = self.latest_full_run() or f"{run_id}.before"
            kept = self.runs / f"{previous}.failed.csv"
            if kept.exists():
                kept = self.runs / f"{previous}.failed.{run_id}.csv"
            current.chmod(PRIVATE_MODE)
            current.rename(kept)
        # This makes the new name of the moved file durable, too.
        write_private(self.runs / LATEST_FULL, run_id.encode())

    def failed_rows_files(self, before: str | None = None) -> list[Path]:
        """The failed-rows files of the runs that are kept, the newest run first. Raises OSError.

        With ``before``, only those of runs that began before this one.
        """
        found = [
            (run[1], file)
            for file in (self.runs.iterdir() if self.runs.is_dir() else ())
            if (run := _RUN_FILE.match(file.name)) and _FAILED_ROWS.search(file.name)
        ]
        current = self.path / FAILED
        if current.is_file():
            found.append((self.latest_full_run() or _AFTER_ALL_RUNS, current))
        return [file for run, file in sorted(found, reverse=True) if before is None or run < before]

    async def rebuild_migrated(
        self, export: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        """Replace migrated.csv with the output of ``export``. Raises OSError and its errors."""
        draft = self.path / f"{MIGRATED}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with discarded_on_error(draft):
            descriptor = await asyncio.to_thread(os.open, draft, flags, PRIVATE_MODE)
            async with aiofiles.open(descriptor, "wb") as file:

                async def sink(data: bytes) -> None:
                    # Distinguish an error of the disk from an OSError of the server's connection.
                    try:
                        await file.write(data)
                    except OSError as error:
                        raise DataDirFull(f"{draft}: {error.strerror}") from None

                await export(sink)
                await file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            await asyncio.to_thread(replace_durably, draft, self.path / MIGRATED)

    def write_summary(self, run_id: str, data: bytes, *, is_full: bool) -> None:
        """Write the summary in ``runs/``; of a full run also run_summary.json. Raises OSError."""
        self.make_runs()
        write_private(self.summary_of(run_id), data)
        if is_full:
            write_private(self.path / SUMMARY, data)

    def make_runs(self) -> None:
        """Create ``runs/``. Raises OSError."""
        make_private_directory(self.runs)

    def delete_old_runs(self, keep: int, current: str, *in_use: Path | None) -> None:
        """Create ``runs/`` and delete the files in it of all but the newest ``keep`` runs.

        The ``current`` run counts, also without any file. Keeps its files, the files ``in_use``,
        which it reads, and all other files. Raises OSError.
        """
        self.make_runs()
        used = _resolved(in_use)
        files: dict[str, list[Path]] = {}
        for file in self.runs.iterdir():
            found = _RUN_FILE.match(file.name)
            if found and found[1] != current and file.is_file():
                files.setdefault(found[1], []).append(file)
        # Files of sweep and rollback do not count as runs; they are deleted by age.
        others = (
            run_id
            for run_id, found_files in files.items()
            if not any(file.name.endswith(_NOT_OF_A_RUN) for file in found_files)
        )
        runs = sorted([*others, current])
        if len(runs) <= keep:
            return
        oldest_kept = runs[-keep]
        for run_id, found_files in files.items():
            for file in found_files:
                if run_id < oldest_kept and file.resolve() not in used:
                    file.unlink(missing_ok=True)

    def delete_old_shards(self, keep: int, current: str, *in_use: Path | None) -> None:
        """Delete the directories of the shards of all but the newest ``keep`` distributed runs.

        Keeps those of the ``current`` run, of a run with a shard that is running or being
        collected, and of a run with a file ``in_use``. Shards that begin together may do so at the
        same time. Raises OSError.
        """
        used = _resolved(in_use)
        for each in self._runs_of_shards()[:-keep]:
            is_used = any(path.is_relative_to(each.resolve()) for path in used)
            is_running = any(shard.is_locked for shard in self.shards(each.name))
            if each.name != current and not is_used and not is_running:
                shutil.rmtree(each, ignore_errors=True)

    def shards(self, run_id: str) -> "list[DataDir]":
        """The directories of the shards of a run, or with ``*`` of all runs."""
        found = sorted((self.path / SHARDS).glob(f"{run_id}/*-of-*"))
        return [DataDir(each) for each in found if each.is_dir()]

    def _runs_of_shards(self) -> list[Path]:
        directory = self.path / SHARDS
        found = directory.iterdir() if directory.is_dir() else ()
        return sorted(each for each in found if re.fullmatch(RUN_ID, each.name))

    def latest_full_run(self) -> str | None:
        """The run that ``begin_full_run`` recorded last; None without one."""
        try:
            return (self.runs / LATEST_FULL).read_text().strip() or None
        except OSError:
            return None
