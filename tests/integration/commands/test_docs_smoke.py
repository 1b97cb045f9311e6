"""A new operator's first evening: every command once, in the order of the documentation."""

from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk, whole
from tests.support.cli import Ended, operate, summary
from tests.support.snapshot import picture

ROWS = 12


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    made = Desk(stack, workspace)
    submissions = [made.sound(attempt) for attempt in range(1, ROWS + 1)]
    submissions[3].report["Grade"] = "Malpractice Severe"
    del submissions[5].cells["Learner Email"]
    await made.lay_out(submissions)
    return made


def line(ended: Ended) -> str:
    """The last line, which is the one for the operator."""
    return ended.stdout.splitlines()[-1]


async def test_every_command_once(desk: Desk, env: dict[str, str]) -> None:
    checked = await operate(env, "check")
    assert checked.code == 0, checked.output
    planned = await operate(env, "plan")
    assert planned.code == 1
    assert f"of {ROWS} rows {ROWS - 1} would migrate" in line(planned)
    before = await rows_and_blobs(desk)

    ran = await operate(env, "run", "--report")
    assert ran.code == 1
    assert f"{ROWS - 1} migrated, 1 failed (1 new)" in line(ran)
    run_id = summary(desk.data_dir)["run_id"]
    verified = await operate(env, "verify")
    assert verified.code == 0, verified.output
    assert f"{ROWS - 1} submissions verified and right, 0 wrong" in line(verified)
    swept = await operate(env, "sweep", "--min-age", "0")
    assert swept.code == 0, swept.output
    await report(desk.data_dir, env, run_id)
    status = await operate(env, "status")
    assert status.code == 0
    assert run_id in status.stdout

    back = await operate(env, "rollback", "--run", run_id, "--yes")
    assert back.code == 0, back.output
    assert f"{ROWS - 1} of {ROWS - 1} submissions rolled back" in line(back)
    assert await rows_and_blobs(desk) == before
    assert "nothing" in line(await operate(env, "rollback", "--run", run_id, "--yes"))

    assert (await operate(env)).code == 1
    assert await desk.attempts() == [n for n in range(1, ROWS + 1) if n != 6]
    await whole(desk)


async def report(data_dir: Path, env: dict[str, str], run_id: str) -> None:
    page = data_dir / "runs" / f"{run_id}.html"
    assert "<svg" in page.read_text("utf-8")
    page.unlink()
    assert (await operate(env, "report")).code == 0
    assert "<svg" in page.read_text("utf-8")


async def rows_and_blobs(desk: Desk) -> dict[str, object]:
    found = await picture(desk)
    del found["files"]
    return found
