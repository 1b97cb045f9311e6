"""Runs that end early lose nothing (specification §5, §6)."""

import resource
import signal

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import FAILED, counts, run_cli, start_cli, summary, table

STOPPING = "stopping: finishing the work in progress; a second signal stops immediately"
ROWS = 60


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Slow submissions; every fifth one fails."""
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        made.serve_file(f"{each.attempt}.txt", b"text %d" % each.attempt, delay_s=0.1)
        if not each.attempt % 5:
            each.cells["Learner Azure Blob URLs"] = made.serve_file(f"no{each.attempt}", status=404)
    await made.load(submissions)
    return made


async def finished_by_a_rerun(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env)
    assert result.code == 1, result.output
    assert await scenario.attempts() == [n for n in range(1, ROWS + 1) if n % 5]
    assert len(table(scenario.data_dir / "migrated.csv")) == ROWS * 4 // 5
    assert len(table(scenario.data_dir / FAILED)) == ROWS // 5
    await assert_consistent(scenario)


async def holds(scenario: Scenario) -> None:
    """The counts agree with the target and the files."""
    migrated, failed, skipped, not_reached = counts(scenario.data_dir)
    assert migrated + failed + skipped + not_reached == ROWS
    assert not_reached > 0
    assert len(await scenario.attempts()) == migrated
    assert len(table(scenario.data_dir / "migrated.csv")) == migrated
    assert len(table(scenario.data_dir / FAILED)) == failed
    await assert_consistent(scenario)


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGINT, 130, "stopped: interrupted (Ctrl-C); run again"),
        (signal.SIGTERM, 143, "stopped: terminated (SIGTERM); run again"),
    ],
)
async def test_a_signal_drains_the_run(
    scenario: Scenario, env: dict[str, str], number: signal.Signals, code: int, reason: str
) -> None:
    async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        await command.wait_for_event("progress", lambda entry: entry["done"] > 5)
        command.process.send_signal(number)
        result = await command.wait()
    assert result.code == summary(scenario.data_dir)["exit_code"] == code
    assert reason in result.stdout
    await holds(scenario)
    await finished_by_a_rerun(scenario, env)


async def test_a_second_signal_stops_at_once_and_loses_nothing(
    scenario: Scenario, env: dict[str, str]
) -> None:
    scenario.serve_file("41.txt", b"text 41", delay_s=20.0)
    async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        await command.wait_for_event("progress", lambda entry: entry["done"] > 21)
        command.process.send_signal(signal.SIGTERM)
        await command.wait_for_event(STOPPING)
        command.process.send_signal(signal.SIGTERM)
        assert (await command.wait(deadline_s=5.0)).code == 143
    scenario.serve_file("41.txt", b"text 41")
    await finished_by_a_rerun(scenario, env)


async def test_a_signal_ends_the_wait_for_a_server(scenario: Scenario, env: dict[str, str]) -> None:
    async with start_cli({**env, "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}) as command:
        await command.wait_for_event("waiting")
        command.process.send_signal(signal.SIGTERM)
        assert (await command.wait(deadline_s=15.0)).code == 143
    assert counts(scenario.data_dir) == (0, 0, 0, ROWS)


async def test_a_killed_run_is_finished_by_the_next(
    scenario: Scenario, env: dict[str, str]
) -> None:
    for _ in range(4):
        async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.1") as command:
            await command.wait_for_event("progress", lambda entry: entry["done"] > 4)
            command.process.kill()
            await command.process.wait()
        await assert_consistent(scenario)
    await finished_by_a_rerun(scenario, env)


async def test_the_window_ends_the_run(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, ROGO_CONCURRENCY="2", ROGO_MAX_DURATION="2")
    assert result.code == 5
    assert "ROGO_MAX_DURATION" in result.stdout
    await holds(scenario)
    await finished_by_a_rerun(scenario, env)


async def test_an_input_that_changes_stops_the_run(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    slow = scenario.submission(2)
    scenario.serve_file("2.txt", b"slow", delay_s=0.3)
    lines = [slow.line()] * 20_000
    scenario.write_lines(lines)
    async with start_cli(env, ROGO_CONCURRENCY="1") as command:
        await command.wait_for_event("inputs read")
        with (scenario.data_dir / "submission_files.csv").open("a", encoding="utf-8") as file:
            file.write("x\r\n")
        result = await command.wait()
    assert result.code == 3
    assert "changed while it was read" in result.stdout
    summary(scenario.data_dir)


@pytest.mark.parametrize("room_bytes", [3_000, 4_000])
async def test_a_full_disk_stops_the_run_without_a_partial_line(
    scenario: Scenario, env: dict[str, str], room_bytes: int
) -> None:
    limit = ("prlimit", f"--fsize={room_bytes}:{resource.RLIM_INFINITY}")
    result = await run_cli(env, ROGO_CONCURRENCY="3", ROGO_WRITE_INTERVAL="0.1", prefix=limit)
    assert result.code == 3, result.output
    assert "cannot be written" in result.stdout or "File too large" in result.stdout
    for name in ("migrated.csv", FAILED):
        for row in table(scenario.data_dir / name):
            assert None not in row
            assert None not in row.values()
    await assert_consistent(scenario)
    await finished_by_a_rerun(scenario, env)


async def test_a_read_only_directory_is_rejected(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, "run", "--data-dir", "/proc")
    assert result.code == 2, result.output
    (line,) = result.messages
    assert "/proc: cannot be written" in line
    assert await scenario.nothing_written()
