"""Runs that end early lose nothing (specification §5, §6)."""

import asyncio
import contextlib
import resource
import signal
from datetime import UTC, datetime, timedelta

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import (
    FAILED,
    STOPPING,
    counts,
    rows_done,
    run_cli,
    start_cli,
    summary,
    table,
)

ROWS = 60
UNTIL_S = 12
"""Enough to start a run on a busy machine, and less than the timeout of a request."""


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
    assert rows_of(scenario, "migrated.csv") == migrated
    assert rows_of(scenario, FAILED) == failed
    await assert_consistent(scenario)


def rows_of(scenario: Scenario, name: str) -> int:
    """The rows of a file, which is missing if the run ended before the migration."""
    path = scenario.data_dir / name
    return len(table(path)) if path.exists() else 0


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGINT, 130, "stopped: interrupted (Ctrl-C); run again"),
        (signal.SIGTERM, 143, "stopped: terminated (SIGTERM); run again"),
        (signal.SIGHUP, 129, "stopped: terminal closed (SIGHUP); run again"),
    ],
)
async def test_a_signal_drains_the_run(
    scenario: Scenario, env: dict[str, str], number: signal.Signals, code: int, reason: str
) -> None:
    async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        await command.wait_for_event("progress", rows_done(5))
        command.process.send_signal(number)
        result = await command.wait()
    assert result.code == summary(scenario.data_dir)["exit_code"] == code
    assert reason in result.stdout
    await holds(scenario)
    await finished_by_a_rerun(scenario, env)


async def test_a_second_signal_stops_at_once_and_loses_nothing(
    scenario: Scenario, env: dict[str, str]
) -> None:
    scenario.serve_file("41.txt", b"text 41", delay_s=3600.0)
    async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.2") as command:
        await command.wait_for_event("progress", rows_done(21))
        command.process.send_signal(signal.SIGTERM)
        await command.wait_for_event(STOPPING)
        command.process.send_signal(signal.SIGTERM)
        assert (await command.wait(deadline_s=25.0)).code == 143
    scenario.serve_file("41.txt", b"text 41")
    await finished_by_a_rerun(scenario, env)


async def test_a_signal_ends_the_wait_for_a_server(scenario: Scenario, env: dict[str, str]) -> None:
    async with start_cli({**env, "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x"}) as command:
        await command.wait_for_event("waiting")
        command.process.send_signal(signal.SIGTERM)
        assert (await command.wait()).code == 143
    assert counts(scenario.data_dir) == (0, 0, 0, ROWS)


async def test_a_killed_run_is_finished_by_the_next(
    scenario: Scenario, env: dict[str, str]
) -> None:
    for _ in range(4):
        async with start_cli(env, ROGO_CONCURRENCY="3", ROGO_PROGRESS_INTERVAL="0.1") as command:
            await command.wait_for_event("progress", rows_done(4))
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


async def test_until_ends_the_run_at_that_time_of_day(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """The zone of the run is such that its next full minute begins in UNTIL_S seconds."""
    await run_cli(env, "--version")  # the next start is quick
    now = datetime.now(UTC)
    ahead_s = (60 - UNTIL_S - now.second) % 60
    until = now + timedelta(seconds=ahead_s + UNTIL_S)
    settings = {**env, "TZ": f"XXX-00:00:{ahead_s:02d}", "ROGO_CONCURRENCY": "1"}
    async with contextlib.AsyncExitStack() as stack:
        with scenario.source.held():
            command = await stack.enter_async_context(
                start_cli(settings, "run", "--until", f"{until:%H:%M}")
            )
            await command.wait_for_event("migration begins")
            # Files are held until the time has passed.
            while datetime.now(UTC) < now + timedelta(seconds=UNTIL_S + 1):
                await asyncio.sleep(0.1)
        result = await command.wait()
    found = summary(scenario.data_dir)
    assert (result.code, found["exit_code"]) == (5, 5), result.output
    assert "the time window of" in result.stdout
    # The submission in progress was finished, and no other was begun.
    assert 1 <= found["migrated"] + found["failed"] <= 2, result.output
    await holds(scenario)


async def test_one_connection_of_each_kind_is_enough(
    scenario: Scenario, env: dict[str, str]
) -> None:
    small = {**env, "ROGO_PG_POOL_SIZE": "1", "ROGO_WAREHOUSE_POOL_SIZE": "1"}
    checked = await run_cli(small, "check")
    assert "FAIL" not in checked.stdout, checked.output
    result = await run_cli(small)
    assert result.code == 1, result.output
    assert counts(scenario.data_dir) == (ROWS * 4 // 5, ROWS // 5, 0, 0)
    await assert_consistent(scenario)
    verified = await run_cli(small, "verify")
    assert verified.code == 0, verified.output


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
    # Otherwise the limit would cut the bytecode files that other tests import.
    small = {"ROGO_CONCURRENCY": "3", "PYTHONDONTWRITEBYTECODE": "1"}
    result = await run_cli({**env, **small}, ROGO_WRITE_INTERVAL="0.1", prefix=limit)
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
