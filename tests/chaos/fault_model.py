"""Random faults of every kind in any order, drawn by a Hypothesis state machine.

Hypothesis draws and the servers run in an event loop, so the model runs in a separate thread.
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
from tests.chaos.dropped_replies import DroppedReplies, Reply
from tests.chaos.invariants import Findings
from tests.chaos.rounds import RoundFactory
from tests.support.cli import FAILED, RunningCommand, failures, run_cli, start_cli

STEP_S: Final = 120.0
SETTINGS: Final = {"ROGO_CONCURRENCY": "3", "ROGO_OUTAGE_LIMIT": "30"}
ALLOWED_EXIT_CODES: Final = frozenset({3, 4, 143, -signal.SIGTERM, -signal.SIGKILL})
"""Exit codes of a disturbed run, beside its expected one; SIGTERM itself before it is handled."""
T = TypeVar("T")
Tell = Callable[[str, Findings], object]
"""Receives the faults and the findings of each round."""


class RandomFaults(RuleBasedStateMachine):
    """One round of faults, and the check of the invariants after it."""

    def __init__(self, factory: RoundFactory, loop: asyncio.AbstractEventLoop, tell: Tell) -> None:
        super().__init__()
        self._loop = loop
        self._tell = tell
        self._faults: list[str] = []
        self._open = AsyncExitStack()
        self._round = self._wait(self._open.enter_async_context(factory.round(0.001)))
        self._routes = dict(factory.stack.source.routes)
        self._due: list[Reply] = []
        self._drops = DroppedReplies(self._is_due)
        self._drops.watch(self._round.proxies["store"], self._round.proxies["target"])
        self._command: RunningCommand | None = None
        # Depends on the draws only: the same draws must always be possible.
        self._begun = False
        self._ran_twice = False

    @precondition(lambda self: not self._begun)
    @rule()
    def run(self) -> None:
        """Start a run."""
        self._faults.append("run")
        self._end()
        begin = start_cli({**self._round.env, **SETTINGS})
        self._command = self._wait(self._open.enter_async_context(begin))
        self._begun, self._ran_twice = True, False

    @precondition(lambda self: self._begun)
    @rule(seconds=st.sampled_from([0.1, 0.4, 0.8, 1.2]))
    def wait(self, seconds: float) -> None:
        """Let it work for a while."""
        self._wait(asyncio.sleep(seconds))

    @precondition(lambda self: self._begun)
    @rule(number=st.sampled_from([signal.SIGKILL, signal.SIGTERM]))
    def end(self, number: signal.Signals) -> None:
        """Stop it with a signal."""
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
        self._loop.call_soon_threadsafe(self._round.proxies[server].cut)

    @rule(kind=st.sampled_from(Reply))
    def drop(self, kind: Reply) -> None:
        """Drop the next reply of a kind."""
        self._faults.append(f"lose reply to {kind}")
        self._due.append(kind)

    @rule(path=st.integers(5, 9).map("/{}.txt".format), times=st.integers(1, 3))
    def throttle(self, path: str, times: int) -> None:
        """Answer 503 for a file for a while."""
        self._faults.append("503")
        served = self._routes[path]
        source = self._round.stack.source
        source.routes[path] = Answer(status=503, times=times, then=replace(served))

    @precondition(lambda self: self._begun and not self._ran_twice)
    @rule()
    def run_twice(self) -> None:
        """Start a second run beside it, once."""
        self._ran_twice = True
        self._faults.append("second run")
        code = self._wait(run_cli({**self._round.env, **SETTINGS})).code
        assert code in ALLOWED_EXIT_CODES | {self._round.expected_code}

    def teardown(self) -> None:
        """Check the invariants after a run without faults."""
        try:
            self._end()
            self._due.clear()
            self._round.stack.source.routes.update(self._routes)
            findings = self._wait(self._round.recover())
            self._tell(", ".join(self._faults) or "no fault", findings)
            assert not findings.lines(), self._faults
        finally:
            self._wait(self._open.aclose())

    def _end(self) -> None:
        """Wait until the run exits, with a code that fits its faults."""
        if self._command is None:
            return
        ended = self._wait(self._command.wait())
        self._command = None
        assert ended.code in ALLOWED_EXIT_CODES | {self._round.expected_code}, ended.output
        assert not ended.events("internal error"), ended.output
        path = self._round.workspace.data_dir / FAILED
        if ended.code == self._round.expected_code:
            assert failures(path) == dict(self._round.expected.failed.keys())

    def _is_due(self, kind: Reply) -> bool:
        if kind not in self._due:
            return False
        self._due.remove(kind)
        return True

    def _wait(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(STEP_S)


async def run_random_faults(factory: RoundFactory, rounds: int, steps: int, tell: Tell) -> None:
    """Run ``rounds`` rounds of at most ``steps`` steps; the first violation raises."""
    loop = asyncio.get_running_loop()
    machine: Any = lambda: RandomFaults(factory, loop, tell)  # noqa: E731 - typed as a class there
    await asyncio.to_thread(
        run_state_machine_as_test,
        machine,
        settings=settings(
            max_examples=rounds,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],  # a failure may not be reproducible
            suppress_health_check=list(HealthCheck),
        ),
    )
