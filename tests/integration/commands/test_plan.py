"""``plan`` predicts a run. All codes: test_all_failure_codes."""

import json
from pathlib import Path

import pytest

from rogo_async.commands.plan import RUN_ONLY_CODES
from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, table

PLAN = "plan.csv"


def of(data_dir: Path) -> dict[str, tuple[str, str]]:
    """Outcome and code by attempt."""
    return {row["Attempt ID"]: (row["Outcome"], row["Code"]) for row in table(data_dir / PLAN)}


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, 13)])
    return made


async def test_files_bytes_and_time_are_estimated(scenario: Scenario, env: dict[str, str]) -> None:
    scenario.serve_file("1.txt", b"x" * 3 * 1_048_576)
    result = await run_cli(env, "plan")
    assert result.code == 0, result.output
    assert "12 rows: 12 would migrate (12 files, 3.0 MB; at least" in result.stdout
    first = next(row for row in table(scenario.data_dir / PLAN) if row["Attempt ID"] == "1")
    assert (first["Files"], first["Bytes"]) == ("1", str(3 * 1_048_576))
    assert first["Open"].split() == list(RUN_ONLY_CODES)
    assert (scenario.data_dir / PLAN).stat().st_mode & 0o777 == 0o600


async def test_no_file_is_read(scenario: Scenario, env: dict[str, str]) -> None:
    scenario.source.requests.clear()
    assert (await run_cli(env, "plan")).code == 0
    assert {method for method, _ in scenario.source.requests} == {"HEAD"}


async def test_values_that_postgresql_rejects_are_predicted(
    scenario: Scenario, env: dict[str, str]
) -> None:
    cells = {each: scenario.submission(each) for each in (1, 2)}
    cells[1].cells["Surname"] = "Love\0lace"
    scenario.write_lines(each.line() for each in cells.values())
    assert (await run_cli(env, "plan")).code == 1
    assert of(scenario.data_dir) == {"1": ("fail", "target_refused"), "2": ("migrate", "")}
    assert (await run_cli(env)).code == 1
    assert await scenario.attempts() == [2]


async def test_http_errors_get_the_same_code_as_in_a_run(
    scenario: Scenario, env: dict[str, str]
) -> None:
    scenario.serve_file("5.txt", status=404)
    scenario.serve_file("6.txt", status=403)
    scenario.serve_file("7.txt", status=410)
    scenario.source.routes["/8.txt"] = Answer(status=503, times=2, then=Answer(body=b"there"))
    assert (await run_cli(env, "plan", ROGO_CONCURRENCY="1")).code == 1
    failing = {
        "5": ("fail", "source_file_missing"),
        "6": ("fail", "source_forbidden"),
        "7": ("fail", "source_refused"),
    }
    sound = {str(each): ("migrate", "") for each in (1, 2, 3, 4, 8, 9, 10, 11, 12)}
    assert of(scenario.data_dir) == {**sound, **failing}


async def test_a_plan_takes_no_lock_and_respects_a_selection(
    scenario: Scenario, env: dict[str, str]
) -> None:
    (scenario.data_dir / ".rogo_async.lock").touch()
    result = await run_cli(env, "plan", "--limit", "3")
    assert result.code == 0, result.output
    assert set(of(scenario.data_dir)) == {"10", "11", "12"}
    await run_cli(env, "run", "--attempt", "11")
    await run_cli(env, "plan", "--attempt", "11", "--attempt", "2")
    assert of(scenario.data_dir) == {"11": ("skip", "already_migrated"), "2": ("migrate", "")}


async def test_json_has_the_counts_and_nothing_else_is_on_standard_output(
    scenario: Scenario, env: dict[str, str]
) -> None:
    scenario.serve_file("5.txt", status=404)
    result = await run_cli(env, "plan", "--json", "--attempt", "5", "--attempt", "6")
    assert result.code == 1, result.output
    assert json.loads(result.stdout) == {
        "exit_code": 1,
        "selection": {"attempt": [5, 6]},
        "rows": 2,
        "to_migrate": 1,
        "to_refresh": 0,
        "to_fail": 1,
        "to_skip": 0,
        "not_checked": 0,
        "by_code": {"source_file_missing": 1},
        "files": 1,
        "size_bytes": len("text 6"),
        "rows_of_unknown_size": 0,
        "file": str(scenario.data_dir / PLAN),
        "stopped_by": {},
    }
    assert any("2 rows: 1 would migrate" in line for line in result.messages)


async def test_progress_says_what_would_happen(scenario: Scenario, env: dict[str, str]) -> None:
    for attempt in range(1, 13):
        scenario.serve_file(f"{attempt}.txt", b"text", delay_s=0.2)
    result = await run_cli(env, "plan", ROGO_PROGRESS_INTERVAL="0.05", ROGO_CONCURRENCY="1")
    lines = [each for each in result.events("progress") if "consumers" in each]
    assert lines
    for line in lines:
        assert {"to_migrate", "to_fail", "to_skip"} <= line.keys()
        assert not {"migrated", "failed", "skipped"} & line.keys()
