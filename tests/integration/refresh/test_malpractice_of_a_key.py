"""Refreshes of several submissions with the same malpractice rule (rule 13)."""

import asyncio

import pytest

from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.writer import lock_key
from tests.support.builders import Scenario
from tests.support.cli import run_cli, start_cli, summary
from tests.support.rollback_fixtures import malpractice

KEY = {
    "lms_user_id": f"{DEMO_LMS.instance_id}::1",
    "assessment_code": "5AB01",
    "context_id": f"{DEMO_LMS.instance_id}::81",
}


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """Two submissions with malpractice; the rule names the first one."""
    made = Scenario(stack, workspace)
    await made.load([malpractice(made, 1, 2, "Moderate"), malpractice(made, 2, 2, "Considerable")])
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert await owner(made) == 1
    return made


async def owner(scenario: Scenario) -> int | None:
    """The attempt that the only malpractice rule names; None if there is no rule."""
    async with scenario.target() as target:
        found = await target.fetchval(
            "SELECT split_part(s.lti_launch_id, '_', 2)::int FROM malpractice_enforcements e "
            "JOIN assignment_submissions s ON s.id = e.submission_id"
        )
        return None if found is None else int(found)


async def regrade(scenario: Scenario, attempt: int, grade: str) -> None:
    async with scenario.warehouse() as warehouse:
        await warehouse.execute(
            'UPDATE dbo."Rogo_AssessmentReport" SET "Grade" = $1 WHERE "AttemptId" = $2',
            grade,
            attempt,
        )


async def test_a_new_grade_may_take_the_rule_of_another_submission(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await regrade(scenario, 2, "Malpractice Severe")
    result = await run_cli(env, "run", "--refresh")
    assert result.code == 0, result.output
    assert summary(scenario.data_dir)["refreshed"] == 1
    assert await owner(scenario) == 2
    await regrade(scenario, 2, "Pass")
    await run_cli(env, "run", "--refresh")
    assert await owner(scenario) == 1


async def test_a_submission_that_loses_its_malpractice_waits_for_the_lock_of_its_key(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """Otherwise another refresh could give it the rule at the same time."""
    await regrade(scenario, 2, "Pass")
    async with scenario.target() as target, scenario.target() as other:
        await other.execute("SELECT pg_advisory_lock($1)", lock_key(KEY))
        async with start_cli(env, "run", "--refresh") as command:
            while not await target.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            ):
                assert command.process.returncode is None, "it did not wait"
                await asyncio.sleep(0.02)
            await other.execute("SELECT pg_advisory_unlock($1)", lock_key(KEY))
            result = await command.wait()
    assert result.code == 0, result.output
    assert summary(scenario.data_dir)["refreshed"] == 1
    assert await owner(scenario) == 1
