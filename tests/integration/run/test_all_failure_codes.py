"""Hundreds of generated rows with every outcome, compared with the expected result."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rogo_async.commands.plan import PLAN
from rogo_async.common.errors import FailureCode
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import Status
from tests.support.builders import Scenario
from tests.support.cli import FAILED, MIGRATED, CliResult, run_cli, summary, table
from tests.support.codes import FIRST_RUN_CODES, FIRST_RUN_SKIPS
from tests.support.snapshot import take_snapshot

ROWS = 300
SEED = 7


@pytest.fixture
async def dataset(stack: Stack, workspace: Workspace) -> Dataset:
    made = generate_for(stack, workspace, ROWS, SEED)
    await load(made, stack, workspace)
    return made


async def test_every_row_has_its_expected_outcome_also_in_a_second_run(
    dataset: Dataset, stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    planned = await _plan(stack, workspace, env)
    first = await _first_run(dataset, stack, workspace, env)
    left_open = _plan_and_run_agree(planned, workspace, first)
    assert {
        row["Attempt ID"] for row in await _plan(stack, workspace, env) if row["Open"]
    } == left_open
    second = await _second_run(workspace, env, first)
    await _run_of_the_failed_rows(workspace, env, second)


async def _plan(stack: Stack, workspace: Workspace, env: dict[str, str]) -> list[dict[str, str]]:
    """The rows of plan.csv. The plan must change nothing."""
    scenario = Scenario(stack, workspace)
    before = await take_snapshot(scenario, PLAN)
    ended = await run_cli(env, "plan")
    assert ended.code == 1, ended.output
    assert await take_snapshot(scenario, PLAN) == before
    rows = table(workspace.data_dir / PLAN)
    assert len(rows) == ROWS
    migrate = sum(row["Outcome"] == "migrate" for row in rows)
    assert f"{ROWS:,} rows: {migrate:,} would migrate" in ended.stdout
    return rows


def _plan_and_run_agree(
    planned: list[dict[str, str]], workspace: Workspace, found: dict[str, Any]
) -> set[str]:
    """Every row has the planned outcome and code, except rows with open codes.

    Returns the attempts of the exceptions.
    """
    failed = Counter(
        (_plain(row["Attempt ID"]), row["Error"].partition(": ")[0])
        for row in table(workspace.data_dir / FAILED)
    )
    foreseen = Counter(
        (_plain(row["Attempt ID"]), row["Code"]) for row in planned if row["Outcome"] == "fail"
    )
    assert foreseen - failed == Counter()
    to_migrate = {row["Attempt ID"]: row["Open"] for row in planned if row["Outcome"] == "migrate"}
    surprises = failed - foreseen
    for attempt, code in surprises:
        assert code in to_migrate[attempt].split()
    assert {code for _, code in surprises} == {FailureCode.FILE_CORRUPT}
    migrated = {row["Attempt ID"] for row in table(workspace.data_dir / MIGRATED)}
    assert to_migrate.keys() - {attempt for attempt, _ in surprises} <= migrated
    skipped = Counter(row["Code"] for row in planned if row["Outcome"] == "skip")
    assert skipped == {code: found["by_code"][code] for code in FIRST_RUN_SKIPS}
    return {attempt for attempt, _ in surprises}


def _plain(attempt_id: str) -> str:
    """The Attempt ID as a number, if it is one: the plan has 7 for 007."""
    text = attempt_id.strip()
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 12 else text


async def _first_run(
    dataset: Dataset, stack: Stack, workspace: Workspace, env: dict[str, str]
) -> dict[str, object]:
    ended = await run_cli(env)
    found = summary(workspace.data_dir)
    assert ended.code == found["exit_code"] == 1
    assert set(found["by_code"]) == FIRST_RUN_CODES
    assert found["by_code"] == dict(dataset.by_code())
    assert found["rows_total"] == ROWS
    assert found["not_reached"] == 0
    assert found["failed_new"] == found["failed"] == dataset.counts()[Status.FAILED]
    assert found["migrated"] == dataset.counts()[Status.MIGRATED] > 0
    _says_how_it_ended(ended, found)
    results = await check(dataset, stack, workspace)
    assert len(results) > 5
    assert [result for result in results if not result.ok] == []
    return found


def _says_how_it_ended(ended: CliResult, found: dict[str, object]) -> None:
    assert f"{found['failed']:,} failed" in ended.stdout
    assert FAILED in ended.stdout
    assert ended.messages == []
    assert ended.events("internal error") == []


async def _second_run(
    workspace: Workspace, env: dict[str, str], first: dict[str, object]
) -> dict[str, object]:
    failed_file = workspace.data_dir / FAILED
    failed = failed_file.read_bytes()
    codes = _codes(failed_file)
    ended = await run_cli(env)
    found = summary(workspace.data_dir)
    assert ended.code == 1
    assert found["migrated"] == 0
    assert found["failed"] == first["failed"]
    assert found["failed_new"] == 0
    assert _codes(failed_file) == codes
    kept = workspace.data_dir / "runs" / f"{first['run_id']}.failed.csv"
    assert kept.read_bytes() == failed
    return found


async def _run_of_the_failed_rows(
    workspace: Workspace, env: dict[str, str], second: dict[str, object]
) -> None:
    failed_file = workspace.data_dir / FAILED
    before = failed_file.read_bytes()
    ended = await run_cli(env, "run", "--input", FAILED)
    found = summary(workspace.data_dir)
    assert ended.code == 1
    assert found["rows_total"] == found["failed"] == second["failed"]
    assert found["failed_new"] == 0
    assert failed_file.read_bytes() == before
    again = workspace.data_dir / "runs" / f"{found['run_id']}.failed.csv"
    assert _codes(again) == _codes(failed_file)
    assert f"runs/{found['run_id']}.failed.csv" in ended.stdout


def _codes(path: Path) -> list[tuple[tuple[str, ...], str]]:
    """Every failed row, cell by cell, with its code and without the message, in some order."""
    rows = [tuple(row.values()) for row in table(path)]
    return sorted((row[:-1], row[-1].partition(": ")[0]) for row in rows)
