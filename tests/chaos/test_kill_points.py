"""A run that dies at some of its steps. ``scripts/chaos --steps all`` takes them all."""

import random
from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.kill_points import killed_at, one_submission, points

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
"""What is worth dying in, each at a place drawn at random."""


async def test_a_run_that_dies_anywhere_is_made_good_by_the_next(
    stack: Stack, workspace: Workspace
) -> None:
    ground = await one_submission(stack, workspace)
    reached = await points(ground)
    generator = random.Random()
    deaths = 0
    for step in STEPS:
        point = generator.choice([each for each in sorted(reached) if each.startswith(step)])
        nth = generator.randint(1, reached[point])
        died, findings = await killed_at(ground, point, nth)
        assert not findings.lines(), (point, nth)
        deaths += died
    assert deaths >= len(STEPS) - 1
