"""The data directory: its lock, its files, and the runs that are kept (specification §2, §5)."""

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiofiles

from rogo_async.common.errors import DataDirFull, LockHeld, SetupError
from rogo_async.common.files import PRIVATE_MODE, put_in_place, sync_directory, write_private

SUBMISSIONS: Final = "submission_files.csv"
MAPPING: Final = "attempt_number_mapping.csv"
MIGRATED: Final = "migrated.csv"
FAILED: Final = "submissions_failed_migration.csv"
SUMMARY: Final = "run_summary.json"
LOCK_FILE: Final = ".rogo_async.lock"
_LATEST_FULL: Final = "latest_full_run"
_NO_RUN: Final = (".orphans.csv", ".rollback.csv")
_AFTER_ALL: Final = "~"
RUN_ID: Final = r"\d{8}T\d{6}Z-[0-9a-f]{8}"
"""The pattern of a run's id."""

_RUN_FILE: Final = re.compile(rf"({RUN_ID})\.")


def new_run_id() -> str:
    """A run's id: its time of start in UTC, which sorts, and something random."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


class DataDir:
    """A directory that one run at a time works in. ``lock`` comes before whatever writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs = path / "runs"
        self._lock: int | None = None

    def lock(self, holder: str) -> None:
        """Take the directory's lock in the name of ``holder`` (``run x``) or raise LockHeld at
        once. Raises SetupError when the directory cannot be written.
        """
        try:
            descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT, PRIVATE_MODE)
        except OSError as error:
            raise SetupError(
                f"{self.path}: cannot be written ({error.strerror}). Mend its owner and mode, or "
                "name another directory (--data-dir, ROGO_DATA_DIR)"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
            os.close(descriptor)
            raise LockHeld(f"another run works in {self.path}: {other or 'unknown'}") from None
        except OSError as error:
            os.close(descriptor)
            raise SetupError(
                f"{self.path}: cannot be locked ({error.strerror}). It must be on a local disk, or "
                "on a file system with locks"
            ) from None
        self._lock = descriptor
        with contextlib.suppress(OSError):  # on a full disk the lock holds without the name
            os.ftruncate(descriptor, 0)
            text = f"{holder} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
            os.pwrite(descriptor, text.encode(), 0)

    def unlock(self) -> None:
        """Let the lock go."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock, 0)
            os.close(self._lock)
            self._lock = None

    def begin_full_run(self, run_id: str) -> None:
        """Move the failed-rows file of the full run before to ``runs/`` and make this the latest.

        Raises OSError.
        """
        current = self.path / FAILED
        if current.exists():
            before = self._latest_full() or f"{run_id}.before"
            kept = self.runs / f"{before}.failed.csv"
            if kept.exists():
                kept = self.runs / f"{before}.failed.{run_id}.csv"
            current.chmod(PRIVATE_MODE)
            current.rename(kept)
            sync_directory(self.runs)
            sync_directory(self.path)
        write_private(self.runs / _LATEST_FULL, run_id.encode())

    async def rebuild_migrated(
        self, export: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        """Replace migrated.csv by what ``export`` writes. Raises OSError and what it raises."""
        draft = self.path / f"{MIGRATED}.new"
        descriptor = await asyncio.to_thread(
            os.open, draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_MODE
        )
        async with aiofiles.open(descriptor, "wb") as file:

            async def sink(data: bytes) -> None:
                # Behind the export is a server: what the disk says must not be taken for its word.
                try:
                    await file.write(data)
                except OSError as error:
                    raise DataDirFull(f"{draft}: {error.strerror}") from None

            await export(sink)
            await file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        await asyncio.to_thread(put_in_place, draft, self.path / MIGRATED)

    def write_summary(self, run_id: str, data: bytes) -> None:
        """Write run_summary.json and its copy in ``runs/``. Raises OSError."""
        self.make_runs()
        write_private(self.runs / f"{run_id}.json", data)
        write_private(self.path / SUMMARY, data)

    def make_runs(self) -> None:
        """Make ``runs/``. Raises OSError."""
        self.runs.mkdir(mode=0o700, exist_ok=True)

    def make_room_for_runs(self, keep: int, spared: Path | None) -> None:
        """Make ``runs/`` and delete in it the files of all but the newest ``keep - 1`` runs, so
        that with the run that begins there are ``keep``. ``spared`` is the file that this run
        reads. What is no run's file is left alone. Raises OSError.
        """
        self.make_runs()
        files: dict[str, list[Path]] = {}
        for file in self.runs.iterdir():
            found = _RUN_FILE.match(file.name)
            if found and file.is_file():
                files.setdefault(found[1], []).append(file)
        # A sweep and a rollback leave files, too: they are no runs, and go with those around them.
        runs = sorted(
            run_id
            for run_id, found_files in files.items()
            if not any(file.name.endswith(_NO_RUN) for file in found_files)
        )
        if len(runs) < keep:
            return
        oldest_kept = runs[1 - keep] if keep > 1 else _AFTER_ALL
        for run_id, found_files in files.items():
            for file in found_files:
                if run_id < oldest_kept and (spared is None or not file.samefile(spared)):
                    file.unlink(missing_ok=True)

    def _latest_full(self) -> str | None:
        try:
            return (self.runs / _LATEST_FULL).read_text().strip() or None
        except OSError:
            return None
