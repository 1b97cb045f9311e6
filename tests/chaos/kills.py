"""SIGKILL at a random moment of a run, after its process starts."""

import asyncio
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg

from tests.chaos.invariants import Findings
from tests.chaos.rounds import ChaosRound, RoundFactory
from tests.support.cli import start_cli

DELAY_S: Final = 0.001
"""In each direction, so that a kill often falls into a request."""


class KillPhase(StrEnum):
    """The phase of the run in which it was killed."""

    BEFORE_MIGRATION = "before the migration"
    DURING_MIGRATION = "during the migration"
    AFTER_END = "after the end"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, the submissions in the target by then, and the findings after the next run."""

    phase: KillPhase
    submissions: int
    findings: Findings


async def measure_clean_run(factory: RoundFactory) -> float:
    """The duration of an undisturbed run in seconds. Its result must be correct."""
    async with factory.round(DELAY_S) as chaos_round, start_cli(chaos_round.env) as command:
        began = asyncio.get_running_loop().time()
        result = await command.wait()
        took_s = asyncio.get_running_loop().time() - began
        assert result.code == chaos_round.expected_code, result.output
        assert not (found := (await chaos_round.recover()).lines()), found
    return took_s


async def run_killed_after(factory: RoundFactory, after_s: float) -> Kill:
    """Start a run, kill it after some seconds, and run again."""
    async with factory.round(DELAY_S) as chaos_round:
        async with start_cli(chaos_round.env) as command:
            await asyncio.sleep(after_s)
            if command.process.returncode is None:
                command.process.send_signal(signal.SIGKILL)
            result = await command.wait()
        submissions = await count_submissions(chaos_round)
        if result.code != -signal.SIGKILL or result.events("run ended"):
            phase = KillPhase.AFTER_END
        else:
            phase = (
                KillPhase.DURING_MIGRATION
                if result.events("migration begins")
                else KillPhase.BEFORE_MIGRATION
            )
        return Kill(phase, submissions, await chaos_round.recover())


async def count_submissions(chaos_round: ChaosRound) -> int:
    """The submissions of this tool in the target."""
    connection = await asyncpg.connect(chaos_round.stack.postgres.dsn(chaos_round.workspace.target))
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM assignment_submissions WHERE lti_launch_id ~ '^rogo_[0-9]+_'"
        )
    finally:
        await connection.close()
    return found
