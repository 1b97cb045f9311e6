"""Runs in any weather (specification §6). ``scripts/chaos --weather 100`` draws more of it."""

from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.fault_model import weather
from tests.chaos.small_dataset import handful

ROUNDS: Final = 3
STEPS: Final = 10


async def test_nothing_is_wrong_after_any_weather(stack: Stack, workspace: Workspace) -> None:
    told: list[str] = []
    await weather(await handful(stack, workspace), ROUNDS, STEPS, lambda text, _: told.append(text))
    assert told
