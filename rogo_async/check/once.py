"""A server that is asked once: what a run would wait for is what a check has to tell."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from rogo_async.control import Control
from rogo_async.errors import Dependency, TransientFault
from rogo_async.measure import Measurements
from rogo_async.resilience import Gate, until_up

T = TypeVar("T")
PATIENCE_S: Final = 3.0
"""How long to go on asking a server that refuses connections."""
ANSWER_S: Final = 12.0
"""How long to wait for an answer."""


class Once(Gate):
    """A gate that is always open, and repeats nothing."""

    def __init__(self, dependency: Dependency) -> None:
        super().__init__(dependency, Control(), Measurements(), PATIENCE_S)

    async def call(
        self,
        operation: str,  # noqa: ARG002 - the interface's
        work: Callable[[], Coroutine[Any, Any, T]],
        probe: Callable[[], Coroutine[Any, Any, object]],  # noqa: ARG002 - the interface's
    ) -> T:
        """Run ``work`` and raise what it raises."""
        return await work()


async def answered(dependency: Dependency, what: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``what`` gives, if it does so within ANSWER_S. Raises TransientFault, and as it does."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return await what()
    except TimeoutError:
        raise TransientFault(dependency, "check", "no answer in time") from None


async def soon(what: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Open something, insisting for a few seconds. Raises as ``until_up``."""
    return await until_up(what, Control(), PATIENCE_S)
