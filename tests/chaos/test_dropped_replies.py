"""Replies that get lost, one by one and at random: what was done is done once."""

import random
from typing import Final

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.dropped_replies import Losses, Reply, disturbed, first_of
from tests.chaos.rounds import Ground
from tests.chaos.small_dataset import handful

CHANCE: Final = 0.2
PLAIN: Final = 40


@pytest.fixture
async def ground(stack: Stack, workspace: Workspace) -> Ground:
    return await handful(stack, workspace)


@pytest.mark.parametrize("kind", [kind for kind in Reply if kind is not Reply.STANDING])
async def test_a_reply_is_lost_and_the_connection_cut(ground: Ground, kind: Reply) -> None:
    losses = Losses(first_of(kind))
    async with ground.round() as there:
        findings = await disturbed(there, losses)
    assert not findings.lines(), losses.lost
    assert losses.lost == {kind: 1}


async def test_replies_are_lost_at_random(stack: Stack, workspace: Workspace) -> None:
    ground = await handful(stack, workspace, PLAIN)
    generator = random.Random()
    losses = Losses(lambda _: generator.random() < CHANCE)
    async with ground.round() as there:
        findings = await disturbed(there, losses)
    assert not findings.lines(), losses.lost
    assert losses.lost.total() >= PLAIN * CHANCE / 2
