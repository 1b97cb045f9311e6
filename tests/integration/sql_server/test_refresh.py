"""Reconcile and refresh with the T-SQL server as warehouse, through both drivers (§5)."""

from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.changes.changed_dataset import change
from rogo_async.demo.changes.check_refresh import check_refresh
from rogo_async.demo.changes.known_answer import Outcome, Verdict
from rogo_async.demo.changes.load_changes import change_platform, change_source
from rogo_async.demo.changes.snapshot import read_target
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.cli import run_cli, summary, table
from tests.support.fake_sql_server import FakeSqlServer
from tests.support.sql_server import DRIVERS, served, tables_of

ROWS = 100
SEED = 3


async def test_verify_and_refresh_give_the_known_answers(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    """The values that the drivers read are those that the migration has written."""
    microsoft, freetds = DRIVERS
    dsn = stack.postgres.dsn(workspace.target)
    dataset = generate_for(stack, workspace, ROWS, SEED)
    await load(dataset, stack, workspace)
    async with FakeSqlServer(tables_of(dataset)) as running:
        for driver in (freetds, microsoft):
            text = served(running, driver)
            ended = await run_cli(env, "run", "--refresh", DATA_WAREHOUSE_CONNECTION_STRING=text)
            assert ended.code == ExitCode.SOME_FAILED, ended.output
            verified = await run_cli(
                env, "verify", "--source", "--quick", DATA_WAREHOUSE_CONNECTION_STRING=text
            )
            assert verified.code == ExitCode.DONE, verified.output
            assert table(workspace.data_dir / "verification_failures.csv") == []
        assert summary(workspace.data_dir)["refreshed"] == 0
        assert running.unknown == []

    changed = change(dataset, SEED)
    await change_source(changed, stack, workspace)
    await change_platform(changed, stack, workspace)
    before = await read_target(dsn)
    async with FakeSqlServer(tables_of(changed.after)) as running:
        text = served(running, microsoft)
        await run_cli(env, "verify", "--source", "--quick", DATA_WAREHOUSE_CONNECTION_STRING=text)
        verdicts: dict[int, set[str]] = {}
        for row in table(workspace.data_dir / "verification_failures.csv"):
            if row["Verdict"] in {*Verdict, "unexplained"}:
                verdicts.setdefault(int(row["Attempt ID"]), set()).add(row["Verdict"])
        text = served(running, freetds)
        ended = await run_cli(env, "run", "--refresh", DATA_WAREHOUSE_CONNECTION_STRING=text)
        assert running.unknown == []
    assert verdicts == {
        attempt: {*map(str, each.answer.verdicts)}
        for attempt, each in changed.changed.items()
        if each.answer.verdicts
    }
    assert ended.code == ExitCode.SOME_FAILED, ended.output
    found = summary(workspace.data_dir)
    assert found["refreshed"] == changed.counts()[Outcome.REFRESHED] > 10
    results = check_refresh(changed, before, await read_target(dsn))
    assert [each for each in results if not each.ok] == []
