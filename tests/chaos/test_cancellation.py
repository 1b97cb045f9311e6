"""Consumers cancelled at any point of their work (invariants 1 to 4).

The product cancels consumers only at the end of a run, after the grace time; they may be at any
point then. ROGO_TEST_CANCELLATIONS says at how many points (1,000 in the long form).
"""

import asyncio
import os
import random
from typing import Any, Final

import pytest

from rogo_async.common.settings import load_settings
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.pipeline import pipeline
from rogo_async.pipeline.consumers import ConsumerPool
from rogo_async.pipeline.run import Run
from rogo_async.pipeline.selection import Selection
from tests.support.builders import Scenario, assert_consistent, valid_submission
from tests.support.cli import FAILED, run_cli, table

POINTS: Final = int(os.environ.get("ROGO_TEST_CANCELLATIONS", "40"))
PER_RUN: Final = 8
ROWS: Final = 24
FILES: Final = 36
SEED: Final = 7


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    submissions = [
        valid_submission(attempt, *files_of(made, attempt)) for attempt in range(1, ROWS + 1)
    ]
    for each in submissions:
        if each.attempt % 3 == 0:
            each.report["Grade"] = "Malpractice Moderate"
    await made.load(submissions)
    return made


def files_of(scenario: Scenario, attempt: int) -> list[str]:
    """The addresses of one file, or of two."""
    return [
        scenario.serve_file(f"{attempt}-{number}.txt", b"text %d %d" % (attempt, number))
        for number in range(1 + attempt % 2)
    ]


class RandomCancellation:
    """Counts the turns of the event loop and cancels a random consumer at some of them."""

    def __init__(self, at: list[int]) -> None:
        self.turns = 0
        self.cancelled = 0
        self._at = sorted(at, reverse=True)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turns += 1
            if self._at and self.turns >= self._at[-1]:
                self._at.pop()
                consumers = [t for t in asyncio.all_tasks() if t.get_name().startswith("consumer-")]
                if consumers:
                    random.choice(consumers).cancel()
                    self.cancelled += 1


async def run_cancelled(
    cancellation: RandomCancellation,
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    **settings: Any,
) -> int:
    """A run in this process, with a task beside the consumers that cancels some of them."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    class Watched(ConsumerPool):
        async def run(self, grace_s: float) -> None:
            canceller = asyncio.create_task(cancellation.run(), name="canceller")
            try:
                await super().run(grace_s)
            finally:
                canceller.cancel()

    monkeypatch.setattr(pipeline, "ConsumerPool", Watched)
    run = Run(load_settings(rogo_concurrency=PER_RUN, **settings), Selection(), None)
    return int((await run.execute()).exit_code)


async def test_invariants_hold_when_consumers_are_cancelled_anywhere(
    scenario: Scenario, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = RandomCancellation([])
    assert await run_cancelled(measured, monkeypatch, env) == 0
    cancelled = 0
    generator = random.Random(SEED)
    while cancelled < POINTS:
        await empty_target(scenario)
        cancellation = RandomCancellation(
            [generator.randrange(measured.turns) for _ in range(PER_RUN)]
        )
        code = await run_cancelled(cancellation, monkeypatch, env)
        assert code in {0, 70}
        assert (
            code == 70
            or not cancellation.cancelled
            or await scenario.attempts() == list(range(1, ROWS + 1))
        )
        await assert_consistent(scenario)
        cancelled += cancellation.cancelled
        assert (await run_cli(env)).code == 0
        assert await scenario.attempts() == list(range(1, ROWS + 1))
        await assert_consistent(scenario)
        assert len(await scenario.rows("malpractice_enforcements")) == ROWS // 3
        assert table(scenario.data_dir / FAILED) == []
        assert len(table(scenario.data_dir / "migrated.csv")) == ROWS
        assert (await run_cli(env, "sweep", "--delete", "--min-age", "0")).code == 0
        assert len(await scenario.blobs()) == FILES


async def empty_target(scenario: Scenario) -> None:
    """Remove all migrated rows and blobs."""
    async with scenario.target() as target:
        await target.execute(
            "DELETE FROM malpractice_enforcements; DELETE FROM assignment_submissions; "
            "DELETE FROM lti_session_records; DELETE FROM lti_launch_sessions"
        )
    async with scenario.container() as container:
        for name in await scenario.blobs():
            await container.delete_blob(name)
