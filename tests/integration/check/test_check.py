"""``check`` as an operator sees it: a line for each thing, an exit code, nothing left behind."""

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rogo_async.common.settings import Settings
from rogo_async.demo.servers.stack import ODBC_DRIVER, Stack, Workspace
from tests.support.builders import Desk
from tests.support.check_fixtures import NAMES, Scene, lay_out_soundly
from tests.support.cli import Ended, begun, operate
from tests.support.snapshot import picture
from tests.support.tcp_proxy import Hook, Wire, forward

TARGET, WAREHOUSE, STORE = (
    "DATABASE_URL",
    "DATA_WAREHOUSE_CONNECTION_STRING",
    "AZURE_STORAGE_CONNECTION_STRING",
)
_LINE = re.compile(r"(ok  |warn|FAIL|skip) (\w+): \S.*")


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    made = Desk(stack, workspace)
    await lay_out_soundly(made)
    return made


def told(ended: Ended) -> dict[str, dict[str, str]]:
    """The findings of ``--json`` by name: nothing else is on the standard output, and what is
    wrong has a remedy.
    """
    rows: list[dict[str, str]] = json.loads(ended.stdout)
    assert all(row.keys() == {"name", "state", "what", "remedy"} for row in rows)
    assert all(row["remedy"] for row in rows if row["state"] in {"fail", "warning"}), rows
    return {row.pop("name"): row for row in rows}


def names(found: dict[str, dict[str, str]], state: str) -> set[str]:
    return {name for name, row in found.items() if row["state"] == state} - {"machine.memory"}


async def test_a_sound_set_up_is_all_green_and_left_as_it_was(
    desk: Desk, env: dict[str, str]
) -> None:
    before = await picture(desk)
    ended = await operate(env, "check")
    assert ended.code == 0, ended.output
    *lines, last = ended.stdout.splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    states = {match[1] for match in found if match and match[2] != "machine"}
    assert states == {"ok  "}, lines
    assert re.fullmatch(r"rogo_async: \d+ ok, [01] warnings?, 0 red, 0 left out; exit 0", last)
    assert "\x1b" not in ended.stdout
    assert ended.said == []
    assert await picture(desk) == before
    assert {path.name for path in desk.data_dir.iterdir()} == {
        "submission_files.csv",
        "attempt_number_mapping.csv",
    }


async def test_the_names_are_those_that_operators_search_for(
    desk: Desk, env: dict[str, str]
) -> None:
    ended = await operate(env, "check", "--json", "--data-dir", str(desk.data_dir))
    assert ended.code == 0, ended.output
    hosts = (desk.source.origin, desk.stack.azurite.origin)
    assert told(ended).keys() == {
        *NAMES,
        *(f"settings.{field.upper()}" for field in Settings.model_fields),
        *(f"source.{host}.{what}" for host in hosts for what in ("reach", "sas", "files")),
    }
    assert "command line" in told(ended)["settings.ROGO_DATA_DIR"]["what"]


async def test_no_setting_at_all_is_a_line_for_each(tmp_path: Path) -> None:
    ended = await operate({"ROGO_DATA_DIR": str(tmp_path)}, "check", "--json")
    assert ended.code == 2, ended.output
    found = told(ended)
    assert names(found, "fail") == {
        "settings.DATABASE_URL",
        "settings.DATA_WAREHOUSE_CONNECTION_STRING",
        "settings.AZURE_STORAGE_ACCOUNT_NAME",
        "settings.ROGO_SOURCE_HOSTS",
        "settings.ROGO_CONTAINER",
        "settings.ROGO_INSTANCE_ID",
        "settings.ROGO_CONSUMER_KEY",
        "settings.ROGO_CONSUMER_NAME",
        "settings.ROGO_RETURN_URL_BASE",
        "inputs.submissions",
        "inputs.mapping",
    }
    assert found["directory.writable"]["state"] == "ok"
    for name in ("target.insert", "warehouse.read", "store.delete", "clock.store", "clock.target"):
        assert "settings." in found[name]["what"]
    assert list(tmp_path.iterdir()) == []


