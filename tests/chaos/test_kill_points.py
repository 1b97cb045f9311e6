"""A run killed at some of its points. ``scripts/chaos --steps all`` kills at all of them."""

import random
from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.kill_points import measure_kill_points, one_submission, run_killed_at

STEPS: Final = (
    (
        "destination/blobs/store.py:Store.stage:",
        "destination/blobs/store.py:Store.commit:",
        "pipeline/file_copier.py:",
    ),
    (
        "destination/postgres/writer.py:_insert_with_enforcement:",
        "destination/postgres/journal.py:",
    ),
    ("pipeline/writer.py:",),
)
"""The steps that matter most, each killed at a random point."""


async def test_the_next_run_repairs_a_run_killed_at_any_point(
    stack: Stack, workspace: Workspace
) -> None:
    factory = await one_submission(stack, workspace)
    reached = await measure_kill_points(factory)
    generator = random.Random()
    deaths = 0
    for step in STEPS:
        point = generator.choice([each for each in sorted(reached) if each.startswith(step)])
        nth = generator.randint(1, reached[point])
        died, findings = await run_killed_at(factory, point, nth)
        assert not findings.lines(), (point, nth)
        deaths += died
    assert deaths >= len(STEPS) - 1
