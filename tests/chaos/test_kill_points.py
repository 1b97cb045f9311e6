"""A run killed at some of its points. ``scripts/chaos --steps all`` kills at all of them."""

import random
from collections.abc import Sequence
from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.kill_points import measure_kill_points, one_submission, run_killed_at
from tests.chaos.rounds import RoundFactory
from tests.support.copy_proxy import copy_proxy

STEPS: Final = (
    (
        "destination/blobs/store.py:Store.stage:",
        "destination/blobs/store.py:Store.commit:",
        "pipeline/file_copier.py:",
    ),
    (
        "destination/postgres/writer.py:_insert_with_rule:",
        "destination/postgres/journal.py:",
    ),
    ("pipeline/writer.py:",),
)
"""The steps that matter most, each killed at a random point."""


COPY_STEPS: Final = (("destination/blobs/service_copy.py:", "pipeline/server_side_copy.py:"),)
"""The same, when the service copies the files."""


async def test_the_next_run_repairs_a_run_killed_at_any_point(
    stack: Stack, workspace: Workspace
) -> None:
    await kill_at_each(await one_submission(stack, workspace), STEPS)


async def test_the_next_run_repairs_a_run_killed_while_the_service_copies(
    stack: Stack, workspace: Workspace
) -> None:
    factory = await one_submission(stack, workspace, in_azure=True)
    async with copy_proxy(stack.azurite) as service:
        factory.service = service
        await kill_at_each(factory, COPY_STEPS)
    assert 201 in service.copies


async def kill_at_each(factory: RoundFactory, steps: Sequence[tuple[str, ...]]) -> None:
    """Kill a run at a random point of each step, and run again."""
    reached = await measure_kill_points(factory)
    generator = random.Random()
    deaths = 0
    for step in steps:
        for place in step:
            assert any(each.startswith(place) for each in reached), place
        point = generator.choice([each for each in sorted(reached) if each.startswith(step)])
        nth = generator.randint(1, reached[point])
        died, findings = await run_killed_at(factory, point, nth)
        assert not findings.lines(), (point, nth)
        deaths += died
    assert deaths >= len(steps) - 1
