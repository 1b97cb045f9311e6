"""The child processes of a Dask worker, one for each shard under way (specification §7)."""

import contextlib
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def signals_blocked() -> Iterator[None]:
    """Let a process that starts in this block receive signals only when it is ready for them.

    It inherits the mask of this thread.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Children:
    """The shards that run in this process, and the runs that are stopping."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[subprocess.Popen[bytes], str] = {}
        self._stopping: dict[str, signal.Signals | None] = {}

    def is_stopping(self, run_id: str) -> bool:
        return run_id in self._stopping

    def stop(self, run_id: str, number: signal.Signals | None) -> None:
        """Begin no more shards of a run; send the signal to those under way, once."""
        with self._lock:
            is_new = number is not None and self._stopping.get(run_id) is None
            self._stopping[run_id] = number or self._stopping.get(run_id)
            if is_new:
                self._signal([each for each, run in self._running.items() if run == run_id], number)

    def end_all(self, number: signal.Signals) -> list["subprocess.Popen[bytes]"]:
        """Send a signal to all; return them."""
        with self._lock:
            self._signal(list(self._running), number)
            return list(self._running)

    @contextlib.contextmanager
    def started(self, run_id: str, command: Sequence[str], environment: Mapping[str, str]) -> Any:
        """Start a child for the block, at the end of which it has ended."""
        with self._lock:
            if run_id in self._stopping:
                yield None
                return
            with signals_blocked():  # a worker may ignore them, and so would its child
                child = subprocess.Popen(  # noqa: S603 - this program itself
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C reaches it through the operator's command
                )
            self._running[child] = run_id
        try:
            yield child
        finally:
            with self._lock:
                del self._running[child]
            child.kill()
            child.wait()
            if child.stderr is not None:
                child.stderr.close()

    @staticmethod
    def _signal(
        children: Sequence["subprocess.Popen[bytes]"], number: signal.Signals | None
    ) -> None:
        for child in children:
            if number is not None:
                child.send_signal(number)


CHILDREN: Final = Children()
