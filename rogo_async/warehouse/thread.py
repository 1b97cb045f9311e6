"""A thread for calls that may never return."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThread(Executor):
    """An executor of one thread. A call that hangs in it keeps no process from ending, as one in
    a ThreadPoolExecutor does.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let the thread call ``fn`` when it comes to it."""
        future: Future[T] = Future()
        self._work.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the interface's
        """End the thread after the calls that it has been given."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            _perform(*item)
            # What the call returned must not live on in this frame.
            del item


def _perform(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future
        future.set_exception(error)
        # The error's traceback knows this frame: without these two it keeps nothing alive.
        del future, call
    else:
        future.set_result(result)
