"""The thread for calls that may never return."""

import gc
import threading
import weakref

import pytest

from rogo_async.sources.warehouse.pool import DaemonThread

LONG_ENOUGH_S = 5


class Something:
    pass


def test_one_daemon_thread_makes_all_calls_in_order() -> None:
    thread = DaemonThread("turn")
    made = [thread.submit(lambda n: (n, threading.current_thread()), n) for n in range(3)]
    results = [each.result(LONG_ENOUGH_S) for each in made]
    assert [number for number, _ in results] == [0, 1, 2]
    (worker,) = {worker for _, worker in results}
    assert worker.daemon
    thread.shutdown()
    worker.join(LONG_ENOUGH_S)
    assert not worker.is_alive()


def test_error_is_passed_on() -> None:
    thread = DaemonThread("error")
    failing = thread.submit(int, "x")
    with pytest.raises(ValueError, match="invalid literal"):
        failing.result(LONG_ENOUGH_S)
    assert thread.submit(int, "7").result(LONG_ENOUGH_S) == 7
    thread.shutdown()


def test_cancelled_call_is_not_made() -> None:
    thread = DaemonThread("cancelled")
    go = threading.Event()
    thread.submit(go.wait)
    made: list[int] = []
    waiting = thread.submit(made.append, 1)
    assert waiting.cancel()
    go.set()
    thread.submit(int).result(LONG_ENOUGH_S)
    assert made == []
    thread.shutdown()


def test_call_that_failed_keeps_nothing_alive() -> None:
    thread = DaemonThread("forgets")
    gc.disable()
    try:
        something = Something()
        gone = weakref.ref(something)
        failing = thread.submit(int, something)  # type: ignore[arg-type]
        del something
        assert isinstance(failing.exception(LONG_ENOUGH_S), TypeError)
        del failing
        thread.submit(int).result(LONG_ENOUGH_S)
        assert gone() is None
    finally:
        gc.enable()
        thread.shutdown()
