"""``status --watch``: shows the run under way in a data directory until it ends."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import DataDir
from rogo_async.common.shutdown import exit_code_of_signal, received_signals
from rogo_async.common.streams import can_move_cursor
from rogo_async.reporting.progress import MIGRATION_NAMES
from rogo_async.reporting.run_history import (
    ending_line,
    live_line,
    live_of,
    time_left,
    waiting_for,
)
from rogo_async.reporting.starts import Start, read_starts

_REFRESH_PER_S: Final = 4
Show = Callable[[Start, dict[str, Any] | None], object]


async def watch_run(
    data_dir: Path, interval_s: float, output: TextIO, say: Callable[[str], object]
) -> CommandResult | None:
    """Show the run under way every ``interval_s`` until it ends, then how it ended.

    Reads the files of the data directory only. Returns the result of the command if a signal
    ended the watch; the run goes on.
    """
    watched = _under_way(_starts(data_dir))
    if watched is None:
        say(f"nothing to watch: no run of this machine is in progress in {data_dir}")
        return None
    received: list[signal.Signals] = []
    stopped = asyncio.Event()

    def stop(number: signal.Signals) -> None:
        received.append(number)
        stopped.set()

    with received_signals(stop), _shown(output, say) as show:
        while watched.in_progress and not stopped.is_set():
            starts = _starts(data_dir)
            watched = next((s for s in starts if s.run_id == watched.run_id), watched)
            show(watched, live_of(data_dir, starts))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s if watched.in_progress else 0):
                    await stopped.wait()
    if received:
        code = exit_code_of_signal(received[0])
        return CommandResult(code, f"stopped watching, the run goes on; exit {int(code)}")
    say(f"the run has ended:\n{ending_line(data_dir, watched)}")
    return None


def _starts(data_dir: Path) -> list[Start]:
    with contextlib.suppress(OSError):
        return read_starts(DataDir(data_dir).runs)
    return []


def _under_way(starts: list[Start]) -> Start | None:
    """The run in progress: the oldest one, since a later one is about to be refused."""
    running = (start for start in starts if start.in_progress)
    return min(running, key=lambda start: start.run_id, default=None)


@contextlib.contextmanager
def _shown(output: TextIO, say: Callable[[str], object]) -> Iterator[Show]:
    """Show lines in place on a terminal, otherwise a line for each change."""
    if not can_move_cursor(output):
        yield _LineForEachChange(say).show
        return
    console = Console(file=output)
    with Live(console=console, refresh_per_second=_REFRESH_PER_S, transient=True) as live:

        def show(start: Start, counts: dict[str, Any] | None) -> None:
            lines = _lines(start, counts)
            live.update(Group(*(Text(x, no_wrap=True, overflow="ellipsis") for x in lines)))

        yield show


class _LineForEachChange:
    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._last = ""

    def show(self, start: Start, counts: dict[str, Any] | None) -> None:
        line = _without_counts(start) if counts is None else live_line(counts)
        if start.in_progress and line != self._last:
            self._last = line
            self._say(line)


def _without_counts(start: Start) -> str:
    return f"run {start.run_id}: in progress, it has no counts now"


def _lines(start: Start, counts: dict[str, Any] | None) -> list[str]:
    """The lines on a terminal."""
    age = timedelta(seconds=round((datetime.now(UTC) - start.started_at).total_seconds()))
    if counts is None:
        return [f"{_without_counts(start)}, running for {age}"]
    done, total = counts["done"], counts["total"]
    share = 100 * done / total if total else 100.0
    by_outcome = [f"{name} {counts[name]:,}" for name in MIGRATION_NAMES.values()]
    return [
        f"run {start.run_id}, running for {age}{time_left(counts)}",
        f"{share:.1f} %  {done:,} of {total:,} rows  {counts['rate_per_s']:,.1f}/s",
        "  ".join(by_outcome),
        *waiting_for(counts),
    ]
