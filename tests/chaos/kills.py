"""SIGKILL at a random moment of a run, from the start of its process on."""

import asyncio
import signal
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg

from tests.chaos.invariants import Findings
from tests.chaos.rounds import Ground, Round
from tests.support.cli import start_cli

DELAY_S: Final = 0.001
"""Each way, so that the moments in which something is under way are no rare ones."""


class Fell(StrEnum):
    """Where a kill fell."""

    BEFORE = "before the migration began"
    WITHIN = "in the migration"
    AFTER = "after the end"


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill, what was in the target by then, and what was wrong in the end."""

    fell: Fell
    submissions: int
    findings: Findings


async def undisturbed(ground: Ground) -> float:
    """How long a run takes that nobody kills, in seconds. It must be right."""
    async with ground.round(DELAY_S) as there, start_cli(there.env) as command:
        began = asyncio.get_running_loop().time()
        result = await command.wait()
        took_s = asyncio.get_running_loop().time() - began
        assert result.code == there.expected_code, result.output
        assert not (found := (await there.settle()).lines()), found
    return took_s


async def killed(ground: Ground, after_s: float) -> Kill:
    """A round with one kill."""
    async with ground.round(DELAY_S) as there:
        async with start_cli(there.env) as command:
            await asyncio.sleep(after_s)
            if command.process.returncode is None:
                command.process.send_signal(signal.SIGKILL)
            result = await command.wait()
        submissions = await _submissions(there)
        if result.code != -signal.SIGKILL or result.events("run ended"):
            fell = Fell.AFTER
        else:
            fell = Fell.WITHIN if result.events("migration begins") else Fell.BEFORE
        return Kill(fell, submissions, await there.settle())


async def _submissions(there: Round) -> int:
    connection = await asyncpg.connect(there.stack.postgres.dsn(there.workspace.target))
    try:
        found: int = await connection.fetchval(
            "SELECT count(*) FROM assignment_submissions WHERE lti_launch_id ~ '^rogo_[0-9]+_'"
        )
    finally:
        await connection.close()
    return found
