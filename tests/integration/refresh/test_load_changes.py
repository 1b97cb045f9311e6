"""The changes of a data set on the real servers: a first run migrates exactly what was changed."""

import csv
from collections import Counter

import asyncpg

from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.changes.changed_dataset import change
from rogo_async.demo.changes.load_changes import change_source
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.cli import run_cli
from tests.support.fake_sql_server import FakeSqlServer
from tests.support.sql_server import served, tables_of

ROWS = 150


async def test_the_changed_source_is_read_back(
    stack: Stack, workspace: Workspace, env: dict[str, str], warehouse_db: str
) -> None:
    """The checks compare every row of the run with the changed facts."""
    dataset = generate_for(stack, workspace, ROWS, seed=7)
    await load(dataset, stack, workspace)
    changed = change(dataset, 7)
    await change_source(changed, stack, workspace)
    connection = await asyncpg.connect(warehouse_db)
    try:
        for table, read in (
            ("Rogo_AssessmentReport", changed.after.reports),
            ("Rogo_AssessmentReportScores", changed.after.scores),
        ):
            columns = [*next(read())]
            found = await connection.fetch(f'TABLE "dbo"."{table}"')
            assert Counter(str([row[name] for name in columns]) for row in found) == Counter(
                str([*row.values()]) for row in read()
            )
    finally:
        await connection.close()
    with (workspace.data_dir / "submission_files.csv").open(
        encoding="utf-8-sig", newline=""
    ) as file:
        attempts = Counter(row["Attempt ID"].strip() for row in csv.DictReader(file))
    gone = [
        a
        for a, each in changed.changed.items()
        if each.change.source and each.change.source.row_gone
    ]
    assert gone
    assert not attempts.keys() & {*map(str, gone)}

    ended = await run_cli(env, "run")
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    assert [each for each in await check(changed.after, stack, workspace) if not each.ok] == []


async def test_the_changed_source_on_a_sql_server(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    dataset = generate_for(stack, workspace, ROWS, seed=8)
    await load(dataset, stack, workspace)
    changed = change(dataset, 8)
    await change_source(changed, stack, workspace)
    async with FakeSqlServer(tables_of(changed.after)) as running:
        text = served(running, "microsoft")
        ended = await run_cli(env, "run", DATA_WAREHOUSE_CONNECTION_STRING=text)
        assert running.unknown == []
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    assert [each for each in await check(changed.after, stack, workspace) if not each.ok] == []
