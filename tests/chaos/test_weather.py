"""Runs in any weather (SPEC §6). ``scripts/chaos --weather 100`` draws more of it."""

from typing import Final

from handful import handful
from weather import weather

from rogo_async.devstack.stack import Place, Stack

ROUNDS: Final = 3
STEPS: Final = 10


async def test_nothing_is_wrong_after_any_weather(stack: Stack, place: Place) -> None:
    told: list[str] = []
    await weather(await handful(stack, place), ROUNDS, STEPS, lambda text, _: told.append(text))
    assert told
