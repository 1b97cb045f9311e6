"""Logs of a real run: under cron, on a terminal, in a file, verbose and quiet."""

import asyncio
import json
import os
import pty
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import add_session_records
from tests.support.cli import run_cli, summary

ROWS = 12
CANARY = "Canary"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Submissions; one has no file and one has no report."""
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        made.serve_file(f"{each.attempt}.txt", b"text", delay_s=0.1)
        for name in ("First Name", "Surname", "Course Title", "Learner File Names"):
            each.cells[name] = f"{CANARY}.txt"
    submissions[0].cells["Learner Azure Blob URLs"] = made.serve_file("missing", status=404)
    submissions[1].report.clear()
    await made.load(submissions)
    return made


async def on_terminal(env: Mapping[str, str], *args: str, **settings: str) -> str:
    """The output of a command whose standard error is a terminal."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rogo_async", *args),
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", **env, **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = bytearray()

    def read() -> None:
        try:
            seen.extend(os.read(ours, 65536))
        except OSError:
            asyncio.get_running_loop().remove_reader(ours)

    asyncio.get_running_loop().add_reader(ours, read)
    try:
        assert await asyncio.wait_for(process.wait(), 90) == 1
        await asyncio.sleep(0.2)
    finally:
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
    return seen.decode()


async def test_under_cron_every_line_is_an_object(scenario: Scenario, env: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *("env", "-i", *(f"{name}={value}" for name, value in env.items())),
        *("ROGO_PROGRESS_INTERVAL=0.1", "ROGO_CONCURRENCY=2", sys.executable),
        *("-m", "rogo_async"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 1
    lines = [json.loads(line) for line in stderr.decode().splitlines()]
    run_id = summary(scenario.data_dir)["run_id"]
    assert {line["run_id"] for line in lines} == {run_id}
    assert all(line["timestamp"] and line["level"] and line["event"] for line in lines)
    events = {line["event"] for line in lines}
    assert {"progress", "migration begins", "run ended"} <= events
    assert "submission" not in events
    assert b"\x1b" not in stderr + stdout
    assert stdout.count(b"\n") == 1


async def test_verbose_has_a_line_for_each_submission(
    scenario: Scenario, env: dict[str, str]
) -> None:
    result = await run_cli(env, "run", "--verbose", ROGO_CONCURRENCY="2")
    assert result.code == 1, result.output
    lines = {line["attempt"]: line for line in result.events("submission")}
    assert sorted(lines) == list(range(1, ROWS + 1))
    assert (lines[1]["outcome"], lines[1]["code"]) == ("failed", "source_file_missing")
    assert (lines[2]["outcome"], lines[2]["code"]) == ("failed", "report_missing")
    assert lines[2]["stages_ms"] == lines[2]["calls_ms"] == {}
    for attempt in range(3, ROWS + 1):
        line = lines[attempt]
        assert (line["outcome"], line["code"]) == ("migrated", None)
        stages, calls = line["stages_ms"], line["calls_ms"]
        assert list(stages) == ["files", "insert"]
        assert list(calls) == ["source.get", "source.read", "store.put", "target.insert"]
        assert stages["files"] >= 100
        assert calls["source.get"] <= stages["files"]
        assert stages["files"] + stages["insert"] <= line["duration_ms"] + 0.1
        assert stages["insert"] == calls["target.insert"] > 0
    assert CANARY not in result.output
    assert "@" not in "".join(map(json.dumps, lines.values()))


async def test_quiet_prints_only_the_summary_line(scenario: Scenario, env: dict[str, str]) -> None:
    await add_session_records(scenario, env["ROGO_INSTANCE_ID"])
    result = await run_cli(env, "-q", ROGO_PROGRESS_INTERVAL="0.1", ROGO_CONCURRENCY="2")
    assert result.code == 1, result.output
    assert (result.log, result.messages) == ([], [])
    assert result.stdout.startswith("rogo_async: 10 migrated, 2 failed")


async def test_a_terminal_shows_progress_and_readable_lines(
    scenario: Scenario, env: dict[str, str]
) -> None:
    seen = await on_terminal(env, "-v", ROGO_CONCURRENCY="2")
    assert COLOUR.search(seen)
    plain = ANSI.sub("", seen)
    assert "migrating" in plain
    assert re.search(r"\d of 12 ", plain)
    assert re.search(r"store.put +10 ", plain)
    assert re.search(r"\[debug\s*\] submission +.*attempt=7", plain)
    assert '{"' not in plain


async def test_no_color_and_quiet_are_respected(scenario: Scenario, env: dict[str, str]) -> None:
    seen = await on_terminal(env, NO_COLOR="1", ROGO_CONCURRENCY="2")
    assert "migration begins" in seen
    shades = {code for found in COLOUR.findall(seen) for code in found[2:-1].split(";")}
    assert not {code for code in shades if code[:1] in {"3", "4", "9"} and len(code) > 1}
    assert (await on_terminal(env, "--quiet", ROGO_CONCURRENCY="2")).strip() == ""


async def test_a_dumb_terminal_gets_plain_progress_lines(
    scenario: Scenario, env: dict[str, str]
) -> None:
    seen = await on_terminal(env, TERM="dumb", ROGO_CONCURRENCY="2", ROGO_PROGRESS_INTERVAL="0.2")
    assert "\x1b" not in seen
    assert re.search(r"progress\b[^\[]*left=", seen), seen


async def test_the_log_file_has_the_same_lines_and_is_rotated(
    scenario: Scenario, env: dict[str, str]
) -> None:
    path = scenario.data_dir / "log" / "run.log"
    path.parent.mkdir()
    result = await run_cli(
        env, "-v", ROGO_LOG_FILE=str(path), ROGO_LOG_MAX_BYTES="2000", ROGO_CONCURRENCY="2"
    )
    assert result.code == 1, result.output
    files = sorted(path.parent.iterdir(), reverse=True)
    assert [file.name for file in files[-2:]] == ["run.log.1", "run.log"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert lines == result.log[-len(lines) :]
    assert len(lines) > 5


async def test_a_full_disk_under_the_log_does_not_stop_the_run(
    scenario: Scenario, env: dict[str, str]
) -> None:
    result = await run_cli(env, ROGO_LOG_FILE="/dev/full")
    assert result.code == 1, result.output
    (told,) = result.events("cannot write the log file; continuing without it")
    assert told["reason"] == "No space left on device"
    again = await run_cli(
        env, prefix=("sh", "-c", 'exec "$0" "$@" 2>/dev/full'), ROGO_PROGRESS_INTERVAL="0.1"
    )
    mute = await run_cli(env, prefix=("sh", "-c", 'exec "$0" "$@" >/dev/full 2>&1'))
    assert (mute.code, mute.output) == (1, "")
    assert again.code == 1, again.output
    assert "10 skipped" in again.stdout


async def test_an_invalid_log_file_is_found_at_start(
    scenario: Scenario, env: dict[str, str]
) -> None:
    result = await run_cli(env, ROGO_LOG_FILE="no/such/run.log")
    assert result.code == 2
    assert result.messages == [
        "rogo_async: ROGO_LOG_FILE: no/such/run.log cannot be written (No such file or directory)"
    ]


@pytest.mark.parametrize("is_link", [False, True])
async def test_standard_error_in_the_log_file_is_written_once(
    scenario: Scenario, env: dict[str, str], tmp_path: Path, *, is_link: bool
) -> None:
    """A cron line may redirect standard error to the file that ROGO_LOG_FILE names."""
    log = tmp_path / "cron.log"
    named = tmp_path / "link.log" if is_link else log
    if is_link:
        named.symlink_to(log)
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "rogo_async",
            env={**env, "ROGO_LOG_FILE": str(named), "PATH": os.environ["PATH"]},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
        )
        assert await process.wait() == 1
    events = [json.loads(line)["event"] for line in log.read_text("utf-8").splitlines()]
    assert events.count("run ended") == 1
    assert events.count("migration begins") == 1
    assert any("its lines are written once" in event for event in events)
