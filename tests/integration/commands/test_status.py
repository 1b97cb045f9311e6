"""``status`` shows the target and the runs, and changes nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import CliResult, run_cli, start_cli, summary
from tests.support.rollback_fixtures import malpractice, migrate, picture


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    two_files = made.submission(1)
    two_files.cells["Learner Azure Blob URLs"] += f",{made.serve_file('more.txt')}"
    failing = made.submission(4)
    failing.cells["Learner Email"] = ""
    others = [made.submission(2), malpractice(made, 3, 1), failing]
    await made.load([two_files, *others, *map(made.submission, range(5, 17))])
    async with made.target() as target:
        await target.execute(
            "INSERT INTO assignment_submissions (lti_launch_id) VALUES ('rogo_2_earlier'), ('live')"
        )
        await target.execute(
            "INSERT INTO submission_files (submission_id, file_url) "
            "SELECT id, 'https://x.example' FROM assignment_submissions"
        )
    return made


async def told(env: dict[str, str], *args: str) -> tuple[CliResult, dict[str, Any]]:
    result = await run_cli(env, "status", "--json", *args)
    return result, json.loads(result.stdout)


def changed_at(scenario: Scenario) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in scenario.data_dir.rglob("*")}


async def test_it_counts_and_changes_nothing(scenario: Scenario, env: dict[str, str]) -> None:
    first = await migrate(env, 1, 3)
    second = (await run_cli(env, "run", "--attempt", "4", "--attempt", "5")).code
    assert second == 1
    latest = summary(scenario.data_dir)
    before = await picture(scenario)
    files = changed_at(scenario)
    result, facts = await told(env)
    assert result.code == 0, result.output
    assert result.messages == ["rogo_async: exit 0"]
    target = facts["target"]
    assert target["submissions"] == 3
    assert target["submissions_of_another_tool"] == 1
    assert target["files"] == 4
    assert target["malpractice_rules"] == 1
    assert target["lock"] is None
    shown = [(each["attempt"], each["run_id"]) for each in target["latest"]]
    assert shown[0] == (5, latest["run_id"])
    assert sorted(shown[1:]) == [(1, first), (3, first)]
    times = [each["written_at"] for each in target["latest"]]
    assert times == sorted(times, reverse=True)
    assert latest["started_at"][:16] <= times[0] <= latest["finished_at"]
    assert [run["run_id"] for run in facts["runs"]] == [latest["run_id"], first]
    assert facts["runs"][0]["exit_code"] == 1
    assert [facts["runs"][0][n] for n in ("migrated", "failed", "skipped", "not_reached")] == [
        1, 1, 0, 0
    ]  # fmt: skip
    assert facts["target_problem"] is facts["data_dir_problem"] is None

    result = await run_cli(env, "status")
    assert result.code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "target: 3 submissions migrated by this tool (4 files, 1 malpractice rules), "
        "1 by another tool"
    )
    assert lines[1] == "no run in progress"
    assert f"attempt 5  run {latest['run_id']}" in lines[3]
    assert "exit 1: 1 migrated, 1 failed, 0 skipped, 0 not processed" in result.stdout
    assert "example" not in result.output
    assert await picture(scenario) == before
    assert changed_at(scenario) == files


async def test_only_the_latest_submissions_are_listed(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await migrate(env, *range(5, 11))
    await migrate(env, *range(11, 17))
    _, facts = await told(env)
    assert facts["target"]["submissions"] == 12
    named = [each["attempt"] for each in facts["target"]["latest"]]
    assert len(named) == 10
    assert set(named[:6]) == set(range(11, 17))


async def test_it_shows_the_lock_holder(scenario: Scenario, env: dict[str, str]) -> None:
    scenario.serve_file("16.txt", b"slow", delay_s=20.0)
    async with start_cli(env, "run", "--attempt", "16") as command:
        await command.wait_for_event("migration begins")
        result, facts = await told(env)
        assert facts["target"]["lock"]["holder"] == "rogo_async"
        assert facts["target"]["lock"]["since"][:4].isdigit()
        result = await run_cli(env, "status")
    assert "in progress: rogo_async since 2" in result.stdout


async def test_without_a_target_it_shows_the_runs(scenario: Scenario, env: dict[str, str]) -> None:
    run = await migrate(env, 1)
    url = env["DATABASE_URL"]
    closed = {**env, "DATABASE_URL": url.rpartition(":")[0] + ":1/target"}
    result, facts = await told(closed)
    assert result.code == 3, result.output
    assert facts["target"] is None
    assert "target unreachable" in facts["target_problem"]
    assert [each["run_id"] for each in facts["runs"]] == [run]
    refused = {**env, "DATABASE_URL": url.replace("rogo_writer:", "rogo_writer:wrong")}
    result = await run_cli(refused, "status")
    assert result.code == 2, result.output
    assert "login failed" in result.stdout
    assert f"{run}  started" in result.stdout


async def test_without_a_data_directory_it_shows_the_target(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await migrate(env, 1)
    (scenario.data_dir / "runs" / "20990101T000000Z-00000000.json").write_text('{"run_id": 1}')
    result, facts = await told(env)
    assert result.code == 0, result.output
    assert facts["data_dir_problem"].startswith("1 unreadable summaries in")
    assert len(facts["runs"]) == 1
    result = await run_cli({**env, "ROGO_DATA_DIR": "/"}, "status", "--data-dir", "/nowhere")
    assert result.code == 0, result.output
    assert "target: 1 submissions migrated" in result.stdout
    assert "/nowhere: no such directory; exit 0" in result.stdout
    assert not (scenario.data_dir / "nowhere").exists()
