"""Applies the changes of a data set to the embedded servers and the data directory."""

from typing import Final

import aiohttp
import asyncpg

from rogo_async.demo.changes.changed_dataset import ChangedDataset
from rogo_async.demo.dataset.load import copy_rows, write_inputs
from rogo_async.demo.servers.blob_container import REQUEST_TIMEOUT_S, Container, run_concurrently
from rogo_async.demo.servers.stack import Stack, Workspace

_DELETIONS: Final = (
    'DELETE FROM "dbo"."Rogo_AssessmentReport" WHERE "AttemptId" = ANY ($1::int[])',
    'DELETE FROM "dbo"."Rogo_AssessmentReportScores" WHERE "AttemptId" = ANY ($1::int[])',
)


async def change_source(changed: ChangedDataset, stack: Stack, workspace: Workspace) -> None:
    """Rewrites submission_files.csv and the warehouse rows, and uploads the files that were added.

    Raises the client's error when a server fails.
    """
    write_inputs(changed.after, workspace.data_dir)
    await _change_warehouse(changed, stack.postgres.dsn(workspace.warehouse))
    known = {blob.path for blob in changed.before.blobs()}
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        container = Container(stack.azurite, workspace.source_container, session)
        added = [blob for blob in changed.after.blobs() if blob.path not in known]
        await run_concurrently(container.upload, added)


async def change_platform(changed: ChangedDataset, stack: Stack, workspace: Workspace) -> None:
    """Executes the platform's statements, each in its own transaction.

    Raises ValueError if a statement does not change exactly one row.
    """
    connection = await asyncpg.connect(stack.postgres.dsn(workspace.target))
    try:
        for attempt, change in changed.platform_changes():
            submission_id = await connection.fetchval(
                "SELECT id FROM assignment_submissions WHERE starts_with(lti_launch_id, $1)",
                f"rogo_{attempt}_",
            )
            done = await connection.execute(change.sql, submission_id)
            if done.split()[-1] != "1":
                raise ValueError(f"attempt {attempt}, {change.name}: {done}")
    finally:
        await connection.close()


async def _change_warehouse(changed: ChangedDataset, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for statement in _DELETIONS:
                await connection.execute(statement, list(changed.changed))
            for table, rows in (
                ("Rogo_AssessmentReport", changed.after.reports()),
                ("Rogo_AssessmentReportScores", changed.after.scores()),
            ):
                new = [row for row in rows if row["AttemptId"] in changed.changed]
                await copy_rows(connection, "dbo", table, new)
    finally:
        await connection.close()
