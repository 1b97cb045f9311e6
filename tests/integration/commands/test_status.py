"""``status``: what it says is what stands there, and it touches nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk
from tests.support.cli import Ended, begun, operate, summary
from tests.support.rollback_fixtures import malpractice, migrate, picture


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    made = Desk(stack, workspace)
    two_files = made.sound(1)
    two_files.cells["Learner Azure Blob URLs"] += f",{made.served('more.txt')}"
    failing = made.sound(4)
    failing.cells["Learner Email"] = ""
    others = [made.sound(2), malpractice(made, 3, 1), failing]
    await made.lay_out([two_files, *others, *map(made.sound, range(5, 17))])
    async with made.target() as target:
        await target.execute(
            "INSERT INTO assignment_submissions (lti_launch_id) VALUES ('rogo_2_earlier'), ('live')"
        )
        await target.execute(
            "INSERT INTO submission_files (submission_id, file_url) "
            "SELECT id, 'https://x.example' FROM assignment_submissions"
        )
    return made


async def told(env: dict[str, str], *args: str) -> tuple[Ended, dict[str, Any]]:
    ended = await operate(env, "status", "--json", *args)
    return ended, json.loads(ended.stdout)


def changed_at(desk: Desk) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in desk.data_dir.rglob("*")}


async def test_it_counts_and_touches_nothing(desk: Desk, env: dict[str, str]) -> None:
    first = await migrate(env, 1, 3)
    second = (await operate(env, "run", "--attempt", "4", "--attempt", "5")).code
    assert second == 1
    latest = summary(desk.data_dir)
    before = await picture(desk)
    files = changed_at(desk)
    ended, facts = await told(env)
    assert ended.code == 0, ended.output
    assert ended.said == ["rogo_async: target and data directory were read; exit 0"]
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

    ended = await operate(env, "status")
    assert ended.code == 0, ended.output
    lines = ended.stdout.splitlines()
    assert lines[0] == (
        "target: 3 submissions of this tool with 4 files and 1 malpractice rules; "
        "1 submissions of an earlier tool"
    )
    assert lines[1] == "no run works on the target at the moment"
    assert f"attempt 5  run {latest['run_id']}" in lines[3]
    assert "exit 1: 1 migrated, 1 failed, 0 skipped, 0 not reached" in ended.stdout
    assert "example" not in ended.output
    assert await picture(desk) == before
    assert changed_at(desk) == files


async def test_only_the_latest_are_named(desk: Desk, env: dict[str, str]) -> None:
    await migrate(env, *range(5, 11))
    await migrate(env, *range(11, 17))
    _, facts = await told(env)
    assert facts["target"]["submissions"] == 12
    named = [each["attempt"] for each in facts["target"]["latest"]]
    assert len(named) == 10
    assert set(named[:6]) == set(range(11, 17))


async def test_it_tells_who_holds_the_lock(desk: Desk, env: dict[str, str]) -> None:
    desk.served("16.txt", b"slow", delay_s=20.0)
    async with begun(env, "run", "--attempt", "16") as command:
        await command.logged("migration begins")
        ended, facts = await told(env)
        assert facts["target"]["lock"]["holder"] == "rogo_async"
        assert facts["target"]["lock"]["since"][:4].isdigit()
        ended = await operate(env, "status")
    assert "rogo_async has held the lock since 2" in ended.stdout


async def test_without_a_target_it_tells_the_runs(desk: Desk, env: dict[str, str]) -> None:
    run = await migrate(env, 1)
    url = env["DATABASE_URL"]
    closed = {**env, "DATABASE_URL": url.rpartition(":")[0] + ":1/target"}
    ended, facts = await told(closed)
    assert ended.code == 3, ended.output
    assert facts["target"] is None
    assert "cannot be reached" in facts["target_problem"]
    assert [each["run_id"] for each in facts["runs"]] == [run]
    refused = {**env, "DATABASE_URL": url.replace("rogo_writer:", "rogo_writer:wrong")}
    ended = await operate(refused, "status")
    assert ended.code == 2, ended.output
    assert "the login was refused" in ended.stdout
    assert f"{run}  began" in ended.stdout


async def test_without_a_data_directory_it_tells_the_target(
    desk: Desk, env: dict[str, str]
) -> None:
    await migrate(env, 1)
    (desk.data_dir / "runs" / "20990101T000000Z-00000000.json").write_text('{"run_id": 1}')
    ended, facts = await told(env)
    assert ended.code == 0, ended.output
    assert facts["data_dir_problem"].startswith("1 summaries in")
    assert len(facts["runs"]) == 1
    ended = await operate({**env, "ROGO_DATA_DIR": "/"}, "status", "--data-dir", "/nowhere")
    assert ended.code == 0, ended.output
    assert "target: 1 submissions" in ended.stdout
    assert "/nowhere: there is no such directory; exit 0" in ended.stdout
    assert not (desk.data_dir / "nowhere").exists()
