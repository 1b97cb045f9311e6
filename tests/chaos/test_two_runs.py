"""Two runs beside each other (SPEC §5, §6.2, §6.3)."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk, whole
from tests.support.cli import Ended, begun, counts, operate, table
from tests.support.tcp_proxy import TcpProxy

ROWS: Final = 40
STORE: Final = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    made = Desk(stack, workspace)
    submissions = [made.sound(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        if each.attempt % 4 == 0:
            each.report["Grade"] = "Malpractice Severe"
    await made.lay_out(submissions)
    return made


def elsewhere(desk: Desk) -> Path:
    """Another data directory with the same input."""
    other = desk.data_dir / "other"
    other.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(desk.data_dir / name, other)
    return other


async def sound_and_once(desk: Desk, env: dict[str, str]) -> None:
    assert await desk.attempts() == list(range(1, ROWS + 1))
    assert len(await desk.rows("malpractice_enforcements")) == ROWS // 4
    await whole(desk)
    assert (await operate(env, "verify")).code == 0


@pytest.mark.parametrize("same_dir", [True, False])
async def test_of_two_runs_in_the_same_moment_one_works(
    desk: Desk, env: dict[str, str], *, same_dir: bool
) -> None:
    for attempt in range(1, ROWS + 1):
        desk.served(f"{attempt}.txt", b"text %d" % attempt, delay_s=0.3)
    other = env if same_dir else {**env, "ROGO_DATA_DIR": str(elsewhere(desk))}
    first, second = await asyncio.gather(operate(env), operate(other))
    ended: dict[int, Ended] = {each.code: each for each in (first, second)}
    assert sorted(ended) == [0, 4], (first.output, second.output)
    assert "another run" in ended[4].output
    assert ended[4].stdout == ""
    await sound_and_once(desk, env)


async def cut_off_from_its_lock(target_db: str) -> None:
    """End the session of the run's lock alone."""
    administrator = await asyncpg.connect(target_db)
    try:
        await administrator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND objsubid = 2 AND database = (SELECT oid FROM pg_database "
            "WHERE datname = current_database())"
        )
    finally:
        await administrator.close()


@pytest.mark.parametrize("stalled_in", ["upload", "insert"])
async def test_a_stalled_run_wakes_after_another_has_done_its_work(
    desk: Desk, env: dict[str, str], target_db: str, stack: Stack, stalled_in: str
) -> None:
    """Its lock is gone meanwhile; what it still writes must neither double nor dangle."""
    port = stack.azurite.port if stalled_in == "upload" else stack.postgres.port
    name = STORE if stalled_in == "upload" else "DATABASE_URL"
    async with TcpProxy("127.0.0.1", port) as proxy:
        slow = {**env, name: env[name].replace(f"{port}", f"{proxy.port}")}
        async with begun(slow, ROGO_CONCURRENCY="8") as command:
            await command.logged("migration begins")
            proxy.delay_s = 20.0
            await asyncio.sleep(0.5)
            await cut_off_from_its_lock(target_db)
            other = {**env, "ROGO_DATA_DIR": str(elsewhere(desk))}
            second = await operate(other)
            assert second.code == 0, second.output
            proxy.delay_s = 0.0
            first = await command.ended()
    if stalled_in == "upload":
        assert first.code == 3, first.output
        assert "the run's lock was lost" in first.stdout
    else:  # the news of its lock were late, too
        assert first.code in {0, 3}, first.output
    assert first.events("internal error") == []
    migrated, failed, skipped, not_reached = counts(desk.data_dir)
    assert failed == 0
    assert migrated + skipped + not_reached == ROWS
    await sound_and_once(desk, env)
    swept = await operate(env, "sweep", "--delete", "--min-age", "0")
    assert swept.code == 0, swept.output
    await sound_and_once(desk, env)
    third = await operate(env)
    assert third.code == 0, third.output
    assert counts(desk.data_dir) == (0, 0, ROWS, 0)
    assert len(table(desk.data_dir / "migrated.csv")) == ROWS
