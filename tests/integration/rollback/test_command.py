"""``rollback`` at the command line: question, invalid selections, locks."""

import asyncio
import os
import pty
import signal
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

import asyncpg
import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, start_cli
from tests.support.rollback_fixtures import migrate, picture

RUN = "20260101T000000Z-0a1b2c3d"
ATTEMPTS = (1, 2, 3)


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in (*ATTEMPTS, 4)])
    return made


async def answered(
    env: Mapping[str, str], answer: str | signal.Signals, *args: str
) -> tuple[int, str]:
    """Run it on a terminal and answer the question. Returns the exit code and the output."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rogo_async", "rollback", *args,
        env={"PATH": os.environ["PATH"], **env}, cwd=env["ROGO_DATA_DIR"],
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = bytearray()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            shown.extend(os.read(ours, 4096))
        except OSError:  # the other end is closed
            loop.remove_reader(ours)
        if b"[y/N]" in shown:
            asked.set()

    loop.add_reader(ours, read)
    try:
        async with asyncio.timeout(60):
            await asked.wait()
            if isinstance(answer, signal.Signals):
                process.send_signal(answer)
            else:
                os.write(ours, f"{answer}\n".encode())
            code = await process.wait()
            await asyncio.sleep(0.1)
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        if process.returncode is None:
            process.kill()
    return code, shown.decode()


async def test_it_asks_before_deleting(scenario: Scenario, env: dict[str, str]) -> None:
    run = await migrate(env, *ATTEMPTS)
    before = await picture(scenario)
    code, shown = await answered(env, "n", "--run", run)
    question = f"Delete 3 submissions, 3 files and 0 malpractice rules of run {run}? [y/N]"
    assert question in shown
    host = urlsplit(env["DATABASE_URL"])
    assert (
        f"database {scenario.workspace.target} on {host.hostname}:{host.port}, container "
        f"{env['ROGO_CONTAINER']} of {scenario.stack.azurite.endpoint}" in shown
    )
    assert str(host.password) not in shown
    assert "cancelled; nothing was deleted" in shown
    assert code == 1, shown
    code, shown = await answered(env, signal.SIGINT, "--attempt", "1", "--attempt", "2")
    assert "Delete 2 submissions, 2 files and 0 malpractice rules of attempt 1, 2?" in shown
    assert code == 130, shown
    assert await picture(scenario) == before
    assert not [*(scenario.data_dir / "runs").glob("*.rollback.csv")]
    code, shown = await answered(env, "Yes", "--run", run)
    assert code == 0, shown
    assert await scenario.nothing_written()


async def test_a_run_with_a_wrong_instance_id_can_be_undone(
    scenario: Scenario, env: dict[str, str]
) -> None:
    run = await migrate({**env, "ROGO_INSTANCE_ID": "lms-wrong"}, *ATTEMPTS)
    refused = await run_cli(env)
    assert refused.code == 2
    assert "rollback --run RUN_ID --instance-id 'lms-wrong'" in refused.messages[0]
    kept = await run_cli(env, "rollback", "--yes", "--run", run)
    assert kept.code == 1, kept.output
    undone = await run_cli(env, "rollback", "--yes", "--run", run, "--instance-id", "lms-wrong")
    assert undone.code == 0, undone.output
    assert await scenario.nothing_written()
    assert (await run_cli(env)).code == 0


REFUSED = [
    (("--run", RUN), "not a terminal: use --yes"),
    (("--yes",), "either --run RUN_ID or --attempt ID"),
    (("--yes", "--run", RUN, "--attempt", "1"), "either --run RUN_ID or --attempt ID"),
    (("--yes", "--run", "20260101"), "is not a run id"),
    (("--yes", "--attempt", "0"), "'0' is not a whole number from 1 to 2147483647"),
    (("--yes", "--run", RUN), f"unknown run {RUN}"),
]


async def test_an_invalid_selection_is_rejected(scenario: Scenario, env: dict[str, str]) -> None:
    for args, said in REFUSED:
        result = await run_cli(env, "rollback", *args)
        assert result.code == 2, result.output
        assert said in result.output
        assert result.stdout.splitlines() in ([], result.messages)
    assert not (scenario.data_dir / "runs").exists()


async def test_a_known_run_without_rows_and_blobs_is_done(
    scenario: Scenario, env: dict[str, str]
) -> None:
    runs = scenario.data_dir / "runs"
    runs.mkdir()
    (runs / f"{RUN}.json").write_text("{}")
    result = await run_cli(env, "rollback", "--run", RUN, "--yes")
    assert result.code == 0, result.output
    assert f"run {RUN}: nothing to roll back" in result.stdout


async def test_it_does_not_run_beside_a_migration(scenario: Scenario, env: dict[str, str]) -> None:
    run = await migrate(env, *ATTEMPTS)
    before = await picture(scenario)
    scenario.serve_file("4.txt", b"slow", delay_s=20.0)
    other_dir = scenario.data_dir / "other"
    other_dir.mkdir()
    elsewhere = {**env, "ROGO_DATA_DIR": str(other_dir)}
    async with start_cli(env) as command:
        await command.wait_for_event("migration begins")
        for there in (env, elsewhere):
            result = await run_cli(there, "rollback", "--run", run, "--yes")
            assert result.code == 4, result.output
            assert "another run" in result.output
    assert await picture(scenario) == before


async def test_it_waits_for_the_sessions_of_a_run(scenario: Scenario, env: dict[str, str]) -> None:
    run = await migrate(env, *ATTEMPTS)
    before = await picture(scenario)
    stalled = await asyncpg.connect(
        env["DATABASE_URL"], server_settings={"application_name": "rogo_async"}
    )
    async with start_cli(env, "rollback", "--run", run, "--yes") as command:
        await command.wait_for_event("waiting for the sessions of a run to end")
        await asyncio.sleep(1.2)
        assert await picture(scenario) == before
        await stalled.close()
        assert (await command.wait()).code == 0
    assert await scenario.nothing_written()
