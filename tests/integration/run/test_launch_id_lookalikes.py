"""Launch ids that a careless comparison would mistake for another attempt (rule 3)."""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, summary, table

LOOK_ALIKES = (
    "rogo_12_x",
    "rogo_1x_2",
    "rogo_1",
    "rogo__1_x",
    "Xrogo_1_x",
    "rogoX1_x",
    "rogo_-1_x",
)


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


INSERTS = {
    "launch": "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
    "VALUES ($1, 'key', now())",
    "record": "INSERT INTO lti_session_records (id, launch_id, session_expiry) "
    "VALUES ($1::text, $1::text, now())",
    "submission": "INSERT INTO assignment_submissions (lti_launch_id, lms_user_id, context_id) "
    "VALUES ($1, 'someone', 'somewhere')",
}


async def stand(scenario: Scenario, launch_id: str, *parts: str) -> None:
    """Rows under a launch id, all or only some, as another tool or the platform wrote them."""
    async with scenario.target() as target:
        for part in parts or INSERTS:
            await target.execute(INSERTS[part], launch_id)


async def test_rule_3_attempt_1_migrates_beside_similar_launch_ids(
    scenario: Scenario, env: dict[str, str]
) -> None:
    for launch_id in LOOK_ALIKES:
        await stand(scenario, launch_id)
    await scenario.load([scenario.submission(1), scenario.submission(12)])
    result = await run_cli(env)
    assert result.code == 0
    found = summary(scenario.data_dir)
    assert found["migrated"] == 1
    assert found["by_code"] == {"already_migrated": 1}
    migrated = [
        row for row in table(scenario.data_dir / "migrated.csv") if row["Attempt ID"] == "1"
    ]
    assert len(migrated) == 1
    assert migrated[0]["Launch ID"].startswith("rogo_1_")


async def test_rule_3_attempts_are_compared_as_numbers(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await stand(scenario, "rogo_007_z")
    await stand(scenario, "rogo_00000000000000000008_z")
    await stand(scenario, "rogo_99999999999999999999_z")
    submissions = [scenario.submission(attempt) for attempt in (7, 8, 70)]
    submissions[2].cells["Attempt ID"] = "0070"
    await scenario.load(submissions)
    assert (await run_cli(env)).code == 0
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": 2}
    assert summary(scenario.data_dir)["migrated"] == 1
