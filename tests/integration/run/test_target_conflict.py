"""Changes in the target between the start of a run and a write (rules 3 and 15)."""

import pytest

from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.identity import launch_id
from tests.support.builders import Scenario, SourceSubmission
from tests.support.cli import FAILED, CliResult, failures, run_cli, start_cli, summary, table

SLOW_S = 2.5


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


def slow(scenario: Scenario, attempt: int, **report: object) -> SourceSubmission:
    """A submission whose file is slow enough for the target to change before the write."""
    made = scenario.submission(attempt, **report)
    scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt, delay_s=SLOW_S)
    return made


async def run_while(scenario: Scenario, env: dict[str, str], sql: str) -> CliResult:
    """Run, and execute ``sql`` in the target during the first downloads."""
    async with start_cli(env) as command:
        await command.wait_for_event("migration begins")
        async with scenario.target() as target, target.transaction():
            await target.execute(sql)
            wrote = await target.fetchval("SELECT count(*) FROM submission_files")
        assert wrote == 0, "the files were too fast for this test"
        return await command.wait()


async def test_a_rejected_key_is_a_conflict_and_the_files_are_kept(
    scenario: Scenario, env: dict[str, str]
) -> None:
    of_assessment = slow(scenario, 1, Exercise="7CD02 Leading People")
    of_assessment.version = "25_01"
    of_section = slow(scenario, 2)
    of_section.scores = [{"ScoreLabelCorrected": "Question 2", "Score": 3}]
    of_level = slow(scenario, 3, Grade="Malpractice: severe")
    of_rule = slow(scenario, 4, Grade="Malpractice: minor")
    await scenario.load([of_assessment, of_section, of_level, of_rule, slow(scenario, 5)])
    result = await run_while(
        scenario,
        env,
        "DELETE FROM assessment_sections WHERE id IN ('section-7-1', 'section-5-2');"
        "DELETE FROM assessments WHERE id = 'assessment-7';"
        "DELETE FROM malpractice_levels WHERE id = 'level-severe';"
        "DELETE FROM users WHERE id = 'user-first'",
    )
    assert result.code == 1, result.output
    assert failures(scenario.data_dir / FAILED) == dict.fromkeys("1234", "target_conflict")
    assert summary(scenario.data_dir)["by_code"] == {"target_conflict": 4}
    messages = {row["Attempt ID"]: row["Error"] for row in table(scenario.data_dir / FAILED)}
    assert "submission_grades" in messages["1"]
    assert "submission_section_marks" in messages["2"]
    assert "submission_grades" in messages["3"]
    assert "malpractice_enforcements" in messages["4"]
    # All rows of a submission or none. Its blobs are kept, since other rows may refer to them.
    assert await scenario.attempts() == [5]
    for name in ("lti_launch_sessions", "lti_session_records", "submission_files"):
        assert len(await scenario.rows(name)) == 1
    assert {name.split("/")[1] for name in await scenario.blobs()} == {
        f"rogo_{attempt}" for attempt in range(1, 6)
    }


async def test_rows_of_another_tool_are_not_changed(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([slow(scenario, attempt) for attempt in (1, 2, 3, 4)])
    whole, launch, record = (launch_id(n, DEMO_LMS.instance_id) for n in (1, 2, 3))
    result = await run_while(
        scenario,
        env,
        "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
        f"VALUES ('{whole}', 'another', now()), ('{launch}', 'another', now());"
        "INSERT INTO lti_session_records (id, launch_id, session_expiry) "
        f"VALUES ('r1', '{whole}', now()), ('r3', '{record}', now());"
        "INSERT INTO assignment_submissions (id, lti_session_record_id, lti_launch_id) "
        f"VALUES ('s1', 'r1', '{whole}')",
    )
    assert result.code == 1, result.output
    assert failures(scenario.data_dir / FAILED) == dict.fromkeys("23", "target_incomplete")
    assert summary(scenario.data_dir)["by_code"] == {"already_migrated": 1, "target_incomplete": 2}
    assert await scenario.attempts() == [1, 4]
    assert {row["consumer_key"] for row in await scenario.rows("lti_launch_sessions")} == {
        "another",
        DEMO_LMS.consumer_key,
    }
    assert len(await scenario.rows("lti_launch_sessions")) == 3
    assert len(await scenario.rows("lti_session_records")) == 3
    assert len(await scenario.rows("submission_files")) == 1


async def test_rejected_content_leaves_no_file_behind(
    scenario: Scenario, env: dict[str, str]
) -> None:
    nul = scenario.submission(1)
    nul.cells["Course Title"] = "Leading\0People"
    great = scenario.submission(2, Grade="Malpractice: considerable")
    great.submission = "Attempt 2147483647"
    await scenario.load([nul, great])
    assert (await run_cli(env)).code == 1
    assert failures(scenario.data_dir / FAILED) == dict.fromkeys("12", "target_refused")
    assert await scenario.nothing_written()
