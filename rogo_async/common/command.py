"""The base of the commands that use servers: signals, lock, errors, summary line."""

import asyncio
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import structlog

from rogo_async.common.data_dir import DataDir
from rogo_async.common.errors import (
    DataDirFull,
    Dependency,
    DependencyError,
    InputChanged,
    LockHeld,
    RunStopped,
    SetupError,
    SystemicError,
)
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal, handle_signals

_SETTING_OF: Final = {
    Dependency.TARGET: "DATABASE_URL",
    Dependency.WAREHOUSE: "DATA_WAREHOUSE_CONNECTION_STRING",
    Dependency.STORE: "AZURE_STORAGE_…",
    Dependency.SOURCE: "ROGO_SOURCE_HOSTS",
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The exit code of a command, and its summary line."""

    exit_code: ExitCode
    summary_line: str


class Command(ABC):
    """A command that always reports a result, also after a signal, an outage or a full disk.

    With ``lock_name`` (``run x``) it holds the lock of the data directory under this name.
    """

    def __init__(self, settings: Settings, lock_name: str | None = None) -> None:
        self.settings = settings
        self.data = DataDir(settings.rogo_data_dir)
        self.stop_signal = StopSignal()
        self._lock_name = lock_name

    async def execute(self) -> CommandResult:
        """Run the command; call this once.

        Raises SetupError and LockHeld; in that case the command has changed nothing.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(handle_signals(self.stop_signal))
            if self._lock_name is not None:
                self.data.lock(self._lock_name)
                stack.callback(self.data.unlock)
            asyncio.get_running_loop().set_exception_handler(_log_unhandled)
            await self._work_guarded(stack)
            return await asyncio.to_thread(self.result)

    @abstractmethod
    async def work(self, stack: AsyncExitStack) -> None:
        """Do the work. ``stack`` closes its resources after ``result``."""

    @abstractmethod
    def result(self) -> CommandResult:
        """Report the result while the lock is still held. May write files."""

    def result_of(self, failed: int, counts: str, *notes: str) -> CommandResult:
        """The result with its exit code, its notes and the reasons for an early stop."""
        code = self.stop_signal.exit_code(failed)
        stopped = [f"stopped: {detail}" for detail in self.stop_signal.reasons.values()]
        return CommandResult(code, "; ".join([counts, f"exit {int(code)}", *notes, *stopped]))

    async def _work_guarded(self, stack: AsyncExitStack) -> None:
        """Do the work; an error becomes a reason to stop."""
        stop = self.stop_signal.stop
        try:
            await self.work(stack)
        except (SetupError, LockHeld):
            raise
        except RunStopped:
            log.warning("stopped before the work was done")
        except InputChanged as changed:
            stop(StopReason.INPUT_CHANGED, str(changed))
        except DataDirFull as full:
            stop(StopReason.DISK, str(full))
        except DependencyError as error:
            stop(StopReason.OUTAGE, _outage(error, self.settings.rogo_outage_limit))
        except OSError as error:
            if isinstance(error, TimeoutError):  # not an error of a file
                self._internal_error(error)
            else:
                stop(StopReason.DISK, f"{self.data.path}: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - the result is always reported
            self._internal_error(error)

    def _internal_error(self, error: Exception) -> None:
        log.critical("internal error", **error_facts(error))
        self.stop_signal.stop(StopReason.FAULT, "see the traceback in the log")


def _outage(error: DependencyError, limit_s: float) -> str:
    if isinstance(error, SystemicError):
        return f"{error.dependency.value}: {error.reason}"
    return (
        f"{error.dependency.value} unreachable for {limit_s:g} s: {error.reason}. "
        f"Check that it is running and that {_SETTING_OF[error.dependency]} points to it"
    )


def _log_unhandled(_loop: object, context: dict[str, Any]) -> None:
    """Log an exception that no task handles, such as one in a task of a library."""
    error = context.get("exception")
    facts = error_facts(error) if isinstance(error, BaseException) else {}
    log.error("unhandled exception in a background task", stage=context.get("message"), **facts)
