"""The smallest changes of single columns of a submission in the target."""

import asyncpg

FIND = {
    "lti_launch_sessions": "launch_id = $1",
    "lti_session_records": "launch_id = $1",
    "assignment_submissions": "lti_launch_id = $1",
}
IN_SUBMISSION = "submission_id = (SELECT id FROM assignment_submissions WHERE lti_launch_id = $1)"


async def change_column(target: asyncpg.Connection, launch_id: str, name: str, column: str) -> None:
    """Give a row of the submission a value in this column that hardly differs from the former one.

    A foreign key would refuse most of them: ``session_replication_role`` must be ``replica``.
    """
    kind = await target.fetchval(
        "SELECT format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = to_regclass($1) AND attname = $2",
        name,
        column,
    )
    changed = {
        "boolean": f'NOT "{column}"',
        "integer": f'coalesce("{column}", 0) + 1',
        "real": f'coalesce("{column}" * 1.0000002, 0)',
        "timestamp with time zone": f"\"{column}\" + interval '1 microsecond'",
        "submission_file_type": "'feedback'",
        "marking_status": "'on_hold'",
        "json": "'{}'",
        "jsonb": "'{}'",
    }.get(kind, f"coalesce(\"{column}\", '') || ' '")
    updated = await target.execute(
        f'UPDATE "{name}" SET "{column}" = {changed} WHERE ctid = ('
        f'SELECT ctid FROM "{name}" WHERE {FIND.get(name, IN_SUBMISSION)} ORDER BY 1 LIMIT 1)',
        launch_id,
    )
    assert updated == "UPDATE 1", (name, column)
