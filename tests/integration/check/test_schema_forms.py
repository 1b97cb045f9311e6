"""Other forms of the same tables: `check` raises no false alarm, and a run works with them."""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import run_cli, summary

WRITER = "rogo_writer"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in (1, 2, 3)])
    return made


VIEW = f"""
ALTER TABLE lti_launch_sessions RENAME TO launches;
CREATE VIEW lti_launch_sessions AS SELECT * FROM launches;
GRANT SELECT, INSERT, DELETE ON lti_launch_sessions TO {WRITER};
"""
UNIQUE_INDEX = """
ALTER TABLE lti_launch_sessions DROP CONSTRAINT IF EXISTS lti_launch_sessions_launch_id_key;
CREATE UNIQUE INDEX launches_by_id ON lti_launch_sessions (launch_id) INCLUDE (user_id);
"""
BOOLEAN = """
ALTER TABLE assessments ALTER COLUMN is_active DROP DEFAULT;
ALTER TABLE assessments ALTER COLUMN is_active TYPE boolean USING is_active::text::boolean;
ALTER TABLE malpractice_levels ALTER COLUMN is_active DROP DEFAULT;
ALTER TABLE malpractice_levels ALTER COLUMN is_active TYPE boolean USING is_active::text::boolean;
"""
OTHER_SCHEMA = f"""
CREATE SCHEMA platform;
GRANT USAGE ON SCHEMA platform TO {WRITER};
ALTER TABLE lti_launch_sessions SET SCHEMA platform;
ALTER TABLE submission_files SET SCHEMA platform;
DO $$ BEGIN EXECUTE format(
    'ALTER ROLE {WRITER} IN DATABASE %I SET search_path = platform, public', current_database());
END $$;
"""


@pytest.mark.parametrize(
    "change", [VIEW, UNIQUE_INDEX, BOOLEAN, OTHER_SCHEMA], ids=["view", "index", "bool", "schema"]
)
async def test_other_forms_of_the_tables_work(
    scenario: Scenario, env: dict[str, str], change: str
) -> None:
    async with scenario.target() as target:
        await target.execute(change)

    checked = await run_cli(env, "check")
    assert checked.code == 0, checked.output
    assert "ok   target: launch_id is unique" in checked.stdout
    ran = await run_cli(env)
    assert ran.code == 0, ran.output
    assert summary(scenario.data_dir)["migrated"] == 3
    again = await run_cli(env)
    assert again.code == 0, again.output
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": 3}
    if change != OTHER_SCHEMA:  # the superuser of the queries has another search path
        assert await scenario.attempts() == [1, 2, 3]
        await assert_consistent(scenario)


async def test_a_table_without_a_unique_key_is_still_found(
    scenario: Scenario, env: dict[str, str]
) -> None:
    async with scenario.target() as target:
        await target.execute(
            "ALTER TABLE lti_launch_sessions "
            "DROP CONSTRAINT IF EXISTS lti_launch_sessions_launch_id_key"
        )
    checked = await run_cli(env, "check")
    assert checked.code == 1, checked.output
    assert "lti_launch_sessions: no unique key on launch_id" in checked.stdout
