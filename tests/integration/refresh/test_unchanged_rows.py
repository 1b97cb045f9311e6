"""``run --refresh`` reads no row of a submission that has not changed, and misses no change.

Specification §5.
"""

from collections.abc import Awaitable, Callable

import asyncpg

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.existing_rows import RULES
from rogo_async.destination.postgres.row_comparison import RULE, SUBMISSION
from tests.support.builders import INSERTED, Scenario, SourceSubmission
from tests.support.changed_columns import change_column
from tests.support.cli import run_cli, summary, table

Change = Callable[[asyncpg.Connection, str], Awaitable[object]]

NOT_COMPARED = {
    ("assignment_submissions", "id"),  # all rows are found through it
    ("assignment_submissions", "total_file_size"),
    ("submission_files", "file_size"),
}
ID = "(SELECT id FROM assignment_submissions WHERE lti_launch_id = $1)"
ROWS = {
    "another file": "INSERT INTO submission_files (submission_id, file_url) "
    f"VALUES ({ID}, 'https://files.example/1')",
    "another mark": f"INSERT INTO submission_section_marks (submission_id) VALUES ({ID})",
    "another marking": f"INSERT INTO submission_marking_assignments (submission_id) VALUES ({ID})",
    "another submission of the launch": "INSERT INTO assignment_submissions "
    "(lti_session_record_id, lti_launch_id, lms_user_id, context_id) "
    "SELECT lti_session_record_id, lti_launch_id, '', '' FROM assignment_submissions "
    "WHERE lti_launch_id = $1",
    "a rule": "INSERT INTO malpractice_enforcements (submission_id, lms_user_id, "
    "custom_assessment_code, malpractice_level_id, rule_applied_by) "
    f"VALUES ({ID}, '', '', 'level', 'user')",
    "one mark less": f"DELETE FROM submission_section_marks WHERE submission_id = {ID} "
    "AND section_id = 'section-5-2'",
    "one mark replaced": "UPDATE submission_section_marks SET id = 'other' "
    f"WHERE submission_id = {ID} AND section_id = 'section-5-2'",
    "no grade": f"DELETE FROM submission_grades WHERE submission_id = {ID}",
}


RULE_ROWS = {
    "no rule": f"DELETE FROM malpractice_enforcements WHERE submission_id = {ID}",
    "two rules": "INSERT INTO malpractice_enforcements (submission_id, lms_user_id, "
    "custom_assessment_code, context_id, malpractice_level_id, rule_applied_by) "
    "SELECT submission_id, lms_user_id, custom_assessment_code, context_id, malpractice_level_id, "
    f"rule_applied_by FROM malpractice_enforcements WHERE submission_id = {ID}",
}


def column(name: str, column_name: str) -> Change:
    return lambda target, launch_id: change_column(target, launch_id, name, column_name)


def statement(sql: str) -> Change:
    return lambda target, launch_id: target.execute(sql, launch_id)


OF_RULES: dict[str, Change] = {
    **{
        f"{RULES}.{name}": column(RULES, name)
        for name in RULE.tables[RULES].columns
        if name != "id"
    },
    **{name: statement(sql) for name, sql in RULE_ROWS.items()},
}
CHANGES: dict[str, Change] = {
    **OF_RULES,
    **{
        f"{definition.name}.{name}": column(definition.name, name)
        for definition in SUBMISSION.tables.values()
        for name in definition.columns
        if (definition.name, name) not in NOT_COMPARED
    },
    **{name: statement(sql) for name, sql in ROWS.items()},
}


def submission(scenario: Scenario, attempt: int) -> SourceSubmission:
    """The first ones, and the last one, have malpractice."""
    is_pass = len(OF_RULES) < attempt < len(CHANGES) + 2
    grade = "Pass" if is_pass else "Malpractice Moderate"
    made = scenario.submission(attempt, GradePercent=66.67, MarkerNotes="a\tnote", Grade=grade)
    made.scores = [
        {"ScoreLabelCorrected": "Question 1", "Score": 20.1, "DateInserted": INSERTED},
        {"ScoreLabelCorrected": "Question 2", "Score": 20, "MarkerComment": 'gööd \\ "{,}"'},
    ]
    return made


async def test_each_change_is_found_and_no_row_of_the_others_is_read(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load(submission(scenario, attempt) for attempt in range(1, len(CHANGES) + 3))
    assert (await run_cli(env)).code == 0
    async with scenario.warehouse() as warehouse:  # the scores come in another order
        await warehouse.execute(
            'UPDATE dbo."Rogo_AssessmentReportScores" SET "Score" = "Score" '
            "WHERE \"ScoreLabelCorrected\" = 'Question 1'"
        )
    assert (await run_cli(env, "run", "--refresh")).code == 0
    intact = summary(scenario.data_dir)
    assert intact["by_code"] == {"already_migrated": len(CHANGES) + 2}
    assert "target.unchanged_rows" in intact["latency_ms"]
    assert "target.existing_rows" not in intact["latency_ms"]

    launch_ids = {
        int(row["launch_id"].split("_")[1]): row["launch_id"]
        for row in await scenario.rows("lti_launch_sessions")
    }
    async with scenario.target() as target:
        await target.execute("SET session_replication_role = replica")
        for attempt, change in enumerate(CHANGES.values(), start=1):
            await change(target, launch_ids[attempt])
    planned = await run_cli(env, "plan", "--refresh")
    assert planned.code == 0, planned.output
    codes = {row["Attempt ID"]: row["Code"] for row in table(scenario.data_dir / "plan.csv")}
    wrong = {
        name: codes[str(attempt)]
        for attempt, name in enumerate(CHANGES, start=1)
        if codes[str(attempt)] != "changed_on_platform"
    }
    assert wrong == {}
    intact_attempts = (len(CHANGES) + 1, len(CHANGES) + 2)
    assert {codes[str(attempt)] for attempt in intact_attempts} == {"already_migrated"}
