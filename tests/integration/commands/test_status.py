"""``status`` shows the target and the runs, and changes nothing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import DEADLINE_S, CliResult, rows_done, run_cli, start_cli, summary
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
    assert "exit 1: 1 migrated, 1 failed (1 new), 0 skipped, 0 not processed" in result.stdout
    assert "example" not in result.output
    assert await picture(scenario) == before
    assert changed_at(scenario) == files


async def test_every_row_of_the_input_has_one_state(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await migrate(env, 1, 3)
    assert (await run_cli(env, "run", "--attempt", "4")).code == 1
    _, facts = await told(env)
    assert facts["input"] == {
        "rows": 16,
        "migrated": 3,
        "failed": {"email_missing": 1},
        "failed_accepted": {},
        "skipped": {},
        "not_tried": 12,
        "done": False,
    }
    result = await run_cli(env, "status")
    assert result.stdout.splitlines()[-7:-1] == [
        "input: 16 rows in submission_files.csv",
        "  3 in the target (18.7 %)",
        "  1 failed (email_missing 1)",
        "  0 skipped by the rules",
        "  12 not tried yet",
        "left: 1 failed, 12 not tried yet",
    ]
    (scenario.data_dir / "accepted_failures.csv").write_text(
        "Attempt ID,Code,Who,Why\n4,email_missing,A Person,left the college\n"
    )
    assert (await run_cli(env, "run")).code == 0
    result = await run_cli(env, "status")
    assert "  1 failed and accepted (email_missing 1)" in result.stdout
    assert result.stdout.splitlines()[-2] == "done: no row of the input is left"


async def test_a_failure_that_only_a_run_detects_counts_until_it_is_migrated(
    scenario: Scenario, env: dict[str, str]
) -> None:
    scenario.serve_file("5.txt", status=404)
    assert (await run_cli(env, "run")).code == 1
    _, facts = await told(env)
    assert facts["input"]["failed"] == {"email_missing": 1, "source_file_missing": 1}
    assert facts["input"]["not_tried"] == 0
    scenario.serve_file("5.txt", b"text 5")
    assert (await run_cli(env, "run", "--attempt", "5")).code == 0
    _, facts = await told(env)
    assert facts["input"]["failed"] == {"email_missing": 1}
    assert facts["input"]["migrated"] == 15


async def test_without_an_input_file_it_shows_the_rest(
    scenario: Scenario, env: dict[str, str]
) -> None:
    (scenario.data_dir / "submission_files.csv").unlink()
    result = await run_cli(env, "status")
    assert result.code == 0, result.output
    assert result.stdout.startswith("target: 0 submissions")
    assert "the input is not counted: " in result.stdout.splitlines()[-2]
    assert "submission_files.csv" in result.stdout.splitlines()[-2]


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


async def test_it_shows_how_far_a_run_is(scenario: Scenario, env: dict[str, str]) -> None:
    scenario.serve_file("16.txt", b"slow", delay_s=60.0)
    env["ROGO_PROGRESS_INTERVAL"] = "0.2"
    async with start_cli(env) as command:
        await command.wait_for_event("progress", rows_done(14))
        live: dict[str, Any] | None = None
        while live is None or live["done"] < 15:
            _, facts = await told(env)
            live = facts["in_progress"]
        assert live["total"] == 16
        assert (live["migrated"], live["failed"], live["skipped"]) == (13, 1, 1)
        assert live["waiting_for"] == []
        shown = await run_cli(env, "status")
        assert f"run {live['run_id']}: 15 of 16 rows done (13 migrated, 1 failed)" in shown.stdout
        command.process.kill()
        await command.process.wait()
    _, facts = await told(env)
    assert facts["in_progress"] is None
    scenario.serve_file("16.txt", b"fast")
    assert (await run_cli(env)).code == 1
    assert not (scenario.data_dir / ".rogo_async.progress.json").exists()


async def test_the_trend_has_the_full_runs(scenario: Scenario, env: dict[str, str]) -> None:
    await migrate(env, 1, 3)
    for _ in range(2):
        assert (await run_cli(env)).code == 1
    latest = summary(scenario.data_dir)
    _, facts = await told(env)
    last, first = facts["nights"]
    assert last == {
        "date": latest["started_at"][:10],
        "run_id": latest["run_id"],
        "migrated": 0,
        "failed": 1,
        "failed_new": 0,
        "exit_code": 1,
    }
    assert (first["migrated"], first["failed_new"]) == (12, 1)
    lines = (await run_cli(env, "status")).stdout.splitlines()
    begin = lines.index("latest full runs:") + 1
    table = [line.split() for line in lines[begin : begin + 4]]
    assert table[0] == ["date", "(UTC)", "migrated", "failed", "new", "exit"]
    assert [row[1:] for row in table[1:3]] == [["0", "1", "0", "1"], ["12", "1", "1", "1"]]
    assert table[3][0] == "input:"


async def scans_of_submissions(scenario: Scenario) -> int:
    """How often assignment_submissions has been scanned, by sessions that have ended."""
    async with scenario.target() as target, asyncio.timeout(DEADLINE_S):
        while await target.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE application_name = 'rogo_async status' AND datname = current_database()"
        ):
            await asyncio.sleep(0.05)
        found: int = await target.fetchval(
            "SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables "
            "WHERE relname = 'assignment_submissions'"
        )
        return found


async def test_the_target_is_read_once(scenario: Scenario, env: dict[str, str]) -> None:
    await migrate(env, 1)
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO lti_session_records (launch_id, session_expiry) "
            "VALUES ('rogo_8_started', now())"
        )
    before = await scans_of_submissions(scenario)
    _, facts = await told(env)
    assert await scans_of_submissions(scenario) == before + 1
    assert (facts["target"]["submissions"], facts["input"]["migrated"]) == (1, 2)
    assert facts["input"]["failed"] == {"email_missing": 1, "target_incomplete": 1}


async def test_a_large_target_shows_its_stage(scenario: Scenario, env: dict[str, str]) -> None:
    rows = 10_000
    async with scenario.target() as target:
        await target.execute(
            "INSERT INTO assignment_submissions (lti_launch_id) "
            f"SELECT 'rogo_' || n || '_earlier' FROM generate_series(1001, {1000 + rows}) n"
        )
        async with target.transaction():
            await target.execute("LOCK TABLE lti_session_records IN ACCESS EXCLUSIVE MODE")
            async with start_cli(env, "status", ROGO_PROGRESS_INTERVAL="0.1") as command:
                await command.wait_for_event(
                    "progress",
                    lambda entry: entry["stage"] == "reading the target" and entry["done"] >= rows,
                )
