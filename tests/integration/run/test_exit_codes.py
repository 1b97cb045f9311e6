"""Runs that end before their work is done lose nothing (SPEC §5, §6)."""

import resource
import signal

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk, whole
from tests.support.cli import FAILED, begun, counts, operate, summary, table

ROWS = 60


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    """Submissions, every fifth of which fails, each taking a while."""
    made = Desk(stack, workspace)
    submissions = [made.sound(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        made.served(f"{each.attempt}.txt", b"text %d" % each.attempt, delay_s=0.1)
        if not each.attempt % 5:
            each.cells["Learner Azure Blob URLs"] = made.served(f"no{each.attempt}", status=404)
    await made.lay_out(submissions)
    return made


async def finished_by_a_rerun(desk: Desk, env: dict[str, str]) -> None:
    ended = await operate(env)
    assert ended.code == 1, ended.output
    assert await desk.attempts() == [n for n in range(1, ROWS + 1) if n % 5]
    assert len(table(desk.data_dir / "migrated.csv")) == ROWS * 4 // 5
    assert len(table(desk.data_dir / FAILED)) == ROWS // 5
    await whole(desk)


async def holds(desk: Desk) -> None:
    """What is counted is what is there."""
    migrated, failed, skipped, not_reached = counts(desk.data_dir)
    assert migrated + failed + skipped + not_reached == ROWS
    assert not_reached > 0
    assert len(await desk.attempts()) == migrated
    assert len(table(desk.data_dir / "migrated.csv")) == migrated
    assert len(table(desk.data_dir / FAILED)) == failed
    await whole(desk)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_drains_the_run(
    desk: Desk, env: dict[str, str], number: signal.Signals, code: int
) -> None:
    async with begun(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        await command.logged("progress", lambda entry: entry["done"] > 5)
        command.process.send_signal(number)
        ended = await command.ended()
    assert ended.code == summary(desk.data_dir)["exit_code"] == code
    assert f"{number.name} received" in ended.stdout
    await holds(desk)
    await finished_by_a_rerun(desk, env)


async def test_a_second_signal_ends_it_at_once_and_loses_nothing(
    desk: Desk, env: dict[str, str]
) -> None:
    desk.served("41.txt", b"text 41", delay_s=20.0)
    async with begun(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        await command.logged("progress", lambda entry: entry["done"] > 21)
        command.process.send_signal(signal.SIGTERM)
        await command.logged("stopping: finishing the work in progress")
        command.process.send_signal(signal.SIGTERM)
        assert (await command.ended(deadline_s=5.0)).code == 143
    desk.served("41.txt", b"text 41")
    await finished_by_a_rerun(desk, env)


async def test_a_signal_while_it_waits_for_a_server_ends_it(
    desk: Desk, env: dict[str, str]
) -> None:
    async with begun({**env, "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}) as command:
        await command.logged("waiting")
        command.process.send_signal(signal.SIGTERM)
        assert (await command.ended(deadline_s=15.0)).code == 143
    assert counts(desk.data_dir) == (0, 0, 0, ROWS)


async def test_a_killed_run_is_finished_by_the_next(desk: Desk, env: dict[str, str]) -> None:
    for _ in range(4):
        async with begun(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.1") as command:
            await command.logged("progress", lambda entry: entry["done"] > 4)
            command.process.kill()
            await command.process.wait()
        await whole(desk)
    await finished_by_a_rerun(desk, env)


async def test_the_window_ends_the_run(desk: Desk, env: dict[str, str]) -> None:
    ended = await operate(env, ROGO_CONCURRENCY="2", ROGO_MAX_DURATION="2")
    assert ended.code == 5
    assert "ROGO_MAX_DURATION" in ended.stdout
    await holds(desk)
    await finished_by_a_rerun(desk, env)


async def test_an_input_that_grows_meanwhile_ends_the_run(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    desk = Desk(stack, workspace)
    await desk.lay_out([desk.sound(1)])
    slow = desk.sound(2)
    desk.served("2.txt", b"slow", delay_s=0.3)
    lines = [slow.line()] * 20_000
    desk.write_lines(lines)
    async with begun(env, ROGO_CONCURRENCY="1") as command:
        await command.logged("inputs read")
        with (desk.data_dir / "submission_files.csv").open("a", encoding="utf-8") as file:
            file.write("x\r\n")
        ended = await command.ended()
    assert ended.code == 3
    assert "changed while it was read" in ended.stdout
    summary(desk.data_dir)


@pytest.mark.parametrize("room_bytes", [3_000, 4_000])
async def test_a_full_disk_stops_the_run_and_tears_no_line(
    desk: Desk, env: dict[str, str], room_bytes: int
) -> None:
    limit = ("prlimit", f"--fsize={room_bytes}:{resource.RLIM_INFINITY}")
    ended = await operate(env, ROGO_CONCURRENCY="3", ROGO_WRITE_INTERVAL="0.1", prefix=limit)
    assert ended.code == 3, ended.output
    assert "cannot be written" in ended.stdout or "File too large" in ended.stdout
    for name in ("migrated.csv", FAILED):
        for row in table(desk.data_dir / name):
            assert None not in row
            assert None not in row.values()
    await whole(desk)
    await finished_by_a_rerun(desk, env)


async def test_a_directory_that_cannot_be_written_is_refused(
    desk: Desk, env: dict[str, str]
) -> None:
    ended = await operate(env, "run", "--data-dir", "/proc")
    assert ended.code == 2, ended.output
    (line,) = ended.said
    assert "/proc: cannot be written" in line
    assert await desk.nothing_written()
