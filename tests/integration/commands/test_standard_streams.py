"""Closed, full and odd standard streams cost output only (specification §5)."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import DEADLINE_S, STOPPING, run_cli, summary
from tests.support.terminal import on_terminal

COMMAND = f"{shlex.quote(sys.executable)} -m rogo_async"
EACH = Path(__file__).with_name("each_command.py")
STREAMS = [
    "<&-",
    ">&-",
    "2>&-",
    "<&- >&- 2>&-",
    ">/dev/full",
    ">/dev/full 2>&1",
    "| true",
    "2>&1 | head -c 1 >&2",
]
PURE = ["--help", "--version"]
COMMANDS = ["check", "plan", "verify", "status", "status --json", "check --json", "report"]
LAST = ["sweep", "rollback --attempt 1 --yes"]
SOME_COMMANDS = ["--help", "status --json", LAST[1]]
ALL_COMMANDS = {"<&- >&- 2>&-", "| true"}
"""The streams that every command is tried with; the others are tried with some."""


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, 4)])
    return made


async def shell(
    env: Mapping[str, str], command: str, streams: str, cwd: Path
) -> tuple[int, str, str]:
    """Exit code of the command, not of what follows a pipe, and the output that is left."""
    process = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        f"{command} {streams}; exit ${{PIPESTATUS[0]}}",
        env={"PATH": os.environ["PATH"], **env},
        cwd=cwd,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace")


@pytest.mark.parametrize("streams", STREAMS)
async def test_output_that_cannot_be_written_changes_nothing(
    scenario: Scenario,
    env: dict[str, str],
    streams: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    others = [*PURE, *COMMANDS, *LAST] if streams in ALL_COMMANDS else SOME_COMMANDS
    commands = ["run", *others]
    record = tmp_path_factory.mktemp("record") / "codes.json"
    each = shlex.join([sys.executable, str(EACH), str(record), *commands])
    code, _, stderr = await shell(env, each, streams, scenario.data_dir)
    assert code == 0, stderr
    assert "Traceback" not in stderr
    codes = json.loads(record.read_text(encoding="utf-8"))
    assert dict(zip(commands, codes, strict=True)) == dict.fromkeys(commands, 0), stderr
    assert await scenario.attempts() == [2, 3]
    assert summary(scenario.data_dir)["migrated"] == 3
    await assert_consistent(scenario)
    assert not [
        path
        for path in scenario.data_dir.rglob("*")
        if path.is_file() and path.suffix != ".html" and b"rogo_async: " in path.read_bytes()
    ]


async def test_demo_does_its_work_without_streams(tmp_path: Path) -> None:
    env = {name: os.environ[name] for name in os.environ if name.startswith(("HOME", "ROGO_DEV"))}
    code, _, stderr = await shell(env, f"{COMMAND} demo --rows 60", "<&- >&- 2>&-", tmp_path)
    assert code == 0, stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_characters_that_the_encoding_lacks_are_escaped(
    tmp_path: Path, encoding: str
) -> None:
    env = {"PYTHONIOENCODING": encoding, "LANG": "C"}
    for name in ("Łódź…", os.fsdecode(b"K\xf6ln")):
        command = f"{COMMAND} report --data-dir {shlex.quote(name)}"
        code, _, stderr = await shell(env, command, "", tmp_path)
        assert code == 2
        assert "Traceback" not in stderr
        assert "rogo_async: " in stderr


@pytest.mark.parametrize(("prefix", "code"), [((), 129), (("nohup",), 0)])
async def test_a_closed_terminal_drains_the_run(
    scenario: Scenario, env: dict[str, str], prefix: Sequence[str], code: int
) -> None:
    """Under nohup the run goes on to its end."""
    log = scenario.data_dir / "run.log"
    slow = {**env, "ROGO_CONCURRENCY": "1", "ROGO_LOG_FILE": str(log)}
    process, controller = await on_terminal(slow, scenario.data_dir, *prefix)
    async with asyncio.timeout(DEADLINE_S):
        with scenario.source.held():
            while not (log.exists() and "migration begins" in log.read_text(encoding="utf-8")):
                assert process.returncode is None
                await asyncio.sleep(0.02)
            os.close(controller)
            while code and STOPPING not in log.read_text(encoding="utf-8"):
                await asyncio.sleep(0.02)
        await process.wait()
    assert summary(scenario.data_dir)["exit_code"] == code
    await assert_consistent(scenario)
    assert (await run_cli(env)).code == 0
    assert await scenario.attempts() == [1, 2, 3]
