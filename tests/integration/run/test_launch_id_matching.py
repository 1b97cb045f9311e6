"""Attempts in the target are compared as numbers, never as text (rule 3)."""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import failures, run_cli, summary


async def leave(
    scenario: Scenario, launch_id: str, *, launch: bool, record: bool, submission: bool
) -> None:
    """Insert rows of another tool, or of an interrupted import, into the target."""
    async with scenario.target() as target:
        if launch:
            await target.execute(
                "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
                "VALUES ($1, 'key', '2099-12-31')",
                launch_id,
            )
        if record:
            await target.execute(
                "INSERT INTO lti_session_records (launch_id, session_expiry) "
                "VALUES ($1, '2099-12-31')",
                launch_id,
            )
        if submission:
            await target.execute(
                "INSERT INTO assignment_submissions (lti_launch_id) VALUES ($1)", launch_id
            )


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in (1, 2, 7, 12, 20, 21)])
    return made


async def test_rule_3_attempt_1_migrates_beside_12_and_a_wildcard(
    scenario: Scenario, env: dict[str, str]
) -> None:
    for launch_id in ("rogo_12_x", "rogo_1x_2", "rogoX1_x", "xrogo_1_x", "rogo_1", "rogo_-1_x"):
        await leave(scenario, launch_id, launch=True, record=True, submission=True)
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": 1}
    assert summary(scenario.data_dir)["migrated"] == 5
    rows = await scenario.rows("assignment_submissions")
    ones = [row for row in rows if row["lti_launch_id"].startswith("rogo_1_")]
    assert len(ones) == 1


@pytest.mark.parametrize("launch_id", ["rogo_7_", "rogo_007_z", "rogo_7_a_b\nc"])
async def test_rule_3_any_suffix_and_leading_zeros_match_the_attempt(
    scenario: Scenario, env: dict[str, str], launch_id: str
) -> None:
    await leave(scenario, launch_id, launch=False, record=False, submission=True)
    await run_cli(env)
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": 1}
    assert "rogo_7_" not in {
        row["lti_launch_id"][:7]
        for row in await scenario.rows("assignment_submissions")
        if row["lti_launch_id"] != launch_id
    }


async def test_rule_3_an_incomplete_submission_fails_and_is_never_skipped(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await leave(scenario, "rogo_20_left", launch=True, record=False, submission=False)
    await leave(scenario, "rogo_21_left", launch=False, record=True, submission=False)
    result = await run_cli(env)
    assert result.code == 1
    assert failures(scenario.data_dir / "submissions_failed_migration.csv") == {
        "20": "target_incomplete",
        "21": "target_incomplete",
    }
    assert await scenario.attempts() == [1, 2, 7, 12]


async def test_rule_3_a_submission_takes_precedence_over_a_stray_launch(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await leave(scenario, "rogo_20_first", launch=True, record=True, submission=False)
    await leave(scenario, "rogo_20_second", launch=True, record=True, submission=True)
    result = await run_cli(env)
    assert result.code == 0
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": 1}
