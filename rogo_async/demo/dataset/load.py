"""Loads a generated data set into the embedded servers and the data directory."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg

from rogo_async.demo.checks.check_files import INPUT, MAPPING
from rogo_async.demo.dataset.builder import ScriptedRoute
from rogo_async.demo.dataset.dataset import Dataset, generate
from rogo_async.demo.dataset.reference_data import Row
from rogo_async.demo.servers.blob_container import REQUEST_TIMEOUT_S, Container, run_concurrently
from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace

COPY_TIMEOUT_S: Final = 300.0
_ROWS_PER_COPY: Final = 5_000

_TARGET_TABLES: Final = (
    "users",
    "assessments",
    "assessment_sections",
    "malpractice_levels",
    "lti_launch_sessions",
    "lti_session_records",
    "assignment_submissions",
    "submission_files",
    "submission_marking_assignments",
    "malpractice_enforcements",
)
"""Tables with rows before the run; referenced tables come first."""


def generate_for(stack: Stack, workspace: Workspace, rows: int, seed: int) -> Dataset:
    """A data set with the URLs of the workspace's sources."""
    return generate(rows, seed, stack.source_url(workspace), stack.source.origin)


async def load(dataset: Dataset, stack: Stack, workspace: Workspace) -> None:
    """Fills the empty databases, source container and data directory of a workspace.

    Raises the client's error when a server fails.
    """
    write_inputs(dataset, workspace.data_dir)
    set_routes(dataset, stack)
    await _fill_target(dataset, stack.postgres.dsn(workspace.target))
    await _fill_warehouse(dataset, stack.postgres.dsn(workspace.warehouse))
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        container = Container(stack.azurite, workspace.source_container, session)
        await run_concurrently(container.upload, dataset.blobs())


def set_routes(dataset: Dataset, stack: Stack) -> None:
    """Configures the responses of the scripted source, which are lost when it stops."""
    stack.source.routes.update({route.path: _answer(route) for route in dataset.routes})


def write_inputs(dataset: Dataset, data_dir: Path) -> None:
    """Writes submission_files.csv and attempt_number_mapping.csv, readable by the owner only."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in ((INPUT, dataset.submission_csv()), (MAPPING, dataset.mapping_csv())):
        path = data_dir / name
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(text)


def _answer(route: ScriptedRoute) -> Answer:
    body = route.blob.body() if route.blob else b""
    return Answer(route.status, body, dict(route.headers), route.location)


async def _fill_target(dataset: Dataset, dsn: str) -> None:
    unknown = dataset.target.keys() - set(_TARGET_TABLES)
    if unknown:
        raise ValueError(f"tables without a load order: {sorted(unknown)}")
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for table in _TARGET_TABLES:
                await copy_rows(connection, "public", table, dataset.target.get(table, ()))
    finally:
        await connection.close()


async def _fill_warehouse(dataset: Dataset, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await copy_rows(connection, "dbo", "Rogo_AssessmentReport", dataset.reports())
        await copy_rows(connection, "dbo", "Rogo_AssessmentReportScores", dataset.scores())
    finally:
        await connection.close()


async def copy_rows(
    connection: asyncpg.Connection, schema: str, table: str, rows: Iterable[Row]
) -> None:
    """Copies rows into a table; rows with the same columns are copied together."""
    for chunk in _chunks(iter(rows)):
        by_columns: dict[tuple[str, ...], list[tuple[object, ...]]] = defaultdict(list)
        for row in chunk:
            by_columns[tuple(row)].append(tuple(row.values()))
        for columns, records in by_columns.items():
            await connection.copy_records_to_table(
                table,
                schema_name=schema,
                columns=columns,
                records=records,
                timeout=COPY_TIMEOUT_S,
            )


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while chunk := list(islice(rows, _ROWS_PER_COPY)):
        yield chunk
