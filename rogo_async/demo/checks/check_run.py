"""Holds a finished run against the known answer, each check named in an operator's words.

Nothing of the migration's code takes part: what is wrong in both would go unseen.
"""

import aiohttp
import asyncpg

from rogo_async.demo.checks.check_blobs import check_blobs
from rogo_async.demo.checks.check_files import Run, check_files
from rogo_async.demo.checks.check_postgres import check_target
from rogo_async.demo.checks.comparison import CheckResult
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.servers.blob_container import REQUEST_TIMEOUT_S, Container
from rogo_async.demo.servers.stack import Stack, Workspace

__all__ = ["CheckResult", "check"]


async def check(dataset: Dataset, stack: Stack, workspace: Workspace) -> list[CheckResult]:
    """Compares target, blobs and files with the answer, after the data set's first full run.

    A check that fails is no exception: it is in the list, with what it found. Raises the error
    of a server that does not answer.
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
    files = check_files(Run(dataset, target.migrated, workspace.data_dir))
    return [*target.results, *blobs, *files]
