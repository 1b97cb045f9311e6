"""The bound on bytes in flight: first come, first served, and nothing is lost on the way."""

import asyncio
import random

import pytest

from rogo_async.pipeline.file_copier import ByteBudget

DEADLINE_S = 5.0


async def test_no_more_is_out_than_the_limit_and_all_get_their_turn() -> None:
    budget, limit = ByteBudget(100), 100
    out = highest = turns = 0

    async def taker(size_bytes: int) -> None:
        nonlocal out, highest, turns
        async with budget.reserve(size_bytes):
            out += size_bytes
            highest = max(highest, out)
            await asyncio.sleep(0)
            out -= size_bytes
            turns += 1

    sizes = [random.Random(7).randint(0, 100) for _ in range(300)]
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(taker(size) for size in sizes))
    assert turns == 300
    assert 50 < highest <= limit


async def test_a_large_share_is_not_overtaken_for_ever() -> None:
    budget = ByteBudget(10)
    order: list[str] = []

    async def taker(name: str, size_bytes: int) -> None:
        async with budget.reserve(size_bytes):
            order.append(name)
            await asyncio.sleep(0)

    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(taker("a", 6), taker("large", 10), taker("b", 4), taker("c", 4))
    assert order[:2] == ["a", "large"]


@pytest.mark.parametrize("seed", range(20))
async def test_cancelled_takers_give_everything_back(seed: int) -> None:
    rng = random.Random(seed)
    budget = ByteBudget(50)

    async def taker() -> None:
        async with budget.reserve(rng.randint(1, 50)):
            await asyncio.sleep(rng.random() * 0.002)

    tasks = [asyncio.create_task(taker(), name="taker") for _ in range(60)]
    for task in tasks:
        if rng.random() < 0.5:
            await asyncio.sleep(0)
            task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*tasks, return_exceptions=True)
        async with budget.reserve(50):
            pass


async def test_who_is_cancelled_hears_of_it_also_when_a_share_comes_free_meanwhile() -> None:
    budget = ByteBudget(10)

    async def taker() -> None:
        async with budget.reserve(10):
            await asyncio.sleep(DEADLINE_S)

    tasks = [asyncio.create_task(taker(), name="taker") for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
        async with budget.reserve(10):
            pass
