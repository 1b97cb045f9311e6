"""A server that is asked once: what a run would wait for is what a check has to tell."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from rogo_async.commands.check.results import Verdict, fail, ok, warning
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, TransientError
from rogo_async.common.retry import CircuitBreaker, with_retry
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.postgres.connections import Connections

_TOO_FAR: Final = timedelta(minutes=5)
_FAR: Final = timedelta(seconds=30)
_REMEDY: Final = "Set the clocks by NTP (timedatectl set-ntp true), this machine's first"


def compared(there: datetime, before: datetime, after: datetime, whose: str) -> Verdict:
    """Hold a server's time against ours, ``before`` and ``after`` it was asked."""
    skew = there - (before + (after - before) / 2)
    seconds = abs(skew.total_seconds())
    shown = f"{whose} clock is {seconds:,.0f} s {_way(skew)} ours"
    if abs(skew) > _TOO_FAR:
        return fail(shown, _REMEDY)
    if abs(skew) > _FAR:
        return warning(shown, _REMEDY)
    return ok(f"{whose} clock agrees with ours to within {max(1, round(seconds))} s")


def _way(skew: timedelta) -> str:
    return "ahead of" if skew > timedelta() else "behind"


ANSWER_S: Final = 10.0


class Asking:
    """Asks the target. ``connections`` is there once it has been connected to."""

    connections: Connections

    async def rows(self, name: str, **values: object) -> list[Any]:
        """All rows of a named query. Raises a DependencyError."""
        async with self.connections.session(name) as session:
            return await session.rows(name, values, ANSWER_S)

    async def row(self, name: str, **values: object) -> Any:
        """The first row of a named query that has one. Raises a DependencyError."""
        return (await self.rows(name, **values))[0]


T = TypeVar("T")
PATIENCE_S: Final = 3.0
"""How long to go on asking a server that refuses connections."""
PROBE_S: Final = 12.0
"""How long to wait for an answer."""


async def _unused_probe() -> None:
    """Never called: this breaker does not open."""


class Once(CircuitBreaker):
    """A circuit breaker that never opens and never retries."""

    def __init__(self, dependency: Dependency) -> None:
        super().__init__(dependency, _unused_probe, StopSignal(), CallStats(), PATIENCE_S)

    async def call(
        self,
        operation: str,  # noqa: ARG002 - the interface's
        work: Callable[[], Coroutine[Any, Any, T]],
    ) -> T:
        """Run ``work`` and raise what it raises."""
        return await work()


async def answered(dependency: Dependency, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``what`` gives, if it does so within PROBE_S. Raises TransientError, and as it does."""
    try:
        async with asyncio.timeout(PROBE_S):
            return await what()
    except TimeoutError:
        raise TransientError(dependency, "check", "no answer in time") from None


async def soon(what: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Open something, insisting for a few seconds. Raises as ``with_retry``."""
    return await with_retry(what, StopSignal(), PATIENCE_S)
