"""Compares a finished run with the expected results.

The checks use none of the migration's code, so they cannot repeat its errors.
"""

import aiohttp
import asyncpg

from rogo_async.demo.checks.check_blobs import check_blobs
from rogo_async.demo.checks.check_files import FinishedRun, check_files
from rogo_async.demo.checks.check_postgres import check_target
from rogo_async.demo.checks.comparison import CheckResult
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.servers.blob_container import REQUEST_TIMEOUT_S, Container
from rogo_async.demo.servers.stack import Stack, Workspace

__all__ = ["CheckResult", "check"]


async def check(dataset: Dataset, stack: Stack, workspace: Workspace) -> list[CheckResult]:
    """Compares target, blobs and files with the expected results of one complete run.

    Raises the client's error when a server does not respond.
    """
    connection = await asyncpg.connect(stack.postgres.dsn(workspace.target))
    try:
        target = await check_target(dataset, connection, workspace.container)
    finally:
        await connection.close()
    expected = sum(len(submission.files()) for submission in dataset.submissions())
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        container = Container(stack.azurite, workspace.container, session)
        blobs = await check_blobs(container, target.files, expected)
    files = check_files(FinishedRun(dataset, target.migrated, workspace.data_dir))
    return [*target.results, *blobs, *files]
