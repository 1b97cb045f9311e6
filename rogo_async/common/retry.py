"""Retries, deadlines and one circuit breaker for each server.

Every call to a server goes through ``CircuitBreaker.call``. A transient or ambiguous error is
retried with backoff and jitter; operations that may be ambiguous are written to be repeatable.
When retries do not help, or the error is systemic, the breaker opens: all callers of this server
wait while one task probes it. When the probe succeeds, the breaker closes and the callers continue.
The outage ends with the first call that succeeds. No row fails because of an outage (invariant 6).
An outage longer than the limit ends the run.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog

from rogo_async.common.call_stats import CallStats, Outage
from rogo_async.common.errors import (
    INCONCLUSIVE,
    AmbiguousError,
    Dependency,
    DependencyError,
    RefusedError,
    RunStopped,
    SourceForbidden,
    SystemicError,
    TransientError,
)
from rogo_async.common.shutdown import StopReason, StopSignal

T = TypeVar("T")
Probe = Callable[[], Coroutine[Any, Any, object]]
"""Tests whether a server is up. Raises a DependencyError or TimeoutError if it is not."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long to retry. All values but ``max_tries`` are in seconds.

    The breaker opens after ``max_tries`` failures in a row, or after one that took ``slow_s``.
    ``deadline_s`` limits the time of one operation, with its waits, while the server answers
    others. After an outage the callers continue within ``jitter_s``, not all at once. The run ends
    when a server has refused a statement itself for ``refused_s``.
    """

    wait_initial_s: float = 0.1
    wait_max_s: float = 5.0
    max_tries: int = 4
    slow_s: float = 5.0
    deadline_s: float = 60.0
    probe_wait_initial_s: float = 0.25
    probe_wait_max_s: float = 2.0
    jitter_s: float = 1.0
    refused_s: float = 30.0

    def backoff_s(self, failures: int) -> float:
        """The wait after this number of failures: exponential, with jitter between 50 and 100 %."""
        return min(self.wait_max_s, self.wait_initial_s * 2.0**failures) * random.uniform(0.5, 1.0)


DEFAULT_POLICY: Final = RetryPolicy()


@dataclass(slots=True)
class _Operation:
    """The tries of one operation so far; times are on the monotonic clock."""

    began: float = 0.0
    last_failure: float = 0.0
    failures: int = 0
    spent_s: float = 0.0

    def begin_try(self) -> None:
        self.began = time.monotonic()
        if not self.failures:
            self.last_failure = self.began

    def elapsed_s(self) -> float:
        return time.monotonic() - self.began

    def record_failure(self) -> float:
        """Count a failed try. Returns how long it took, in seconds."""
        self.failures += 1
        self.last_failure = time.monotonic()
        return self.last_failure - self.began


class CircuitBreaker:
    """Guards one server: closed while it answers, open during an outage.

    Owns the task that probes the server while the breaker is open.
    """

    def __init__(
        self,
        dependency: Dependency,
        probe: Probe,
        stop_signal: StopSignal,
        call_stats: CallStats,
        limit_s: float,
        policy: RetryPolicy = DEFAULT_POLICY,
        host: str = "",
    ) -> None:
        self.dependency = dependency
        self.name = f"{dependency.value} {host}".strip()
        self._probe = probe
        self._stop_signal = stop_signal
        self._call_stats = call_stats
        self._limit_s = limit_s
        self._policy = policy
        self._closed = asyncio.Event()
        self._closed.set()
        self._outage: Outage | None = None
        self._last_success = -math.inf
        self._failing_since: float | None = None
        """When the first failed call since the last success began."""
        self._refused_since: float | None = None
        self._probe_wait_s = policy.probe_wait_initial_s
        self._prober: asyncio.Task[None] | None = None

    async def call(self, operation: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run ``work`` until it succeeds and return its result.

        ``work`` has its own deadline and raises DependencyErrors. An error of one operation does
        not open the breaker while others succeed.

        Raises any other exception of ``work`` unchanged, and RunStopped when the run ends first.
        Raises the last DependencyError when the operation's time is used up while the server
        answers others; in that case the outcome is unknown.
        """
        tries = _Operation()
        while True:
            await self.wait_until_closed()
            tries.begin_try()
            try:
                result = await work()
            except DependencyError as error:
                self._call_stats.retries[f"{self.dependency.value}.{operation}"] += 1
                await self._on_failure(error, tries)
            except INCONCLUSIVE as error:
                if isinstance(error, SourceForbidden) and self._outage is None:
                    self._failing_since = None  # it answered
                raise
            except Exception:
                # A definite answer: the server is up.
                self.record_success()
                raise
            else:
                self._call_stats.observe(self.dependency, operation, tries.elapsed_s())
                self.record_success()
                return result

    def record_success(self) -> None:
        """Record that the server answered a call. Ends the outage, if there is one."""
        self._last_success = time.monotonic()
        self._failing_since = None
        self._refused_since = None
        if self._outage is None:
            return
        outage, self._outage = self._outage, None
        outage.ended_s = time.monotonic()
        self._probe_wait_s = self._policy.probe_wait_initial_s
        log.warning(
            "outage ended",
            dependency=self.name,
            seconds=round(outage.ended_s - outage.began_s, 1),
        )

    def trip(self, error: DependencyError) -> None:
        """Open the breaker until a probe succeeds.

        The outage begins with the first failed call after the last success, or now.
        """
        if self._outage is None:
            now_s = time.monotonic()
            began_s = now_s if self._failing_since is None else self._failing_since
            began_at = datetime.now(UTC) - timedelta(seconds=now_s - began_s)
            self._outage = Outage(self.name, began_at, began_s, error.reason, self._limit_s)
            self._call_stats.outages.append(self._outage)
            log.warning("outage began", dependency=self.name, reason=error.reason)
        if self._closed.is_set():
            self._closed.clear()
            self._prober = asyncio.create_task(
                self._probe_until_up(self._outage), name=f"probe-{self.dependency.value}"
            )

    async def aclose(self) -> None:
        """End the probing task, if there is one."""
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)

    async def wait_until_closed(self) -> None:
        """Return at once while the breaker is closed. Raises RunStopped when the run ends first."""
        if self._closed.is_set():
            return
        stopping = asyncio.create_task(self._stop_signal.wait(), name="breaker-stopping")
        closing = asyncio.create_task(self._closed.wait(), name="breaker-closing")
        try:
            await asyncio.wait({stopping, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            closing.cancel()
        if not self._closed.is_set():
            raise RunStopped
        await self._stop_signal.sleep(random.uniform(0.0, self._policy.jitter_s))

    async def _on_failure(self, error: DependencyError, tries: _Operation) -> None:
        """Wait for the next try, open the breaker, or raise the error when the time is used up.

        This depends on whether the server answered any call since this operation last failed.
        """
        policy = self._policy
        answers_others = self._last_success > tries.last_failure
        if isinstance(error, RefusedError):
            self._stop_if_refused_for_long(error, tries)
        if self._failing_since is None:
            # A call that began before the last success may fail after it.
            self._failing_since = max(tries.began, self._last_success)
        seconds = tries.record_failure()
        if answers_others:
            tries.spent_s += seconds
            if tries.spent_s > policy.deadline_s:
                raise error
        elif (
            isinstance(error, SystemicError)
            or tries.failures >= policy.max_tries
            or seconds >= policy.slow_s
        ):
            self.trip(error)
            return
        wait_s = policy.backoff_s(tries.failures - 1)
        if isinstance(error, TransientError):
            wait_s = max(wait_s, min(error.retry_after_s, self._limit_s))
        tries.spent_s += wait_s
        await self._stop_signal.sleep(wait_s)

    def _stop_if_refused_for_long(self, error: RefusedError, tries: _Operation) -> None:
        """End the run if no call has succeeded since the first refusal, ``refused_s`` ago.

        A probe cannot end this: the server is up.
        """
        if self._refused_since is None:
            self._refused_since = tries.began
        limit_s = min(self._policy.refused_s, self._limit_s)
        if time.monotonic() - self._refused_since >= limit_s:
            self._stop_signal.stop(StopReason.OUTAGE, f"{self.name}: {error.reason}")
            raise RunStopped

    async def _probe_until_up(self, outage: Outage) -> None:
        reason = outage.reason
        while self._outage is outage:
            left_s = outage.began_s + self._limit_s - time.monotonic()
            if left_s <= 0:
                self._stop_signal.stop(
                    StopReason.OUTAGE,
                    f"{self.name} was unreachable for {self._limit_s:g} s: {reason}",
                )
                return
            await asyncio.sleep(min(left_s, self._probe_wait_s))
            self._probe_wait_s = min(self._policy.probe_wait_max_s, self._probe_wait_s * 2)
            try:
                async with asyncio.timeout(max(0.1, left_s)):
                    await self._probe()
            except DependencyError as error:
                reason = error.reason
            except TimeoutError:
                continue
            except RunStopped:  # the probe has ended the run
                return
            except Exception as error:  # noqa: BLE001 - the waiting callers must get the error
                log.critical("internal error", stage="probe", error=type(error).__name__)
                self._stop_signal.stop(StopReason.FAULT, f"probing the {self.name} failed")
                return
            else:
                break
        self._closed.set()


async def with_retry(
    work: Callable[[], Coroutine[Any, Any, T]],
    stop_signal: StopSignal,
    limit_s: float,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> T:
    """Run ``work`` at start-up, retrying transient errors for ``limit_s`` seconds.

    ``work`` has its own deadline. Raises the last TransientError or AmbiguousError after
    ``limit_s``, RunStopped when the run is stopped, and any other exception of ``work`` at once.
    """
    give_up = time.monotonic() + limit_s
    failures = 0
    while True:
        try:
            return await work()
        except (TransientError, AmbiguousError) as error:
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                raise
            if failures == 0:
                log.warning(
                    "waiting",
                    dependency=error.dependency.value,
                    reason=error.reason,
                    gives_up_after_s=limit_s,
                )
            retry_after_s = error.retry_after_s if isinstance(error, TransientError) else 0.0
            await stop_signal.sleep(min(left_s, max(policy.backoff_s(failures), retry_after_s)))
            failures += 1
