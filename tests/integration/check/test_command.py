"""The command line of ``check``: lines, JSON, colors, exit codes, interruption, no leftovers."""

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
from tests.support.builders import Scenario
from tests.support.check_fixtures import NAMES, Setup, load_valid_setup
from tests.support.cli import CliResult, run_cli, start_cli
from tests.support.snapshot import take_snapshot
from tests.support.tcp_proxy import Hook, Wire, forward

TARGET, WAREHOUSE, STORE = (
    "DATABASE_URL",
    "DATA_WAREHOUSE_CONNECTION_STRING",
    "AZURE_STORAGE_CONNECTION_STRING",
)
_LINE = re.compile(r"(ok  |warn|FAIL|skip) (\w+): \S.*")


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await load_valid_setup(made)
    return made


def results_of(result: CliResult) -> dict[str, dict[str, str]]:
    """The results of ``--json`` by name. Fails if stdout has other text or a remedy is missing."""
    rows: list[dict[str, str]] = json.loads(result.stdout)
    assert all(row.keys() == {"name", "state", "what", "remedy"} for row in rows)
    assert all(row["remedy"] for row in rows if row["state"] in {"fail", "warning"}), rows
    return {row.pop("name"): row for row in rows}


def names(found: dict[str, dict[str, str]], state: str) -> set[str]:
    return {name for name, row in found.items() if row["state"] == state} - {"machine.memory"}


