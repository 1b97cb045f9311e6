"""Writes the expected result of a run with refresh without the code of the migration.

Tests of the demo's checks use it: all checks pass, and after a change the right one fails.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import asyncpg

from rogo_async.demo.changes.changed_dataset import ChangedDataset
from rogo_async.demo.changes.check_refresh import expected_rules
from rogo_async.demo.changes.snapshot import RULES, TargetSnapshot
from rogo_async.demo.checks.expected import TIME_OF_INSERT, ExpectedSubmission
from tests.support.expected_run import insert


async def write_expected_refresh(
    changed: ChangedDataset, before: TargetSnapshot, connection: asyncpg.Connection
) -> None:
    """Write the new rows of each refreshed submission in one transaction, then the rules."""
    for attempt, expected in changed.refreshed().items():
        async with connection.transaction():
            await _rewrite(connection, before.submission_ids[attempt], expected)
    async with connection.transaction():
        await _rewrite_rules(connection, changed, before)


async def _rewrite(
    connection: asyncpg.Connection, submission_id: str, expected: ExpectedSubmission
) -> None:
    (row,) = await connection.fetch(
        "SELECT lti_launch_id AS launch FROM assignment_submissions WHERE id = $1", submission_id
    )
    by_launch = {"launch_id": row["launch"]}
    mine = {"submission_id": submission_id}
    await _update(connection, "lti_launch_sessions", expected.launch_session(), by_launch)
    await _update(connection, "lti_session_records", expected.session_record(), by_launch)
    await _update(
        connection,
        "assignment_submissions",
        expected.assignment_submission(),
        {"id": submission_id},
    )
    marking = expected.marking_assignment()
    marking.pop("assigned_at")
    await _update(connection, "submission_marking_assignments", marking, mine)
    await _update(connection, "submission_grades", expected.grade(), mine)
    for file in expected.files():
        await _update(connection, "submission_files", file.row, mine | {"upload_order": file.order})
    marks = {str(mark["section_id"]): mark for mark in expected.section_marks()}
    await connection.execute(
        "DELETE FROM submission_section_marks WHERE submission_id = $1 AND section_id <> ALL ($2)",
        submission_id,
        [*marks],
    )
    for section, mark in marks.items():
        place = mine | {"section_id": section}
        if await _update(connection, "submission_section_marks", mark, place) == "UPDATE 0":
            await insert(connection, "submission_section_marks", mark | mine)


async def _rewrite_rules(
    connection: asyncpg.Connection, changed: ChangedDataset, before: TargetSnapshot
) -> None:
    for key, rules in expected_rules(changed, before).items():
        await connection.execute(
            "DELETE FROM malpractice_enforcements "
            "WHERE (lms_user_id, custom_assessment_code, context_id) = ($1, $2, $3)",
            *key,
        )
        for rule in rules:
            kept = {"id": rule.row_id} if rule.row_id else {}
            if rule.attempt is not None:
                kept["submission_id"] = before.submission_ids[rule.attempt]
            await insert(connection, RULES, rule.columns | kept)


async def _update(
    connection: asyncpg.Connection,
    table: str,
    columns: Mapping[str, object],
    place: Mapping[str, object],
) -> str:
    now = datetime.now(UTC)
    values = [now if value is TIME_OF_INSERT else value for value in columns.values()]
    settings = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, start=1))
    conditions = " AND ".join(
        f"{name} = ${n}" for n, name in enumerate(place, start=1 + len(columns))
    )
    return str(
        await connection.execute(
            f"UPDATE {table} SET {settings} WHERE {conditions}",
            *values,
            *place.values(),
        )
    )
