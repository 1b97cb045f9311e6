"""Rule 8: attempts with several report rows, in ``plan`` and ``run`` alike."""

from datetime import timedelta

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import INSERTED, Scenario
from tests.support.cli import run_cli, table

MODIFIED = INSERTED + timedelta(days=1)
LATEST = {"ROGO_AMBIGUOUS_REPORTS": "latest"}
EQUAL, DIFFERENT, TIED = 1, 2, 3


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Three attempts with two report rows each."""
    made = Scenario(stack, workspace)
    await made.load(
        [
            made.submission(EQUAL, MarksAwarded=1),
            made.submission(DIFFERENT, DateModified=MODIFIED, Grade="Merit"),
            made.submission(TIED, DateModified=None),
        ]
    )
    await add_report(made, EQUAL, {"MarksAwarded": 2, "Grade": " Pass "})
    await add_report(made, DIFFERENT, {"DateModified": None, "Grade": "Pass"})
    await add_report(made, TIED, {"DateModified": INSERTED, "Grade": "Merit"})
    return made


async def add_report(scenario: Scenario, attempt: int, changes: dict[str, object]) -> None:
    """Copy the report row of an attempt, with some columns changed."""
    report = 'dbo."Rogo_AssessmentReport"'
    async with scenario.warehouse() as warehouse:
        found = await warehouse.fetchrow(f'SELECT * FROM {report} WHERE "AttemptId" = $1', attempt)
        assert found is not None
        row = {**dict(found), **changes}
        del row["ReportId"]
        columns = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await warehouse.execute(
            f"INSERT INTO {report} ({columns}) VALUES ({values})", *row.values()
        )


def ambiguous(attempts: set[int]) -> dict[int, str]:
    return dict.fromkeys(attempts, "report_ambiguous")


@pytest.mark.parametrize(
    ("settings", "failed"), [({}, {DIFFERENT, TIED}), (LATEST, {TIED})], ids=["fail", "latest"]
)
async def test_rule_8_plan_and_run_agree_on_several_reports(
    scenario: Scenario, env: dict[str, str], settings: dict[str, str], failed: set[int]
) -> None:
    await run_cli({**env, **settings}, "plan")
    planned = table(scenario.data_dir / "plan.csv")
    assert {int(row["Attempt ID"]): row["Code"] for row in planned if row["Code"]} == ambiguous(
        failed
    )
    await run_cli({**env, **settings})
    rows = table(scenario.data_dir / "submissions_failed_migration.csv")
    codes = {int(row["Attempt ID"]): row["Error"].partition(":")[0] for row in rows}
    assert codes == ambiguous(failed)
    assert set(await scenario.attempts()) == {EQUAL, DIFFERENT, TIED} - failed


async def test_rule_8_the_latest_report_is_migrated(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli({**env, **LATEST}, "run", "--attempt", str(DIFFERENT))
    (grade,) = await scenario.rows("submission_grades")
    assert grade["final_grade"] == "Merit"
    assert grade["updated_at"].replace(tzinfo=None) == MODIFIED


async def test_another_value_of_the_setting_is_refused(
    scenario: Scenario, env: dict[str, str]
) -> None:
    result = await run_cli({**env, "ROGO_AMBIGUOUS_REPORTS": "newest"})
    assert result.code == 2
    assert "ROGO_AMBIGUOUS_REPORTS" in result.output
    assert "'fail' or 'latest'" in result.output
    assert await scenario.nothing_written()
