"""The demo without a run: everything is prepared, and the user migrates."""

import asyncio
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode
from rogo_async.demo.demo import ENVIRONMENT, Demo
from rogo_async.demo.servers import azurite
from tests.support.cli import DEADLINE_S, run_cli


def variables(file: Path) -> dict[str, str]:
    """The settings in a file of lines ``export NAME=value``."""
    words = shlex.split(file.read_text())
    return dict(word.split("=", 1) for word in words if word != "export")


async def test_no_run_prepares_everything_and_migrates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azurite, "is_installed", lambda: False)
    directory = tmp_path / "demo data"
    lines: list[str] = []
    ready = asyncio.Event()

    def echo(line: str) -> None:
        lines.append(line)
        if line.endswith("rollback --help"):
            ready.set()

    demo = Demo(30, 1, directory, echo)
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        serving = group.create_task(demo.execute(serve=False, migrate=False))
        await ready.wait()
        settings = variables(directory / ENVIRONMENT)
        status = await run_cli(settings, "status", "--json")
        planned = await run_cli(settings, "plan")
        os.kill(os.getpid(), signal.SIGINT)
    assert serving.result() is ExitCode.DONE
    assert planned.code == 1, planned.output
    assert status.code == 0, status.output
    assert not (directory / "data" / "migrated.csv").exists()
    assert f"demo: installing Azurite {azurite.VERSION} from npm: 190 MB" in "\n".join(lines)
    assert f"demo:   . {shlex.quote(str(directory / ENVIRONMENT))}" in lines
    for typed in ("check", "plan", "run --limit 10", "run", "verify", "report"):
        assert f"demo:   {sys.executable} -m rogo_async {typed}" in lines

    again: list[str] = []
    await Demo(30, 1, directory, again.append).execute(serve=False)
    assert any("only in a new directory" in line for line in again)
    assert not (directory / "data" / "migrated.csv").exists()

    with pytest.raises(SetupError, match="a demo with other --rows or --seed"):
        await Demo(30, 2, directory, again.append).execute(serve=False)
