"""Every command once, in the order of the documentation."""

from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import CliResult, run_cli, summary
from tests.support.snapshot import take_snapshot

ROWS = 12


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    submissions = [made.submission(attempt) for attempt in range(1, ROWS + 1)]
    submissions[3].report["Grade"] = "Malpractice Severe"
    del submissions[5].cells["Learner Email"]
    await made.load(submissions)
    return made


def line(result: CliResult) -> str:
    """The last line, which is the summary line."""
    return result.stdout.splitlines()[-1]


async def test_every_documented_command(scenario: Scenario, env: dict[str, str]) -> None:
    checked = await run_cli(env, "check")
    assert checked.code == 0, checked.output
    planned = await run_cli(env, "plan")
    assert planned.code == 1
    assert f"{ROWS} rows: {ROWS - 1} would migrate" in line(planned)
    before = await rows_and_blobs(scenario)

    ran = await run_cli(env, "run", "--report")
    assert ran.code == 1
    assert f"{ROWS - 1} migrated, 1 failed (1 new)" in line(ran)
    run_id = summary(scenario.data_dir)["run_id"]
    verified = await run_cli(env, "verify")
    assert verified.code == 0, verified.output
    assert f"{ROWS - 1} submissions ok, 0 wrong" in line(verified)
    swept = await run_cli(env, "sweep", "--min-age", "0")
    assert swept.code == 0, swept.output
    await report(scenario.data_dir, env, run_id)
    status = await run_cli(env, "status")
    assert status.code == 0
    assert run_id in status.stdout

    back = await run_cli(env, "rollback", "--run", run_id, "--yes")
    assert back.code == 0, back.output
    assert f"{ROWS - 1} of {ROWS - 1} submissions rolled back" in line(back)
    assert await rows_and_blobs(scenario) == before
    assert "nothing to roll back" in line(await run_cli(env, "rollback", "--run", run_id, "--yes"))

    assert (await run_cli(env)).code == 1
    assert await scenario.attempts() == [n for n in range(1, ROWS + 1) if n != 6]
    await assert_consistent(scenario)


async def report(data_dir: Path, env: dict[str, str], run_id: str) -> None:
    page = data_dir / "runs" / f"{run_id}.html"
    assert "<svg" in page.read_text("utf-8")
    page.unlink()
    assert (await run_cli(env, "report")).code == 0
    assert "<svg" in page.read_text("utf-8")


async def rows_and_blobs(scenario: Scenario) -> dict[str, object]:
    found = await take_snapshot(scenario)
    del found["files"]
    return found
