"""Complete runs with the T-SQL server as warehouse, with both drivers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pytest

from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.cli import NEW_INTERPRETER, SUMMARY, run_cli
from tests.support.fake_sql_server import Cut, FakeSqlServer, Refuse
from tests.support.sql_server import served, tables_of

ROWS: Final = 200
SOME_ROWS: Final = 120
"""Rows with every failure code, but not with every cause."""
FEW_ROWS: Final = 40
ALWAYS: Final = 1_000_000
PROBES_AT_START: Final = 2
OF_THE_WAREHOUSE: Final = {
    "report_missing",
    "report_ambiguous",
    "report_field_missing",
    "score_field_missing",
}


@dataclass(frozen=True, slots=True)
class Ended:
    """Result of a run: exit code, output, and its summary, if there is one."""

    code: int
    output: str
    errors: str
    summary: dict[str, Any]


async def run(
    env: dict[str, str],
    workspace: Workspace,
    text: str,
    prefix: Sequence[str] = (),
    **settings: str,
) -> Ended:
    """``rogo_async run`` as cron starts it: small environment, no locale."""
    result = await run_cli(
        {**env, "LC_ALL": "C", "DATA_WAREHOUSE_CONNECTION_STRING": text, **settings},
        "run",
        prefix=prefix,
    )
    path = workspace.data_dir / SUMMARY
    found = orjson.loads(path.read_bytes()) if path.exists() else {}
    logged = [orjson.dumps(each).decode() for each in result.log]
    return Ended(result.code, result.stdout, "\n".join([*logged, *result.messages]), found)


async def loaded(stack: Stack, workspace: Workspace, rows: int) -> Dataset:
    """Load a data set; the run does not read the PostgreSQL warehouse of the stack."""
    dataset = generate_for(stack, workspace, rows, seed=7)
    await load(dataset, stack, workspace)
    return dataset


async def test_every_row_has_the_expected_result(
    stack: Stack, workspace: Workspace, env: dict[str, str], driver: str
) -> None:
    dataset = await loaded(stack, workspace, ROWS)
    async with FakeSqlServer(tables_of(dataset)) as running:
        ended = await run(env, workspace, served(running, driver), NEW_INTERPRETER)
        assert running.unknown == []
        assert running.open == 0
    assert ended.code == ExitCode.SOME_FAILED, ended.errors
    failed = [each for each in await check(dataset, stack, workspace) if not each.ok]
    assert failed == []
    assert '"event":"warehouse driver"' in ended.errors
    assert "odd}pass" not in ended.errors


async def test_transient_errors_fail_no_row(
    stack: Stack, workspace: Workspace, env: dict[str, str], driver: str
) -> None:
    dataset = await loaded(stack, workspace, SOME_ROWS)
    async with FakeSqlServer(tables_of(dataset)) as running:
        running.on("login", Refuse(40613, severity=17), 2)
        running.on("catalogue", Refuse(4060, severity=11))
        running.on("reports", Refuse(1205, severity=13, after_rows=True))
        running.on("reports", Cut(0.7))
        running.on("scores", Refuse(40197, severity=20))
        running.on("scores", Cut(0.3))
        ended = await run(env, workspace, served(running, driver))
        assert not running.waiting
    assert ended.code == ExitCode.SOME_FAILED, ended.errors
    failed = [each for each in await check(dataset, stack, workspace) if not each.ok]
    assert failed == []
    assert ended.summary["retries"]


@pytest.mark.parametrize(
    ("driver", "moment", "number", "words"),
    [
        ("microsoft", "login", 18456, "login failed"),
        ("freetds", "login", 18456, "login failed"),
        ("microsoft", "login", 4060, "cannot open the database"),
        ("microsoft", "probe", 208, "table dbo.Rogo_AssessmentReport does not exist"),
        ("freetds", "probe", 229, "Grant SELECT on dbo.Rogo_AssessmentReport"),
    ],
)
async def test_permanent_error_at_start(
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    driver: str,
    moment: str,
    number: int,
    words: str,
) -> None:
    dataset = await loaded(stack, workspace, FEW_ROWS)
    async with FakeSqlServer(tables_of(dataset)) as running:
        running.on(moment, Refuse(number, severity=14), ALWAYS)
        ended = await run(env, workspace, served(running, driver))
    assert ended.code == ExitCode.SETUP, ended.errors
    last = ended.errors.splitlines()[-1]
    assert last.startswith("rogo_async: warehouse: ")
    assert words in last
    assert ended.summary == {}


@pytest.mark.parametrize(
    ("driver", "moment", "fault", "words"),
    [
        ("microsoft", "probe", Refuse(229), "Grant SELECT on dbo.Rogo_AssessmentReport"),
        ("freetds", "login", Refuse(18456, severity=14), "login failed"),
        ("microsoft", "login", Refuse(40613, severity=17), "error 40613"),
        ("freetds", "login", Refuse(4060, severity=11), "cannot open the database"),
    ],
)
async def test_permanent_error_later(
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    driver: str,
    moment: str,
    fault: Refuse,
    words: str,
) -> None:
    dataset = await loaded(stack, workspace, FEW_ROWS)
    async with FakeSqlServer(tables_of(dataset)) as running:
        running.on(moment, fault, ALWAYS, after=PROBES_AT_START if moment == "probe" else 1)
        for operation in ("reports", "scores"):
            running.on(operation, fault if moment == "probe" else Cut(0.5), ALWAYS)
        ended = await run(env, workspace, served(running, driver), ROGO_OUTAGE_LIMIT="2")
    assert ended.code == ExitCode.STOPPED_EARLY, ended.errors
    assert words in ended.output
    assert len(ended.output.splitlines()) == 1
    assert not ended.summary["by_code"].keys() & OF_THE_WAREHOUSE
    assert ended.summary["migrated"] == 0
    assert ended.summary["not_reached"] > 0
    assert [each["dependency"] for each in ended.summary["outages"]] == ["warehouse"]


async def test_server_that_never_starts(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    dataset = await loaded(stack, workspace, FEW_ROWS)
    async with FakeSqlServer(tables_of(dataset)) as running:
        text = served(running, "freetds")
    ended = await run(env, workspace, text, ROGO_OUTAGE_LIMIT="1")
    assert ended.code == ExitCode.STOPPED_EARLY, ended.errors
    assert "warehouse unreachable for 1 s" in ended.output
    assert "DATA_WAREHOUSE_CONNECTION_STRING" in ended.output
