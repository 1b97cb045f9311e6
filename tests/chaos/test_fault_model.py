"""Runs under random faults (specification §6). ``scripts/chaos --faults 100`` runs more rounds."""

from typing import Final

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.chaos.fault_model import run_random_faults
from tests.chaos.small_dataset import small_dataset

ROUNDS: Final = 3
STEPS: Final = 10


async def test_invariants_hold_after_random_faults(stack: Stack, workspace: Workspace) -> None:
    rounds: list[str] = []
    await run_random_faults(
        await small_dataset(stack, workspace), ROUNDS, STEPS, lambda text, _: rounds.append(text)
    )
    assert rounds