async def test_one_wrong_setting_keeps_nobody_from_looking_at_the_rest(
    desk: Desk, env: dict[str, str]
) -> None:
    env["ROGO_CONCURRENCY"] = "many"
    ended = await operate(env, "check", "--json")
    assert ended.code == 2, ended.output
    found = told(ended)
    assert names(found, "fail") == {"settings.ROGO_CONCURRENCY"}
    assert names(found, "skipped") == {"machine.files", "target.connections"}


async def on_a_terminal(env: dict[str, str], **settings: str) -> tuple[int, str]:
    """Exit code and what appears on a terminal."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **env, **settings}

    def work() -> tuple[int, str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "rogo_async", "check"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        text = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:
                break
            text += chunk
        os.close(ours)
        return process.wait(60), text.decode()

    return await asyncio.to_thread(work)


async def test_colours_on_a_terminal_unless_they_are_not_wanted(
    desk: Desk, env: dict[str, str]
) -> None:
    env["ROGO_CONTAINER"] = "absent"
    (code, coloured), (_, plain) = await asyncio.gather(
        on_a_terminal(env), on_a_terminal(env, NO_COLOR="1")
    )
    assert code == 1
    assert "\x1b[32mok" in coloured
    assert "\x1b[31m\x1b[1mFAIL" in coloured
    assert "\x1b[2mskip" in coloured
    assert "\x1b" not in plain
    assert "FAIL store: there is no such container" not in coloured
    assert "FAIL store: status 404: there is no such container. Create it" in plain


async def test_servers_that_refuse_connections(desk: Desk, env: dict[str, str]) -> None:
    async with AsyncExitStack() as undo:
        scene = Scene(desk, dict(env), undo)
        for name in (TARGET, WAREHOUSE, STORE):
            (await scene.proxied(name, _port(desk, name))).refuse = True
        plain = await scene.proxied("ROGO_SOURCE_HOSTS", desk.source.port)
        plain.refuse = True
        began = time.monotonic()
        ended = await operate(scene.env, "check", "--json")
        assert time.monotonic() - began < 20
    assert ended.code == 3, ended.output
    found = told(ended)
    reached = {"target.reach", "warehouse.reach", "store.reach"}
    assert names(found, "fail") == {*reached, f"source.http://127.0.0.1:{plain.port}.reach"}
    assert TARGET in found["target.reach"]["remedy"]
    assert WAREHOUSE in found["warehouse.reach"]["remedy"]
    assert "AZURE_STORAGE" in found["store.reach"]["remedy"]
    assert names(found, "warning") == {"source.allowed"}
    for name in ("clock.store", "store.list", "target.enforcement", "clock.target"):
        assert found[name]["what"].split()[-1] in reached


def silenced_at(words: bytes) -> Callable[[Wire], tuple[Hook, Hook]]:
    """A tap that swallows everything from the moment at which the client says some words."""

    def tap(wire: Wire) -> tuple[Hook, Hook]:
        def request(chunk: bytes) -> bytes | None:
            if words in chunk:
                wire.silence()
                return None
            return chunk

        return request, forward

    return tap


async def test_servers_that_are_silent_from_the_start_or_fall_silent(
    desk: Desk, env: dict[str, str]
) -> None:
    """One that has fallen silent is not asked again, and its transaction is not kept open."""
    before = await picture(desk)
    async with AsyncExitStack() as undo:
        dead, early, late = (Scene(desk, dict(env), undo) for _ in range(3))
        for name in (TARGET, WAREHOUSE, STORE):
            (await dead.proxied(name, _port(desk, name))).black_hole = True
        for scene, words in (
            (early, b"pg_is_in_recovery"),
            (late, b"INSERT INTO lti_launch_sessions"),
        ):
            (await scene.proxied(TARGET, desk.stack.postgres.port)).tap = silenced_at(words)
        began = time.monotonic()
        ended = await asyncio.gather(
            *[operate(scene.env, "check", "--json") for scene in (dead, early, late)]
        )
        assert time.monotonic() - began < 25
    assert [each.code for each in ended] == [3, 3, 3], [each.output for each in ended]
    at_start, at_version, at_insert = map(told, ended)
    assert names(at_start, "fail") == {"target.reach", "warehouse.reach", "store.reach"}
    assert names(at_version, "fail") == {"target.version"}
    assert names(at_version, "skipped") >= {"target.lock", "target.tables", "target.insert"}
    assert names(at_insert, "fail") == {"target.insert"}
    assert "in time" in at_insert["target.insert"]["what"]
    assert names(at_insert, "skipped") == {"target.enforcement"}
    assert await picture(desk) == before


def _port(desk: Desk, name: str) -> int:
    return desk.stack.azurite.port if name == STORE else desk.stack.postgres.port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_interrupted_after_the_write_it_leaves_no_blob(
    desk: Desk, env: dict[str, str], number: signal.Signals
) -> None:
    written = asyncio.Event()

    def tap(_wire: Wire) -> tuple[Hook, Hook]:
        def request(chunk: bytes) -> bytes | None:
            if chunk.startswith(b"GET /") and b"rogo_check_" in chunk.partition(b"\r\n")[0]:
                written.set()
                return None
            return chunk

        return request, forward

    async with AsyncExitStack() as undo:
        scene = Scene(desk, dict(env), undo)
        (await scene.proxied(STORE, desk.stack.azurite.port)).tap = tap
        async with begun(scene.env, "check") as command:
            async with asyncio.timeout(60):
                while not written.is_set():
                    assert command.process.returncode is None, await command.ended()
                    await asyncio.sleep(0.02)
            (name,) = await desk.blobs()
            assert name.startswith("LTI_Uploads/rogo_check_")
            command.process.send_signal(number)
            ended = await command.ended(20)
    assert ended.code == 128 + number, ended.output
    assert "interrupted before the end" in ended.stdout
    assert await desk.blobs() == [], ended.output


async def test_unixodbc_that_is_not_installed(
    desk: Desk, env: dict[str, str], tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    error = "libodbc.so.2: cannot open shared object file: No such file or directory"
    (absent / "pyodbc.py").write_text(f"raise ImportError({error!r})\n", encoding="utf-8")
    ended = await operate({**env, "PYTHONPATH": str(absent)}, "check", "--json")
    assert ended.code == 1, ended.output
    found = told(ended)
    assert names(found, "fail") == {"warehouse.driver"}
    assert "apt-get install unixodbc" in found["warehouse.driver"]["what"]
    assert found["warehouse.driver"]["remedy"]


async def test_an_old_driver_is_warned_of(desk: Desk, env: dict[str, str], tmp_path: Path) -> None:
    """Another driver under the name of one of Microsoft's that is long out of support."""
    import pyodbc

    old = "ODBC Driver 11 for SQL Server"
    registered = await asyncio.to_thread(
        subprocess.run,
        ["odbcinst", "-q", "-d", "-n", ODBC_DRIVER],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ODBC_DRIVER in pyodbc.drivers()
    directory = tmp_path / "odbc"
    directory.mkdir()
    text = registered.stdout.replace(ODBC_DRIVER, old)
    (directory / "odbcinst.ini").write_text(text, encoding="utf-8")
    async with AsyncExitStack() as undo:
        scene = Scene(desk, dict(env), undo)
        (await scene.proxied(WAREHOUSE, desk.stack.postgres.port)).refuse = True
        scene.env[WAREHOUSE] = scene.env[WAREHOUSE].replace(ODBC_DRIVER, old)
        ended = await operate(scene.env, "check", "--json", ODBCSYSINI=str(directory))
    found = told(ended)
    assert names(found, "warning") == {"warehouse.driver"}
    assert f"an old driver: {old}" in found["warehouse.driver"]["what"]
    assert "msodbcsql18" in found["warehouse.driver"]["remedy"]
    assert names(found, "fail") == {"warehouse.reach"}
