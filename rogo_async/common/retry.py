"""Deadlines, retries and the outage gate (DESIGN decisions 6 to 8).

Every call to a server goes through ``CircuitBreaker.call``. A transient or ambiguous fault is
retried with
backoff and jitter (what may be ambiguous is written to be repeatable). When retries do not help,
or the fault is systemic, the gate closes: everyone who wants this server waits, one task probes
it, and the gate opens again. The outage is over when a real call succeeds. One that lasts longer
than the limit ends the run.
"""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import structlog

from rogo_async.common.call_stats import CallStats, Outage
from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    DependencyError,
    RunStopped,
    SourceForbidden,
    SystemicError,
    TransientError,
)
from rogo_async.common.shutdown import StopReason, StopSignal

T = TypeVar("T")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to insist. All in seconds but ``tries``.

    Who has waited at the gate goes on within ``spread_s`` of its opening, not all in one moment.
    ``tries`` calls are made before the gate closes, one alone if it took ``slow_s`` to fail;
    ``deadline_s`` is what one operation may
    spend in calls and backoff while its dependency is up, before its outcome counts as unknown.
    """

    first_s: float = 0.1
    cap_s: float = 5.0
    tries: int = 4
    slow_s: float = 5.0
    deadline_s: float = 60.0
    probe_first_s: float = 0.25
    probe_cap_s: float = 2.0
    spread_s: float = 1.0

    def backoff_s(self, attempt: int) -> float:
        """Full jitter over an exponential: between a half and the whole of it."""
        return min(self.cap_s, self.first_s * 2.0**attempt) * random.uniform(0.5, 1.0)


DEFAULT_POLICY: Final = RetryPolicy()


@dataclass(slots=True)
class _Trial:
    """What one operation has gone through, on the monotonic clock."""

    began: float = 0.0
    failed_before: float = 0.0
    failures: int = 0
    spent_s: float = 0.0

    def begin(self) -> None:
        self.began = time.monotonic()
        if not self.failures:
            self.failed_before = self.began

    def seconds(self) -> float:
        return time.monotonic() - self.began

    def fail(self) -> float:
        self.failures += 1
        self.failed_before = time.monotonic()
        return self.failed_before - self.began


class CircuitBreaker:
    """The way to one dependency, closed while it is down. Owns the task that probes it."""

    def __init__(
        self,
        dependency: Dependency,
        stop_signal: StopSignal,
        call_stats: CallStats,
        limit_s: float,
        policy: RetryPolicy = DEFAULT_POLICY,
        place: str = "",
    ) -> None:
        self.dependency = dependency
        self.name = f"{dependency.value} {place}".strip()
        self._stop_signal = stop_signal
        self._call_stats = call_stats
        self._limit_s = limit_s
        self._policy = policy
        self._open = asyncio.Event()
        self._open.set()
        self._outage: Outage | None = None
        self._last_success = -math.inf
        self._probe_wait_s = policy.probe_first_s
        self._prober: asyncio.Task[None] | None = None

    async def call(
        self,
        operation: str,
        work: Callable[[], Coroutine[Any, Any, T]],
        probe: Callable[[], Coroutine[Any, Any, object]],
    ) -> T:
        """Run ``work`` until it succeeds and return what it gives.

        ``work`` keeps its own deadline and raises DependencyFaults. ``probe`` asks whether the
        dependency serves at all. A fault of one operation while others succeed does not close
        the gate. Raises what ``work`` raises beside those faults, RunStopped when the run ends
        first, and the last fault when the operation's own time is used up while the dependency
        is up for others: its outcome is unknown.
        """
        trial = _Trial()
        while True:
            await self._pass()
            trial.begin()
            try:
                result = await work()
            except DependencyError as fault:
                self._call_stats.retries[f"{self.dependency.value}.{operation}"] += 1
                await self._after(fault, trial, probe)
            except (SourceForbidden, RunStopped):
                # A refusal is weighed elsewhere; a run that ends says nothing of the server.
                raise
            except Exception:
                # Whatever else it was, the dependency gave a definite answer.
                self.succeeded()
                raise
            else:
                self._call_stats.observe(self.dependency, operation, trial.seconds())
                self.succeeded()
                return result

    def succeeded(self) -> None:
        """A real call went through: an outage, if there was one, is over."""
        self._last_success = time.monotonic()
        if self._outage is None:
            return
        outage, self._outage = self._outage, None
        outage.ended_s = time.monotonic()
        self._probe_wait_s = self._policy.probe_first_s
        log.warning(
            "outage ended",
            dependency=self.name,
            seconds=round(outage.ended_s - outage.began_s, 1),
        )

    def close(
        self,
        fault: DependencyError,
        probe: Callable[[], Coroutine[Any, Any, object]],
        since_s: float | None = None,
    ) -> None:
        """Let nobody pass until ``probe`` succeeds. ``since_s``, on the monotonic clock, is when
        the call began that showed it; without it the outage begins now.
        """
        if self._outage is None:
            self._outage = Outage(
                self.name,
                datetime.now(UTC).isoformat(timespec="seconds"),
                time.monotonic() if since_s is None else since_s,
                fault.reason,
            )
            self._call_stats.outages.append(self._outage)
            log.warning("outage began", dependency=self.name, reason=fault.reason)
        if self._open.is_set():
            self._open.clear()
            self._prober = asyncio.create_task(
                self._probe_until_open(probe), name=f"probe-{self.dependency.value}"
            )

    async def aclose(self) -> None:
        """End the probing task, if there is one."""
        if self._prober is not None:
            self._prober.cancel()
            await asyncio.gather(self._prober, return_exceptions=True)

    async def _pass(self) -> None:
        if self._open.is_set():
            return
        stopped = asyncio.create_task(self._stop_signal.stopped(), name="gate-stopped")
        opened = asyncio.create_task(self._open.wait(), name="gate-opened")
        try:
            await asyncio.wait({stopped, opened}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            opened.cancel()
        if not self._open.is_set():
            raise RunStopped
        await self._stop_signal.sleep(random.uniform(0.0, self._policy.spread_s))

    async def _after(
        self,
        fault: DependencyError,
        trial: "_Trial",
        probe: Callable[[], Coroutine[Any, Any, object]],
    ) -> None:
        """Wait after a fault, or close the gate, or raise the fault when its time is used up.

        What decides is whether anybody was served since this operation last failed.
        """
        policy = self._policy
        serves_others = self._last_success > trial.failed_before
        seconds = trial.fail()
        if serves_others:
            trial.spent_s += seconds
            if trial.spent_s > policy.deadline_s:
                raise fault
        elif (
            isinstance(fault, SystemicError)
            or trial.failures >= policy.tries
            or seconds >= policy.slow_s
        ):
            self.close(fault, probe, since_s=trial.began)
            return
        wait_s = policy.backoff_s(trial.failures - 1)
        if isinstance(fault, TransientError):
            wait_s = max(wait_s, min(fault.retry_after_s, self._limit_s))
        trial.spent_s += wait_s
        await self._stop_signal.sleep(wait_s)

    async def _probe_until_open(self, probe: Callable[[], Coroutine[Any, Any, object]]) -> None:
        outage = self._outage
        while outage is not None and self._outage is outage:
            left_s = outage.began_s + self._limit_s - time.monotonic()
            if left_s <= 0:
                self._stop_signal.stop(
                    StopReason.OUTAGE,
                    f"{self.name} was down for {self._limit_s:g} s: {outage.reason}",
                )
                return
            await asyncio.sleep(min(left_s, self._probe_wait_s))
            self._probe_wait_s = min(self._policy.probe_cap_s, self._probe_wait_s * 2)
            try:
                async with asyncio.timeout(max(0.1, left_s)):
                    await probe()
            except (DependencyError, TimeoutError):
                continue
            except Exception as error:  # noqa: BLE001 - who waits at the gate must hear of it
                log.critical("internal error", stage="probe", error=type(error).__name__)
                self._stop_signal.stop(StopReason.FAULT, f"probing the {self.name} failed")
                return
            else:
                break
        self._open.set()


async def with_retry(
    what: Callable[[], Coroutine[Any, Any, T]],
    stop_signal: StopSignal,
    limit_s: float,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> T:
    """Open something at start, insisting through transient faults for ``limit_s`` seconds.

    ``what`` keeps its own deadline. Raises the last TransientError or AmbiguousError after that
    time, RunStopped when told to stop, and whatever else ``what`` raises at once.
    """
    give_up = time.monotonic() + limit_s
    attempt = 0
    while True:
        try:
            return await what()
        except (TransientError, AmbiguousError) as fault:
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                raise
            if attempt == 0:
                log.warning(
                    "waiting",
                    dependency=fault.dependency.value,
                    reason=fault.reason,
                    gives_up_after_s=limit_s,
                )
            retry_after_s = fault.retry_after_s if isinstance(fault, TransientError) else 0.0
            await stop_signal.sleep(min(left_s, max(policy.backoff_s(attempt), retry_after_s)))
            attempt += 1
