"""A run in any weather: faults of every kind in any order, as a model draws them.

Hypothesis draws and the servers run in an event loop, so the model lives in a thread of its own.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rogo_async.demo.servers.scripted_source import Answer
from tests.chaos.dropped_replies import Losses, Reply
from tests.chaos.invariants import Findings
from tests.chaos.rounds import Ground
from tests.support.cli import FAILED, RunningCommand, failures, run_cli, start_cli

STEP_S: Final = 120.0
SETTINGS: Final = {"ROGO_CONCURRENCY": "3", "ROGO_OUTAGE_LIMIT": "30"}
CALM: Final = frozenset({3, 4, 143, -signal.SIGTERM, -signal.SIGKILL})
"""How a disturbed run may end beside its own way; by SIGTERM itself before it listens."""
T = TypeVar("T")
Tell = Callable[[str, Findings], object]
"""Is told of each round: its faults, and what was wrong after them."""


class Weather(RuleBasedStateMachine):
    """One round of faults, and a look at what stands after it."""

    def __init__(self, ground: Ground, loop: asyncio.AbstractEventLoop, tell: Tell) -> None:
        super().__init__()
        self._loop = loop
        self._tell = tell
        self._faults: list[str] = []
        self._open = AsyncExitStack()
        self._there = self._wait(self._open.enter_async_context(ground.round(0.001)))
        self._routes = dict(ground.stack.source.routes)
        self._due: list[Reply] = []
        self._losses = Losses(self._is_due)
        self._losses.watch(self._there.proxies["store"], self._there.proxies["target"])
        self._command: RunningCommand | None = None
        # What was drawn, not what came of it: the same draws must always be possible.
        self._begun = False
        self._rivalled = False

    @precondition(lambda self: not self._begun)
    @rule()
    def run(self) -> None:
        """Begin a run."""
        self._faults.append("run")
        self._end()
        begin = start_cli({**self._there.env, **SETTINGS})
        self._command = self._wait(self._open.enter_async_context(begin))
        self._begun, self._rivalled = True, False

    @precondition(lambda self: self._begun)
    @rule(seconds=st.sampled_from([0.1, 0.4, 0.8, 1.2]))
    def go_on(self, seconds: float) -> None:
        """Let it work for a while."""
        self._wait(asyncio.sleep(seconds))

    @precondition(lambda self: self._begun)
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def end(self, number: signal.Signals) -> None:
        """End it, this way or that."""
        assert self._command is not None
        self._faults.append(number.name)
        if self._command.process.returncode is None:
            self._command.process.send_signal(number)
        self._begun = False

    @precondition(lambda self: self._begun)
    @rule(server=st.sampled_from(["target", "warehouse", "store"]))
    def cut(self, server: str) -> None:
        """Cut every connection to a server."""
        self._faults.append(f"cut {server}")
        self._loop.call_soon_threadsafe(self._there.proxies[server].cut)

    @rule(kind=st.sampled_from(Reply))
    def lose(self, kind: Reply) -> None:
        """Have the next reply of a kind get lost."""
        self._faults.append(f"lose reply to {kind}")
        self._due.append(kind)

    @rule(path=st.integers(5, 9).map("/{}.txt".format), times=st.integers(1, 3))
    def throttle(self, path: str, times: int) -> None:
        """Have the source refuse a file for a while."""
        self._faults.append("503")
        served = self._routes[path]
        source = self._there.stack.source
        source.routes[path] = Answer(status=503, times=times, then=replace(served))

    @precondition(lambda self: self._begun and not self._rivalled)
    @rule()
    def rival(self) -> None:
        """Run a second time beside it, once."""
        self._rivalled = True
        self._faults.append("rival")
        code = self._wait(run_cli({**self._there.env, **SETTINGS})).code
        assert code in CALM | {self._there.expected_code}

    def teardown(self) -> None:
        """See that nothing is wrong after a run that nobody disturbs."""
        try:
            self._end()
            self._due.clear()
            self._there.stack.source.routes.update(self._routes)
            findings = self._wait(self._there.settle())
            self._tell(", ".join(self._faults) or "calm", findings)
            assert not findings.lines(), self._faults
        finally:
            self._wait(self._open.aclose())

    def _end(self) -> None:
        """Wait for the end of the run that was begun, which must have been an honest one."""
        if self._command is None:
            return
        ended = self._wait(self._command.wait())
        self._command = None
        assert ended.code in CALM | {self._there.expected_code}, ended.output
        assert not ended.events("internal error"), ended.output
        path = self._there.workspace.data_dir / FAILED
        if ended.code == self._there.expected_code:
            assert failures(path) == dict(self._there.answer.failed.keys())

    def _is_due(self, kind: Reply) -> bool:
        if kind not in self._due:
            return False
        self._due.remove(kind)
        return True

    def _wait(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(STEP_S)


async def weather(ground: Ground, rounds: int, steps: int, tell: Tell) -> None:
    """Go through so many rounds of at most so many steps; the first that goes wrong raises."""
    loop = asyncio.get_running_loop()
    factory: Any = lambda: Weather(ground, loop, tell)  # noqa: E731 - typed as a class there
    await asyncio.to_thread(
        run_state_machine_as_test,
        factory,
        settings=settings(
            max_examples=rounds,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],  # what happened once may not happen again
            suppress_health_check=list(HealthCheck),
        ),
    )
