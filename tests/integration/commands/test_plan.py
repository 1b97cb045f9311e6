"""``plan``: says beforehand what a run will do (SPEC §5); test_every_code has the whole."""

from pathlib import Path

import pytest

from rogo_async.commands.plan import OPEN
from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk
from tests.support.cli import operate, table

PLAN = "plan.csv"


def of(data_dir: Path) -> dict[str, tuple[str, str]]:
    """Outcome and code by attempt."""
    return {row["Attempt ID"]: (row["Outcome"], row["Code"]) for row in table(data_dir / PLAN)}


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    made = Desk(stack, workspace)
    await made.lay_out([made.sound(attempt) for attempt in range(1, 13)])
    return made


async def test_files_bytes_and_time_are_estimated(desk: Desk, env: dict[str, str]) -> None:
    desk.served("1.txt", b"x" * 3 * 1_048_576)
    ended = await operate(env, "plan")
    assert ended.code == 0, ended.output
    assert "of 12 rows 12 would migrate (12 files, 3.0 MB; at least" in ended.stdout
    first = next(row for row in table(desk.data_dir / PLAN) if row["Attempt ID"] == "1")
    assert (first["Files"], first["Bytes"]) == ("1", str(3 * 1_048_576))
    assert first["Open"].split() == list(OPEN)
    assert (desk.data_dir / PLAN).stat().st_mode & 0o777 == 0o600


async def test_no_file_is_read(desk: Desk, env: dict[str, str]) -> None:
    desk.source.requests.clear()
    assert (await operate(env, "plan")).code == 0
    assert {method for method, _ in desk.source.requests} == {"HEAD"}


async def test_what_no_target_can_hold_is_foreseen(desk: Desk, env: dict[str, str]) -> None:
    cells = {each: desk.sound(each) for each in (1, 2)}
    cells[1].cells["Surname"] = "Love\0lace"
    desk.write_lines(each.line() for each in cells.values())
    assert (await operate(env, "plan")).code == 1
    assert of(desk.data_dir) == {"1": ("fail", "target_refused"), "2": ("migrate", "")}
    assert (await operate(env)).code == 1
    assert await desk.attempts() == [2]


async def test_refusals_mean_the_same_as_in_a_run(desk: Desk, env: dict[str, str]) -> None:
    desk.served("5.txt", status=404)
    desk.served("6.txt", status=403)
    desk.served("7.txt", status=410)
    desk.source.routes["/8.txt"] = Answer(status=503, times=2, then=Answer(body=b"there"))
    assert (await operate(env, "plan", ROGO_CONCURRENCY="1")).code == 1
    failing = {
        "5": ("fail", "source_file_missing"),
        "6": ("fail", "source_forbidden"),
        "7": ("fail", "source_refused"),
    }
    sound = {str(each): ("migrate", "") for each in (1, 2, 3, 4, 8, 9, 10, 11, 12)}
    assert of(desk.data_dir) == {**sound, **failing}


async def test_a_plan_runs_beside_a_migration_and_of_a_selection(
    desk: Desk, env: dict[str, str]
) -> None:
    (desk.data_dir / ".rogo_async.lock").touch()
    ended = await operate(env, "plan", "--limit", "3")
    assert ended.code == 0, ended.output
    assert set(of(desk.data_dir)) == {"10", "11", "12"}
    await operate(env, "run", "--attempt", "11")
    await operate(env, "plan", "--attempt", "11", "--attempt", "2")
    assert of(desk.data_dir) == {"11": ("skip", "already_migrated"), "2": ("migrate", "")}
