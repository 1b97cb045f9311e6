"""Dropped replies, one by one and at random: no work is lost or done twice (invariants 2, 3, 7)."""

import itertools
import random
from collections.abc import AsyncIterator
from typing import Final

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.dropped_replies import DroppedReplies, Reply, only_first, run_with_dropped_replies
from tests.chaos.rounds import RoundFactory
from tests.chaos.small_dataset import small_dataset
from tests.support.copy_proxy import copy_proxy

PROBABILITY: Final = 0.2
PLAIN: Final = 40


@pytest.fixture
async def factory(stack: Stack, workspace: Workspace) -> RoundFactory:
    return await small_dataset(stack, workspace)


@pytest.fixture
async def copied(stack: Stack, workspace: Workspace) -> AsyncIterator[RoundFactory]:
    """Rounds whose files the service copies, if it can."""
    async with copy_proxy(stack.azurite) as service:
        factory = await small_dataset(stack, workspace, in_azure=True)
        factory.service = service
        yield factory


@pytest.mark.parametrize("kind", [Reply.COPY, Reply.INSERT, Reply.DELETE])
async def test_a_dropped_reply_changes_nothing_when_the_service_copies(
    copied: RoundFactory, kind: Reply
) -> None:
    drops = DroppedReplies(only_first(kind))
    async with copied.round() as chaos_round:
        findings = await run_with_dropped_replies(chaos_round, drops)
    assert not findings.lines(), drops.lost
    assert drops.lost == {kind: 1}
    assert drops.seen[Reply.PUT] == 0


async def test_half_of_the_replies_to_copies_dropped_changes_nothing(copied: RoundFactory) -> None:
    turns = itertools.cycle([True, False])
    drops = DroppedReplies(lambda kind: kind is Reply.COPY and next(turns))
    async with copied.round() as chaos_round:
        findings = await run_with_dropped_replies(chaos_round, drops)
    assert not findings.lines(), drops.lost
    assert drops.lost[Reply.COPY] >= 4


@pytest.mark.parametrize(
    "kind", [kind for kind in Reply if kind not in {Reply.READ_BACK, Reply.COPY}]
)
async def test_a_dropped_reply_with_its_connection_changes_nothing(
    factory: RoundFactory, kind: Reply
) -> None:
    drops = DroppedReplies(only_first(kind))
    async with factory.round() as chaos_round:
        chaos_round.env["ROGO_COPY"] = "stream"
        findings = await run_with_dropped_replies(chaos_round, drops)
    assert not findings.lines(), drops.lost
    assert drops.lost == {kind: 1}


async def test_replies_dropped_at_random_change_nothing(stack: Stack, workspace: Workspace) -> None:
    factory = await small_dataset(stack, workspace, PLAIN)
    generator = random.Random()
    drops = DroppedReplies(lambda _: generator.random() < PROBABILITY)
    async with factory.round() as chaos_round:
        findings = await run_with_dropped_replies(chaos_round, drops)
    assert not findings.lines(), drops.lost
    assert drops.lost.total() >= PLAIN * PROBABILITY / 2
