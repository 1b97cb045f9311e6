"""Runs with ``--refresh`` killed at random moments (invariants 1 and 2).

``ROGO_TEST_REFRESH_KILLS=100 pytest tests/chaos/test_refresh_kills.py`` is the long form.
"""

import asyncio
import os
import random
import signal
from typing import Final

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import TABLES, Scenario
from tests.support.cli import run_cli, start_cli, summary

KILLS: Final = int(os.environ.get("ROGO_TEST_REFRESH_KILLS", "3"))
ROWS: Final = 60
GRADES: Final = ("Pass", "Refer", "Merit", "Malpractice Moderate", "Malpractice Severe")


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """Migrated submissions. Two at a time share the key of their malpractice rule."""
    made = Scenario(stack, workspace)
    await made.load(
        made.submission(attempt, TIUserId=str(attempt // 2)) for attempt in range(1, ROWS + 1)
    )
    assert (await run_cli(env)).code == 0
    return made


async def regrade(scenario: Scenario, generator: random.Random) -> None:
    """Give each submission a grade at random, and other marks than before."""
    async with scenario.warehouse() as warehouse:
        await warehouse.executemany(
            'UPDATE dbo."Rogo_AssessmentReport" SET "Grade" = $1, '
            '"MarksAchieved" = "MarksAchieved" + 1 WHERE "AttemptId" = $2',
            [(generator.choice(GRADES), attempt) for attempt in range(1, ROWS + 1)],
        )


async def rows(scenario: Scenario) -> dict[str, list[str]]:
    """All rows of the target, byte for byte."""
    return {name: sorted(map(repr, await scenario.rows(name))) for name in TABLES}


def journals(scenario: Scenario) -> set[str]:
    """The runs that have a journal."""
    paths = (scenario.data_dir / "runs").glob("*.journal.jsonl")
    return {path.name.partition(".")[0] for path in paths}


async def test_the_next_refresh_completes_a_killed_one_and_both_can_be_rolled_back(
    scenario: Scenario, env: dict[str, str]
) -> None:
    generator = random.Random()
    interrupted = 0
    for number in range(1, KILLS + 1):
        await regrade(scenario, generator)
        before, kept = await rows(scenario), journals(scenario)
        async with start_cli(env, "run", "--refresh", ROGO_CONCURRENCY="3") as command:
            await command.wait_for_event("migration begins")
            await asyncio.sleep(generator.uniform(0.0, 0.4))
            if command.process.returncode is None:
                command.process.send_signal(signal.SIGKILL)
            await command.wait()
        result = await run_cli(env, "run", "--refresh")
        assert result.code == 0, result.output
        found = summary(scenario.data_dir)
        assert found["refreshed"] + found["skipped"] == ROWS
        interrupted += 0 < found["refreshed"] < ROWS
        verified = await run_cli(env, "verify", "--source", "--quick")
        assert verified.code == 0, verified.output
        differing = (scenario.data_dir / "verification_failures.csv").read_text(encoding="utf-8")
        assert "changed_on_platform" not in found["by_code"], differing
        assert f"{ROWS} submissions compared with the source; 0 differ" in verified.stdout
        if number % 2:
            for run_id in sorted(journals(scenario) - kept, reverse=True):
                undone = await run_cli(env, "rollback", "--run", run_id, "--yes")
                assert undone.code == 0, undone.output
            assert await rows(scenario) == before
    assert interrupted or KILLS < 10
