"""The circuit breaker: when callers wait, when they continue, and when the run ends."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import (
    Dependency,
    RefusalStreak,
    RowError,
    RunStopped,
    SourceForbidden,
    SystemicError,
    TransientError,
)
from rogo_async.common.errors import FailureCode as Code
from rogo_async.common.retry import CircuitBreaker, RetryPolicy, with_retry
from rogo_async.common.shutdown import StopReason, StopSignal

QUICK = RetryPolicy(
    wait_initial_s=0.001,
    wait_max_s=0.002,
    max_tries=3,
    slow_s=0.5,
    deadline_s=0.05,
    probe_wait_initial_s=0.005,
)
DEADLINE_S = 5.0
T = TypeVar("T")


class Server:
    """A dependency that answers by a script, and successfully without one."""

    def __init__(self, *faults: Exception | None) -> None:
        self.script = iter(faults)
        self.calls = 0
        self.probes = 0
        self.up = True

    async def work(self) -> str:
        self.calls += 1
        fault = next(self.script, None)
        if fault is not None:
            raise fault
        return "served"

    async def probe(self) -> None:
        self.probes += 1
        if not self.up:
            raise transient()


def transient(retry_after_s: float = 0.0) -> TransientError:
    return TransientError(Dependency.STORE, "put", "status 503", retry_after_s)


def systemic() -> SystemicError:
    return SystemicError(Dependency.STORE, "put", "status 403")


@pytest.fixture
def stop_signal() -> StopSignal:
    return StopSignal()


@pytest.fixture
def call_stats() -> CallStats:
    return CallStats()


def breaker(
    server: Server, stop_signal: StopSignal, call_stats: CallStats, limit_s: float = 30.0
) -> CircuitBreaker:
    return CircuitBreaker(Dependency.STORE, server.probe, stop_signal, call_stats, limit_s, QUICK)


async def bounded(work: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(DEADLINE_S):
        return await work


async def test_a_transient_error_is_retried(stop_signal: StopSignal, call_stats: CallStats) -> None:
    server = Server(transient(), transient())
    assert await bounded(breaker(server, stop_signal, call_stats).call("put", server.work))
    assert (server.calls, server.probes) == (3, 0)
    assert call_stats.retries["store.put"] == 2
    assert call_stats.outages == []
    assert call_stats.latency["store.put"].count == 1


async def test_a_retry_waits_as_long_as_the_server_asks(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server(transient(retry_after_s=0.2))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await bounded(breaker(server, stop_signal, call_stats).call("put", server.work))
    assert loop.time() - began >= 0.2


async def test_a_permanent_error_is_not_retried(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server(RowError(Code.SOURCE_FILE_MISSING, "404"))
    with pytest.raises(RowError):
        await bounded(breaker(server, stop_signal, call_stats).call("get", server.work))
    assert server.calls == 1


@pytest.mark.parametrize("faults", [[transient()] * 3, [systemic()]], ids=["tries", "systemic"])
async def test_the_breaker_opens_for_all_callers_and_closes_after_a_probe(
    stop_signal: StopSignal, call_stats: CallStats, faults: list[Exception]
) -> None:
    server, other = Server(*faults), Server()
    server.up = False
    shared = breaker(server, stop_signal, call_stats)
    first = asyncio.create_task(shared.call("put", server.work), name="first")
    while not server.probes:
        await asyncio.sleep(0.001)
    second = asyncio.create_task(shared.call("put", other.work), name="second")
    await asyncio.sleep(0.03)
    assert other.calls == 0
    assert not call_stats.outages[0].ended_s
    server.up = True
    assert await bounded(asyncio.wait_for(first, DEADLINE_S)) == "served"
    assert await second == "served"
    assert len(call_stats.outages) == 1
    assert call_stats.outages[0].ended_s is not None
    await shared.aclose()


async def test_an_outage_lasts_until_a_call_succeeds(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server(*[systemic()] * 5)
    shared = breaker(server, stop_signal, call_stats)
    await bounded(shared.call("put", server.work))
    assert server.probes >= 5
    assert len(call_stats.outages) == 1
    await shared.aclose()


async def test_an_outage_beyond_the_limit_stops_the_run_and_all_waits(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server(*[transient()] * 100)
    server.up = False
    shared = breaker(server, stop_signal, call_stats, limit_s=0.1)
    waiting = [shared.call("put", server.work) for _ in range(3)]
    ended = await bounded(asyncio.wait_for(_gathered(waiting), DEADLINE_S))
    assert [type(each) for each in ended] == [RunStopped] * 3
    assert "store was unreachable for 0.1 s: status 503" in stop_signal.reasons[StopReason.OUTAGE]
    await shared.aclose()


async def test_an_operation_that_fails_alone_opens_no_breaker_and_is_given_up(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    poison, healthy = Server(*[transient()] * 1000), Server()
    shared = breaker(poison, stop_signal, call_stats)

    async def others() -> None:
        while True:
            await shared.call("put", healthy.work)
            await asyncio.sleep(0)

    busy = asyncio.create_task(others(), name="others")
    with pytest.raises(TransientError):
        await bounded(shared.call("put", poison.work))
    busy.cancel()
    await asyncio.wait({busy})
    assert call_stats.outages == []
    assert not stop_signal.stopping


async def test_one_slow_failure_opens_the_breaker(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server()

    async def slow() -> str:
        if not server.probes:
            await asyncio.sleep(QUICK.slow_s)
            raise transient()
        return "served"

    shared = breaker(server, stop_signal, call_stats)
    assert await bounded(shared.call("put", slow)) == "served"
    (outage,) = call_stats.outages
    assert outage.ended_s is not None
    assert outage.ended_s - outage.began_s >= QUICK.slow_s
    await shared.aclose()


async def test_an_outage_begins_with_its_first_failed_call(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    begins: list[tuple[float, datetime]] = []

    async def work() -> None:
        begins.append((asyncio.get_running_loop().time(), datetime.now(UTC)))
        await asyncio.sleep(0.05)
        if len(begins) <= QUICK.max_tries:
            raise transient()

    before_s, before = asyncio.get_running_loop().time(), datetime.now(UTC)
    shared = breaker(Server(), stop_signal, call_stats)
    await bounded(shared.call("put", work))
    (outage,) = call_stats.outages
    first_s, first = begins[0]
    assert before_s <= outage.began_s <= first_s
    # Two clocks are compared.
    slack = timedelta(milliseconds=10)
    assert before - slack <= outage.began_at <= first + slack
    await shared.aclose()


async def test_an_outage_includes_no_time_in_which_calls_succeeded(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    begun, succeeded = asyncio.Event(), asyncio.Event()
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        begun.set()
        await succeeded.wait()
        if tries < 3:
            raise systemic()

    policy = replace(QUICK, deadline_s=60.0)
    shared = CircuitBreaker(Dependency.STORE, Server().probe, stop_signal, call_stats, 30.0, policy)
    failing = asyncio.create_task(shared.call("put", work), name="failing")
    await begun.wait()
    await asyncio.sleep(0.05)
    before_s = asyncio.get_running_loop().time()
    await bounded(shared.call("put", Server().work))
    succeeded.set()
    await asyncio.wait_for(failing, DEADLINE_S)
    (outage,) = call_stats.outages
    assert outage.began_s >= before_s
    await shared.aclose()


async def test_an_outage_includes_no_time_in_which_a_source_refused_access(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    async def forbidden() -> None:
        raise SourceForbidden("https://source.example", "status 403", RefusalStreak())

    shared = CircuitBreaker(
        Dependency.SOURCE,
        Server().probe,
        stop_signal,
        call_stats,
        30.0,
        replace(QUICK, wait_initial_s=60.0, wait_max_s=60.0),
    )
    failing = Server(transient())
    waiting = asyncio.create_task(shared.call("get", failing.work), name="waiting")
    while not failing.calls:
        await asyncio.sleep(0)
    with pytest.raises(SourceForbidden):
        await bounded(shared.call("get", forbidden))
    answered_s = asyncio.get_running_loop().time()
    await bounded(shared.call("get", Server(systemic()).work))
    (outage,) = call_stats.outages
    assert outage.began_s >= answered_s
    waiting.cancel()
    await shared.aclose()


async def test_stopping_the_run_ends_the_wait_for_an_open_breaker(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server(systemic())
    server.up = False
    shared = breaker(server, stop_signal, call_stats)
    waiting = asyncio.create_task(shared.call("put", server.work), name="waiting")
    while not server.probes:
        await asyncio.sleep(0.001)
    stop_signal.stop(StopReason.SIGTERM, "told to")
    with pytest.raises(RunStopped):
        await asyncio.wait_for(waiting, DEADLINE_S)
    await shared.aclose()


async def test_at_startup_transient_errors_are_retried(stop_signal: StopSignal) -> None:
    server = Server(transient(), transient())
    assert await bounded(with_retry(server.work, stop_signal, 5.0, QUICK)) == "served"
    assert server.calls == 3


async def test_at_startup_retries_end_at_the_limit(stop_signal: StopSignal) -> None:
    server = Server(*[transient()] * 10_000)
    with pytest.raises(TransientError):
        await bounded(with_retry(server.work, stop_signal, 0.05, QUICK))


async def test_at_startup_a_systemic_error_is_not_retried(stop_signal: StopSignal) -> None:
    server = Server(systemic())
    with pytest.raises(SystemicError):
        await bounded(with_retry(server.work, stop_signal, 5.0, QUICK))
    assert server.calls == 1


async def _gathered(work: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    return await asyncio.gather(*work, return_exceptions=True)


async def test_a_run_that_ends_within_a_call_does_not_end_the_outage(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    async def ends() -> None:
        raise RunStopped

    server = Server()
    one = breaker(server, stop_signal, call_stats)
    one.trip(transient())
    with pytest.raises(RunStopped):
        await bounded(one.call("put", ends))
    await one.aclose()
    (outage,) = call_stats.outages
    assert outage.ended_s is None


async def test_callers_resume_with_jitter_after_an_outage(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    passed: list[float] = []

    async def work() -> None:
        passed.append(asyncio.get_running_loop().time())

    server = Server()
    policy = replace(QUICK, jitter_s=0.5)
    one = CircuitBreaker(Dependency.STORE, server.probe, stop_signal, call_stats, 30.0, policy)
    one.trip(transient())
    await bounded(_all(one, work))
    await one.aclose()
    assert len(passed) == 50
    assert max(passed) - min(passed) > 0.1


async def _all(one: CircuitBreaker, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*(one.call("put", work) for _ in range(50)))


async def test_the_last_failed_probe_explains_an_outage(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server(*[systemic()] * 100)
    server.up = False
    with pytest.raises(RunStopped):
        await bounded(breaker(server, stop_signal, call_stats, 0.1).call("put", server.work))
    assert stop_signal.reasons[StopReason.OUTAGE].endswith("for 0.1 s: status 503")


async def test_a_probe_may_end_the_run(stop_signal: StopSignal, call_stats: CallStats) -> None:
    server = Server(systemic())

    async def probe() -> None:
        stop_signal.stop(StopReason.LOCK_LOST, "another run")
        raise RunStopped

    shared = CircuitBreaker(Dependency.TARGET, probe, stop_signal, call_stats, 30.0, QUICK)
    with pytest.raises(RunStopped):
        await bounded(shared.call("insert", server.work))
    assert list(stop_signal.reasons) == [StopReason.LOCK_LOST]
    await shared.aclose()


async def test_a_caller_waits_for_the_end_of_an_outage(
    stop_signal: StopSignal, call_stats: CallStats
) -> None:
    server = Server()
    server.up = False
    shared = breaker(server, stop_signal, call_stats)
    await bounded(shared.wait_until_closed())
    shared.trip(transient())
    waiting = asyncio.create_task(bounded(shared.wait_until_closed()), name="waiting")
    while server.probes < 2:
        await asyncio.sleep(0.001)
    assert not waiting.done()
    server.up = True
    await waiting
