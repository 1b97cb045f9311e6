"""Stopping a run: the stop signal, exit codes, signal handlers (specification §5)."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator
from enum import IntEnum, StrEnum
from typing import Final

import structlog

from rogo_async.common.errors import RunStopped

log = structlog.get_logger()


class ExitCode(IntEnum):
    """Exit codes of the process. docs/operations.md says what to do for each."""

    DONE = 0
    SOME_FAILED = 1
    SETUP = 2
    STOPPED_EARLY = 3
    LOCKED = 4
    WINDOW_ENDED = 5
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


class StopReason(StrEnum):
    """Why a run stops taking new work."""

    OUTAGE = "outage"
    DISK = "disk"
    LOCK_LOST = "lock_lost"
    INPUT_CHANGED = "input_changed"
    WINDOW = "window"
    SIGINT = "sigint"
    SIGTERM = "sigterm"
    FAULT = "fault"


_EXIT: Final = {
    StopReason.FAULT: ExitCode.INTERNAL,
    StopReason.SIGINT: ExitCode.INTERRUPTED,
    StopReason.SIGTERM: ExitCode.TERMINATED,
    StopReason.OUTAGE: ExitCode.STOPPED_EARLY,
    StopReason.DISK: ExitCode.STOPPED_EARLY,
    StopReason.LOCK_LOST: ExitCode.STOPPED_EARLY,
    StopReason.INPUT_CHANGED: ExitCode.STOPPED_EARLY,
    StopReason.WINDOW: ExitCode.WINDOW_ENDED,
}
_PRECEDENCE: Final = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.STOPPED_EARLY,
    ExitCode.WINDOW_ENDED,
    ExitCode.SOME_FAILED,
)
_INTERRUPTED: Final = {
    StopReason.SIGINT: "interrupted (Ctrl-C); run again to continue",
    StopReason.SIGTERM: "terminated (SIGTERM); run again to continue",
}


class StopSignal:
    """Signals every part of a run to stop, and stores the reasons."""

    def __init__(self) -> None:
        self.reasons: dict[StopReason, str] = {}
        self.unresolved = 0
        """Rows whose outcome is unknown although their servers are up."""
        self._faulty = False
        self._stopping = asyncio.Event()

    @property
    def stopping(self) -> bool:
        """Whether the run takes no new work."""
        return self._stopping.is_set()

    def stop(self, reason: StopReason, detail: str) -> None:
        """Stop the run: take no new work, end all waits. Of several details the first is kept."""
        self.reasons.setdefault(reason, detail)
        self._stopping.set()

    def record_internal_error(self) -> None:
        """Record an internal error in one row; the run continues with the other rows."""
        self._faulty = True

    def raise_if_stopping(self) -> None:
        """Raise RunStopped when the run is stopping."""
        if self.stopping:
            raise RunStopped

    async def wait(self) -> None:
        """Wait until the run is stopped. The caller bounds the wait."""
        await self._stopping.wait()

    async def sleep(self, seconds: float) -> None:
        """Wait. Raises RunStopped at once when the run is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
        raise RunStopped

    def exit_code(self, failed: int) -> ExitCode:
        """The exit code; of several that apply, the first of 70, 130, 143, 3, 5, 1, 0."""
        codes = [_EXIT[reason] for reason in self.reasons]
        if self._faulty:
            codes.append(ExitCode.INTERNAL)
        if self.unresolved:
            codes.append(ExitCode.STOPPED_EARLY)
        if failed:
            codes.append(ExitCode.SOME_FAILED)
        return next((code for code in _PRECEDENCE if code in codes), ExitCode.DONE)


@contextlib.contextmanager
def handle_signals(stop_signal: StopSignal) -> Iterator[None]:
    """Drain the run on the first SIGINT or SIGTERM; end the process at once on the second."""
    loop = asyncio.get_running_loop()
    codes = {
        signal.SIGINT: (StopReason.SIGINT, ExitCode.INTERRUPTED),
        signal.SIGTERM: (StopReason.SIGTERM, ExitCode.TERMINATED),
    }

    def received(number: signal.Signals) -> None:
        reason, code = codes[number]
        if (
            stop_signal.stopping
            and {StopReason.SIGINT, StopReason.SIGTERM} & stop_signal.reasons.keys()
        ):
            os._exit(code)
        log.warning(
            "stopping: finishing the work in progress; a second signal stops immediately",
            signal=number.name,
        )
        stop_signal.stop(reason, _INTERRUPTED[reason])

    for number in codes:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in codes:
            loop.remove_signal_handler(number)
