"""SIGINT and SIGTERM while a run lasts (SPEC §5, exit codes 130 and 143)."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator

import structlog

from rogo_async.control import Control, ExitCode, StopReason

log = structlog.get_logger()


@contextlib.contextmanager
def drained_by_signals(control: Control) -> Iterator[None]:
    """The first SIGINT or SIGTERM drains the run, the second ends the process at once."""
    loop = asyncio.get_running_loop()
    codes = {
        signal.SIGINT: (StopReason.SIGINT, ExitCode.INTERRUPTED),
        signal.SIGTERM: (StopReason.SIGTERM, ExitCode.TERMINATED),
    }

    def received(number: signal.Signals) -> None:
        reason, code = codes[number]
        if control.stopping and {StopReason.SIGINT, StopReason.SIGTERM} & control.reasons.keys():
            os._exit(code)
        log.warning("draining; a second signal ends at once", signal=number.name)
        control.stop(reason, f"{number.name} received")

    for number in codes:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in codes:
            loop.remove_signal_handler(number)
