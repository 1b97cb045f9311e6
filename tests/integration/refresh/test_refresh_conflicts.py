"""Refreshes that meet other keys, triggers and references of the platform (specification §5)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, start_cli, summary
from tests.support.rollback_fixtures import malpractice

RULES = "malpractice_enforcements"


@pytest.fixture
def made(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


async def migrate(made: Scenario, env: dict[str, str], *submissions: tuple[int, int, str]) -> None:
    """Migrate submissions of one key: attempt, attempt number and level of each."""
    await made.load([malpractice(made, *each) for each in submissions])
    result = await run_cli(env, ROGO_CONCURRENCY="1")
    assert result.code == 0, result.output


async def report(made: Scenario, attempt: int, **values: object) -> None:
    """Other values in the report of an attempt."""
    async with made.warehouse() as warehouse:
        for column, value in values.items():
            await warehouse.execute(
                f'UPDATE dbo."Rogo_AssessmentReport" SET "{column}" = $1 WHERE "AttemptId" = $2',
                value,
                attempt,
            )


async def refresh(made: Scenario, env: dict[str, str]) -> dict[str, Any]:
    """Run with ``--refresh`` and return the summary."""
    await run_cli(env, "run", "--refresh", ROGO_CONCURRENCY="1")
    return summary(made.data_dir)


async def rules(made: Scenario) -> list[tuple[object, ...]]:
    return sorted(
        (row["context_id"], row["attempt_number"], row["id"], row["submission_id"])
        for row in await made.rows(RULES)
    )


async def limits(made: Scenario) -> list[object]:
    return [row["enforced_max_attempts"] for row in await made.rows(RULES)]


@asynccontextmanager
async def trigger(made: Scenario, body: str, when: str = "true") -> AsyncIterator[None]:
    """A trigger of the platform before each update of submission_grades."""
    async with made.target() as target:
        await target.execute(
            f"CREATE FUNCTION of_platform() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body} END'"
        )
        await target.execute(
            "CREATE TRIGGER of_platform BEFORE UPDATE ON submission_grades FOR EACH ROW "
            f"WHEN ({when}) EXECUTE FUNCTION of_platform()"
        )
        yield


async def test_a_rollback_restores_the_rule_that_a_moved_submission_took_over(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (1, 2, "Moderate"))
    async with made.target() as target:
        await target.execute(
            f"INSERT INTO {RULES} (id, lms_user_id, custom_assessment_code, context_id, "
            "malpractice_level_id, attempt_number, enforced_max_attempts, rule_applied_by) "
            "SELECT 'platform', lms_user_id, custom_assessment_code, "
            "replace(context_id, '::81', '::99'), malpractice_level_id, 1, 9, rule_applied_by "
            f"FROM {RULES}"
        )
    before = await rules(made)
    await report(made, 1, TISectionId="99")
    found = await refresh(made, env)
    assert found["refreshed"] == 1
    result = await run_cli(env, "rollback", "--run", found["run_id"], "--yes")
    assert result.code == 0, result.output
    assert await rules(made) == before


async def test_a_submission_that_moves_to_another_key_gets_a_rule_there(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (1, 2, "Moderate"), (2, 1, "Moderate"))
    await report(made, 2, TISectionId="99")
    assert (await refresh(made, env))["refreshed"] == 1
    assert len(await rules(made)) == 2


async def test_a_moved_submission_gets_a_rule_although_another_owns_its_first_one(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (2, 2, "Moderate"), (1, 1, "Moderate"))
    before = await rules(made)
    await report(made, 1, TISectionId="99")
    found = await refresh(made, env)
    assert found["refreshed"] == 1
    assert len(await rules(made)) == 2
    undone = await run_cli(env, "rollback", "--run", found["run_id"], "--yes")
    assert undone.code == 0, undone.output
    assert await rules(made) == before


async def test_a_rule_that_the_platform_refers_to_is_not_deleted(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (1, 2, "Moderate"))
    async with made.target() as target:
        await target.execute(
            f"CREATE TABLE appeals (rule varchar REFERENCES {RULES} (id) ON DELETE CASCADE)"
        )
        await target.execute(f"INSERT INTO appeals SELECT id FROM {RULES}")
        await target.execute("GRANT SELECT ON appeals TO PUBLIC")
        await report(made, 1, Grade="Pass")
        found = await refresh(made, env)
        assert found["by_code"] == {"changed_on_platform": 1}
        assert await target.fetchval("SELECT count(*) FROM appeals") == 1


async def test_a_trigger_that_changes_other_columns_is_reported_and_nothing_is_written(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (1, 2, "Moderate"))
    await report(made, 1, MarksAchieved=11)
    async with trigger(made, "NEW.updated_at := now(); RETURN NEW;"):
        found = await refresh(made, env)
    assert (found["refreshed"], found["by_code"]) == (0, {"target_refused": 1})
    (grade,) = await made.rows("submission_grades")
    assert grade["total_marks_awarded"] != 11


async def test_a_trigger_that_raises_an_error_fails_the_row_only(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (1, 2, "Moderate"), (2, 1, "Moderate"))
    await report(made, 1, MarksAchieved=11)
    async with trigger(made, "RAISE EXCEPTION ''released'';", "OLD.final_grade = 'Refer'"):
        found = await refresh(made, env)
    assert (found["exit_code"], found["by_code"]) == (
        1,
        {"already_migrated": 1, "target_refused": 1},
    )


async def test_an_older_row_of_an_attempt_is_not_compared(
    made: Scenario, env: dict[str, str]
) -> None:
    newest = [made.submission(number) for number in range(1, 261)]
    await made.load(newest)
    older = made.submission(260)
    older.cells["Surname"] = "Byron"
    made.write_lines(each.line() for each in [older, *newest])
    assert (await run_cli(env)).code == 0
    result = await run_cli(env, "verify", "--source", "--quick")
    assert "260 submissions compared with the source; 0 differ" in result.stdout, result.output


async def test_one_rollback_undoes_a_run_whose_new_submission_took_a_refreshed_rule(
    made: Scenario, env: dict[str, str]
) -> None:
    """The refresh can be reverted only after the new submission has been deleted."""
    await made.load([malpractice(made, 1, 2, "Moderate"), malpractice(made, 3, 3, "Moderate")])
    assert (await run_cli(env, "run", "--attempt", "1")).code == 0
    before = await rules(made)
    grades = [row["final_grade"] for row in await made.rows("submission_grades")]
    await report(made, 1, Grade="Malpractice Severe")
    async with start_cli(env, "run", "--refresh", ROGO_CONCURRENCY="2") as command:
        with made.source.held("/3.txt"):
            while await limits(made) != [2]:
                assert command.process.returncode is None
                await asyncio.sleep(0.05)
        await command.wait()
    found = summary(made.data_dir)
    assert (found["refreshed"], found["migrated"]) == (1, 1)
    result = await run_cli(env, "rollback", "--run", found["run_id"], "--yes")
    assert result.code == 0, result.output
    assert "former values of 1 refreshed submission put back" in result.stdout
    assert await rules(made) == before
    assert [row["final_grade"] for row in await made.rows("submission_grades")] == grades


async def test_missing_rights_of_a_refresh_are_reported_before_anything_is_compared(
    made: Scenario, env: dict[str, str]
) -> None:
    await migrate(made, env, (1, 2, "Moderate"))
    async with made.target() as target:
        await target.execute("REVOKE UPDATE ON submission_files FROM rogo_writer")
        await target.execute(f"REVOKE DELETE ON {RULES} FROM rogo_writer")
    for command in ("plan", "run"):
        result = await run_cli(env, command, "--refresh")
        assert result.code == 2, result.output
        assert "target: no UPDATE right on submission_files. Grant it" in result.output
        assert f"target: no DELETE right on {RULES}. Grant it" in result.output
        assert (await run_cli(env, command)).code == 0