async def test_valid_setup_passes_and_is_unchanged(scenario: Scenario, env: dict[str, str]) -> None:
    before = await take_snapshot(scenario)
    result = await run_cli(env, "check")
    assert result.code == 0, result.output
    *shown, last = result.stdout.splitlines()
    lines = shown[: shown.index("")] if "" in shown else shown  # memory may be short, and repeated
    found = [_LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    states = {match[1] for match in found if match and match[2] != "machine"}
    assert states == {"ok  "}, lines
    assert re.fullmatch(r"rogo_async: \d+ ok, [01] warnings?, 0 failed, 0 skipped; exit 0", last)
    assert "\x1b" not in result.stdout
    assert result.messages == []
    assert await take_snapshot(scenario) == before
    assert {path.name for path in scenario.data_dir.iterdir()} == {
        "submission_files.csv",
        "attempt_number_mapping.csv",
    }


async def test_names_of_checks_are_stable(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, "check", "--json", "--data-dir", str(scenario.data_dir))
    assert result.code == 0, result.output
    hosts = (scenario.source.origin, scenario.stack.azurite.origin)
    assert results_of(result).keys() == {
        *NAMES,
        *(f"settings.{field.upper()}" for field in Settings.model_fields),
        *(f"source.{host}.{what}" for host in hosts for what in ("reach", "sas", "files")),
        *(f"copy.{host}" for host in hosts),
    }
    assert "command line" in results_of(result)["settings.ROGO_DATA_DIR"]["what"]


async def test_each_missing_setting_is_reported(tmp_path: Path) -> None:
    result = await run_cli({"ROGO_DATA_DIR": str(tmp_path)}, "check", "--json")
    assert result.code == 2, result.output
    found = results_of(result)
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


async def test_what_is_not_ok_is_repeated_at_the_end_and_alone_with_quiet(tmp_path: Path) -> None:
    env = {"ROGO_DATA_DIR": str(tmp_path), "ROGO_CONTANER": "x"}
    shown, quiet = [(await run_cli(env, "check", *args)).stdout for args in ((), ("--quiet",))]
    first, heading, repeated = shown.partition("\nNot ok (")
    assert heading
    *again, verdict = repeated.splitlines()[1:]
    assert {line[:4] for line in first.splitlines()} == {"ok  ", "warn", "FAIL", "skip"}
    assert again == [line for line in first.splitlines() if line[:4] in {"warn", "FAIL"}]
    assert verdict.startswith("rogo_async: ")
    wanted = [line for line in first.splitlines() if line[:4] != "ok  "]
    assert quiet.splitlines() == [*wanted, verdict]


async def test_another_file_of_settings_is_read_and_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ROGO_CONCURRENCY=3\n")
    site = tmp_path / "site.env"
    site.write_text(f"ROGO_DATA_DIR={tmp_path}\nROGO_INSTANCE_ID=INSTANCE\n")
    site.chmod(0o644)
    env = {"ROGO_DATA_DIR": str(tmp_path)}
    found = results_of(await run_cli(env, "check", "--json", "--env-file", str(site)))
    assert f"chmod 600 {site}" in found["settings.env_file"]["remedy"]
    assert "default 64" in found["settings.ROGO_CONCURRENCY"]["what"]
    assert str(site) in found["settings.DATABASE_URL"]["remedy"]
    assert found["settings.ROGO_INSTANCE_ID"]["state"] == "fail"
    site.write_text("not a setting\n")
    run = await run_cli(env, "run", "--env-file", str(site))
    assert run.code == 2
    assert run.messages[-1].startswith(f"rogo_async: {site}: line 1")
    missing = await run_cli(env, "status", "--env-file", str(tmp_path / "absent.env"))
    assert missing.code == 2
    assert "absent.env' does not exist" in missing.output


async def test_invalid_setting_skips_only_its_own_checks(
    scenario: Scenario, env: dict[str, str]
) -> None:
    env["ROGO_CONCURRENCY"] = "many"
    result = await run_cli(env, "check", "--json")
    assert result.code == 2, result.output
    found = results_of(result)
    assert names(found, "fail") == {"settings.ROGO_CONCURRENCY"}
    assert names(found, "skipped") == {"machine.files", "target.connections"}


async def on_a_terminal(env: dict[str, str], **settings: str) -> tuple[int, str]:
    """Run ``check`` on a terminal; return the exit code and the output."""
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


async def test_colors_on_a_terminal_that_has_them_unless_no_color_is_set(
    scenario: Scenario, env: dict[str, str]
) -> None:
    env["ROGO_CONTAINER"] = "absent"
    (code, colored), (_, plain), (_, dumb) = await asyncio.gather(
        on_a_terminal(env), on_a_terminal(env, NO_COLOR="1"), on_a_terminal(env, TERM="dumb")
    )
    assert code == 1
    assert "\x1b[32mok" in colored
    assert "\x1b[31m\x1b[1mFAIL" in colored
    assert "\x1b[2mskip" in colored
    assert "\x1b" not in plain + dumb
    assert "FAIL store: no such container" not in colored
    assert "FAIL store: status 404: no such container. Create it" in plain


async def test_refused_connections(scenario: Scenario, env: dict[str, str]) -> None:
    async with AsyncExitStack() as undo:
        setup = Setup(scenario, dict(env), undo)
        for name in (TARGET, WAREHOUSE, STORE):
            (await setup.proxied(name, _port(scenario, name))).refuse = True
        plain = await setup.proxied("ROGO_SOURCE_HOSTS", scenario.source.port)
        plain.refuse = True
        result = await run_cli(setup.env, "check", "--json")
    assert result.code == 3, result.output
    found = results_of(result)
    reached = {"target.reach", "warehouse.reach", "store.reach"}
    assert names(found, "fail") == {*reached, f"source.http://127.0.0.1:{plain.port}.reach"}
    assert TARGET in found["target.reach"]["remedy"]
    assert WAREHOUSE in found["warehouse.reach"]["remedy"]
    assert "AZURE_STORAGE" in found["store.reach"]["remedy"]
    assert names(found, "warning") == {"source.allowed"}
    for name in ("clock.store", "store.list", "target.enforcement", "clock.target"):
        assert found[name]["what"].split()[-1] in reached


def silenced_at(words: bytes) -> Callable[[Wire], tuple[Hook, Hook]]:
    """A tap that drops all traffic once the client sends ``words``."""

    def tap(wire: Wire) -> tuple[Hook, Hook]:
        def request(chunk: bytes) -> bytes | None:
            if words in chunk:
                wire.silence()
                return None
            return chunk

        return request, forward

    return tap


async def test_servers_that_stop_answering(scenario: Scenario, env: dict[str, str]) -> None:
    """A server that does not answer gets no more requests; its transaction does not stay open."""
    before = await take_snapshot(scenario)
    async with AsyncExitStack() as undo:
        dead, early, late = (Setup(scenario, dict(env), undo) for _ in range(3))
        for name in (TARGET, WAREHOUSE, STORE):
            (await dead.proxied(name, _port(scenario, name))).black_hole = True
        for setup, words in (
            (early, b"pg_is_in_recovery"),
            (late, b"WITH launch AS"),
        ):
            (await setup.proxied(TARGET, scenario.stack.postgres.port)).tap = silenced_at(words)
        began = time.monotonic()
        result = await asyncio.gather(
            *[run_cli(setup.env, "check", "--json") for setup in (dead, early, late)]
        )
        assert time.monotonic() - began < 90
    assert [each.code for each in result] == [3, 3, 3], [each.output for each in result]
    at_start, at_version, at_insert = map(results_of, result)
    assert names(at_start, "fail") == {"target.reach", "warehouse.reach", "store.reach"}
    assert names(at_version, "fail") == {"target.version"}
    assert names(at_version, "skipped") >= {"target.lock", "target.tables", "target.insert"}
    assert names(at_insert, "fail") == {"target.insert"}
    assert "in time" in at_insert["target.insert"]["what"]
    assert names(at_insert, "skipped") == {"target.enforcement"}
    assert await take_snapshot(scenario) == before


def _port(scenario: Scenario, name: str) -> int:
    return scenario.stack.azurite.port if name == STORE else scenario.stack.postgres.port


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_interruption_after_the_write_deletes_the_blob(
    scenario: Scenario, env: dict[str, str], number: signal.Signals
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
        setup = Setup(scenario, dict(env), undo)
        (await setup.proxied(STORE, scenario.stack.azurite.port)).tap = tap
        async with start_cli(setup.env, "check") as command:
            async with asyncio.timeout(60):
                while not written.is_set():
                    assert command.process.returncode is None, await command.wait()
                    await asyncio.sleep(0.02)
            (name,) = await scenario.blobs()
            assert name.startswith("LTI_Uploads/rogo_check_")
            command.process.send_signal(number)
            result = await command.wait(20)
    assert result.code == 128 + number, result.output
    assert "; interrupted" in result.stdout
    assert await scenario.blobs() == [], result.output


async def test_unixodbc_not_installed(
    scenario: Scenario, env: dict[str, str], tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    absent.mkdir()
    error = "libodbc.so.2: cannot open shared object file: No such file or directory"
    (absent / "pyodbc.py").write_text(f"raise ImportError({error!r})\n", encoding="utf-8")
    result = await run_cli({**env, "PYTHONPATH": str(absent)}, "check", "--json")
    assert result.code == 1, result.output
    found = results_of(result)
    assert names(found, "fail") == {"warehouse.driver"}
    assert "apt-get install unixodbc" in found["warehouse.driver"]["what"]
    assert found["warehouse.driver"]["remedy"]


async def test_warning_about_an_old_driver(
    scenario: Scenario, env: dict[str, str], tmp_path: Path
) -> None:
    """Registers the test driver under the name of an unsupported Microsoft driver."""
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
        setup = Setup(scenario, dict(env), undo)
        (await setup.proxied(WAREHOUSE, scenario.stack.postgres.port)).refuse = True
        setup.env[WAREHOUSE] = setup.env[WAREHOUSE].replace(ODBC_DRIVER, old)
        result = await run_cli(setup.env, "check", "--json", ODBCSYSINI=str(directory))
    found = results_of(result)
    assert names(found, "warning") == {"warehouse.driver"}
    assert f"driver is out of support: {old}" in found["warehouse.driver"]["what"]
    assert "msodbcsql18" in found["warehouse.driver"]["remedy"]
    assert names(found, "fail") == {"warehouse.reach"}
