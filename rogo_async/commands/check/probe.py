"""Requests of ``check``. They have few retries: check reports an outage, a run waits for it."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from rogo_async.commands.check.results import CheckResult, fail, ok, warning
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, TransientError
from rogo_async.common.retry import CircuitBreaker, with_retry
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.postgres.connections import Connections

T = TypeVar("T")
RETRY_S: Final = 3.0
"""How long to retry a server that refuses connections."""
TIMEOUT_S: Final = 12.0
QUERY_TIMEOUT_S: Final = 10.0
_SKEW_FAIL: Final = timedelta(minutes=5)
_SKEW_WARNING: Final = timedelta(seconds=30)
_SYNC_CLOCKS: Final = "Synchronise the clocks by NTP (timedatectl set-ntp true), here first"


async def with_timeout(dependency: Dependency, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of ``work``. Raises TransientError after TIMEOUT_S, and the errors of ``work``."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await work()
    except TimeoutError:
        raise TransientError(dependency, "check", "no answer in time") from None


async def with_brief_retry(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of ``work``, retried for RETRY_S. Raises as ``with_retry`` does."""
    return await with_retry(work, StopSignal(), RETRY_S)


async def _unused_probe() -> None:
    """Never called: this breaker does not open."""


class NoRetry(CircuitBreaker):
    """A circuit breaker that never opens and never retries."""

    def __init__(self, dependency: Dependency) -> None:
        super().__init__(dependency, _unused_probe, StopSignal(), CallStats(), RETRY_S)

    async def call(
        self,
        operation: str,  # noqa: ARG002 - part of the interface
        work: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        """Run ``work`` once; its errors are not caught."""
        return await work()


class QueryRunner:
    """Runs named queries on the target. ``connections`` is set once the target is connected."""

    connections: Connections

    async def rows(self, name: str, **values: object) -> list[Any]:
        """All rows of a named query. Raises a DependencyError."""
        async with self.connections.session(name) as session:
            return await session.rows(name, values, QUERY_TIMEOUT_S)

    async def row(self, name: str, **values: object) -> Any:
        """The first row of a named query that returns at least one. Raises a DependencyError."""
        return (await self.rows(name, **values))[0]


def compare_clocks(
    server_time: datetime, before: datetime, after: datetime, server: str
) -> CheckResult:
    """Compare a server's clock with this machine's clock ``before`` and ``after`` the request."""
    skew = server_time - (before + (after - before) / 2)
    seconds = abs(skew.total_seconds())
    direction = "ahead of" if skew > timedelta() else "behind"
    message = f"clock of {server} is {seconds:,.0f} s {direction} this machine's"
    if abs(skew) > _SKEW_FAIL:
        return fail(message, _SYNC_CLOCKS)
    if abs(skew) > _SKEW_WARNING:
        return warning(message, _SYNC_CLOCKS)
    return ok(f"clock of {server} differs by less than {max(1, round(seconds))} s")
