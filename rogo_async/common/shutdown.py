"""Stopping a run: the stop signal, exit codes, signal handlers (specification §5)."""

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from enum import IntEnum, StrEnum
from typing import Final, NoReturn

import structlog

from rogo_async.common.errors import RunStopped
from rogo_async.common.streams import print_lines, show_cursor

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
    HUNG_UP = 129
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
    SIGHUP = "sighup"
    FAULT = "fault"


_EXIT: Final = {
    StopReason.FAULT: ExitCode.INTERNAL,
    StopReason.SIGINT: ExitCode.INTERRUPTED,
    StopReason.SIGTERM: ExitCode.TERMINATED,
    StopReason.SIGHUP: ExitCode.HUNG_UP,
    StopReason.OUTAGE: ExitCode.STOPPED_EARLY,
    StopReason.DISK: ExitCode.STOPPED_EARLY,
    StopReason.LOCK_LOST: ExitCode.STOPPED_EARLY,
    StopReason.INPUT_CHANGED: ExitCode.STOPPED_EARLY,
    StopReason.WINDOW: ExitCode.WINDOW_ENDED,
}
_SIGNALS: Final = {
    signal.SIGINT: StopReason.SIGINT,
    signal.SIGTERM: StopReason.SIGTERM,
    signal.SIGHUP: StopReason.SIGHUP,
}
_PRECEDENCE: Final = (
    ExitCode.INTERNAL,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.HUNG_UP,
    ExitCode.STOPPED_EARLY,
    ExitCode.WINDOW_ENDED,
    ExitCode.SOME_FAILED,
)
_ABORT_RECORD_S: Final = 1.0
_INTERRUPTED: Final = {
    StopReason.SIGINT: "interrupted (Ctrl-C); run again to continue",
    StopReason.SIGTERM: "terminated (SIGTERM); run again to continue",
    StopReason.SIGHUP: "terminal closed (SIGHUP); run again to continue",
}


class StopSignal:
    """Signals every part of a run to stop, and stores the reasons."""

    def __init__(self) -> None:
        self.reasons: dict[StopReason, str] = {}
        self.on_abort: Callable[[ExitCode, str], object] | None = None
        """Receives exit code and text before a second signal ends the process."""
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
        """The exit code; of several that apply, the first of 70, 130, 143, 129, 3, 5, 1, 0."""
        codes = [_EXIT[reason] for reason in self.reasons]
        if self._faulty:
            codes.append(ExitCode.INTERNAL)
        if self.unresolved:
            codes.append(ExitCode.STOPPED_EARLY)
        if failed:
            codes.append(ExitCode.SOME_FAILED)
        return most_serious(codes)


def most_serious(codes: Collection[ExitCode]) -> ExitCode:
    """Of several codes, the first of 70, 130, 143, 129, 3, 5, 1, 0."""
    return next((code for code in _PRECEDENCE if code in codes), ExitCode.DONE)


def _abort(stop_signal: StopSignal, code: ExitCode, cause: str) -> NoReturn:
    text = f"{cause}; exit {int(code)}; run again to continue, nothing is lost"
    show_cursor()
    print_lines([f"rogo_async: {text}"], to_both=True)
    if stop_signal.on_abort is not None:
        # The disk may hang.
        record = threading.Thread(target=stop_signal.on_abort, args=(code, text), daemon=True)
        record.start()
        record.join(_ABORT_RECORD_S)
    os._exit(code)


@contextlib.contextmanager
def received_signals(on_signal: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Call ``on_signal`` for each SIGINT, SIGTERM or SIGHUP during the block.

    A SIGHUP that is ignored at start, as under nohup, stays ignored.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _numbers()}
    for number in before:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _numbers() -> list[signal.Signals]:
    return [
        number
        for number in _SIGNALS
        if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


def end_on_signal(code: ExitCode) -> None:
    """From now on, let a signal end the process with this exit code: the work is over."""
    for number in _numbers():
        signal.signal(number, lambda *_: os._exit(code))


def exit_code_of_signal(number: signal.Signals) -> ExitCode:
    """The exit code of a command that a signal ends."""
    return _EXIT[_SIGNALS[number]]


@contextlib.contextmanager
def handle_signals(stop_signal: StopSignal) -> Iterator[None]:
    """Drain the run on the first signal; end the process on the second."""

    def received(number: signal.Signals) -> None:
        reason = _SIGNALS[number]
        if stop_signal.stopping and _INTERRUPTED.keys() & stop_signal.reasons.keys():
            code = exit_code_of_signal(number)
            _abort(stop_signal, code, f"stopped at once by a second signal ({number.name})")
        log.warning(
            "stopping: finishing the work in progress; a second signal stops immediately",
            signal=number.name,
        )
        stop_signal.stop(reason, _INTERRUPTED[reason])

    with received_signals(received):
        yield
