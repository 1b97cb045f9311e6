"""runs/starts.jsonl: every start of ``run``, and how it ended (specification §2).

A start that was refused, killed, or is under way has no summary; this file knows of it.
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from rogo_async.common.data_dir import RUN_ID
from rogo_async.common.errors import LockHeld, SetupError
from rogo_async.common.files import append_durably, make_private_directory, write_private
from rogo_async.common.shutdown import ExitCode
from rogo_async.common.text import encodable

STARTS: Final = "starts.jsonl"
_MAX_BYTES: Final = 1_000_000
_KEPT_LINES: Final = 1_000


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    run_id: str = Field(pattern=f"^{RUN_ID}$")
    at: datetime
    host: str = ""
    pid: int = 0
    process_began: str = ""
    exit_code: int | None = None
    message: str = ""


class Start(BaseModel):
    """One start of ``run``. ``exit_code`` is None if its end was not recorded."""

    run_id: str
    started_at: datetime
    ended_at: datetime | None = None
    exit_code: int | None = None
    message: str = ""
    in_progress: bool = False
    """Whether its process exists. False for a process of another machine or container."""


class Starts:
    """Appends to the file. No error of the disk reaches the caller: the run reports it itself."""

    def __init__(self, runs: Path) -> None:
        self._file = runs / STARTS

    def began(self, run_id: str) -> None:
        """Record that this process starts a run."""
        line = _Line(
            run_id=run_id,
            at=datetime.now(UTC),
            host=socket.gethostname(),
            pid=os.getpid(),
            process_began=_process_began(os.getpid()),
        )
        self._append(line, {"run_id", "at", "host", "pid", "process_began"})

    def ended(self, run_id: str, exit_code: int, lines: Sequence[str]) -> None:
        """Record the exit code and the lines that the run printed."""
        line = _Line(
            run_id=run_id,
            at=datetime.now(UTC),
            exit_code=exit_code,
            message=encodable("; ".join(lines)),
        )
        self._append(line, {"run_id", "at", "exit_code", "message"})

    def failed(self, run_id: str, error: Exception) -> None:
        """Record a start that ended with an exception in place of a result."""
        match error:
            case SetupError():
                self.ended(run_id, ExitCode.SETUP, error.problems)
            case LockHeld():
                self.ended(run_id, ExitCode.LOCKED, [str(error)])
            case _:
                self.ended(run_id, ExitCode.INTERNAL, ["internal error, see the log"])

    def shorten(self) -> None:
        """Delete old lines of a large file."""
        with contextlib.suppress(OSError), self._locked():
            if self._file.stat().st_size > _MAX_BYTES:
                lines = self._file.read_bytes().splitlines(keepends=True)
                write_private(self._file, b"".join(lines[-_KEPT_LINES:]))

    def _append(self, line: _Line, fields: set[str]) -> None:
        # The line break at the beginning ends half a line that a power loss has left.
        data = b"\n" + line.model_dump_json(include=fields).encode() + b"\n"
        with contextlib.suppress(OSError):
            make_private_directory(self._file.parent)
            with self._locked():
                append_durably(self._file, data)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process append or shorten in the block, with a lock of the directory.

        Otherwise a line that a refused run appends, while this run replaces the file, is lost.
        """
        descriptor = os.open(self._file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # a file system that cannot lock directories
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def read_starts(runs: Path) -> list[Start]:
    """The recorded starts, newest first; lines that cannot be read are left out. Raises OSError."""
    try:
        content = (runs / STARTS).read_bytes()
    except FileNotFoundError:
        return []
    found: dict[str, Start] = {}
    for raw in content.splitlines():
        try:
            line = _Line.model_validate_json(raw)
        except ValueError:  # empty, or half a line after a power loss
            continue
        start = found.setdefault(line.run_id, Start(run_id=line.run_id, started_at=line.at))
        if line.exit_code is None:
            start.in_progress = _is_running(line)
        else:
            start.ended_at, start.in_progress = line.at, False
            start.exit_code, start.message = line.exit_code, line.message
    return sorted(found.values(), key=lambda start: start.run_id, reverse=True)


def _is_running(line: _Line) -> bool:
    return (
        line.host == socket.gethostname()
        and bool(line.process_began)
        and line.process_began == _process_began(line.pid)
    )


def _process_began(pid: int) -> str:
    """Boot of the machine and clock ticks until the process began; empty if there is none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot} {fields[19]}"
