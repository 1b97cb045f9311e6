"""Commands that may take long write a progress line each interval, stage by stage."""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import CliResult, run_cli, summary

ROWS = 40


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, ROWS + 1)])
    return made


def stages_of(result: CliResult) -> set[object]:
    """The stages that wrote a progress line."""
    return {entry.get("stage") for entry in result.events("progress")}


async def test_every_stage_writes_progress_lines(scenario: Scenario, env: dict[str, str]) -> None:
    env["ROGO_PROGRESS_INTERVAL"] = "0.001"
    assert "checking" in stages_of(await run_cli(env, "check"))
    assert {"reading the attempts in the target", None} <= stages_of(await run_cli(env, "plan"))
    ran = await run_cli(env, "run")
    assert {"reading the attempts in the target", "rebuilding migrated.csv", None} <= stages_of(ran)

    verified = await run_cli(env, "verify")
    (last, *_) = verified.events("progress")[::-1]
    assert (last["stage"], last["total"], last["unit"]) == ("verifying", ROWS, "submissions")
    assert "sweeping" in stages_of(await run_cli(env, "sweep", "--min-age", "0"))
    assert "reading the target" in stages_of(await run_cli(env, "status"))

    run_id = summary(scenario.data_dir)["run_id"]
    back = await run_cli(env, "rollback", "--run", run_id, "--yes")
    assert back.code == 0, back.output
    assert {"finding the submissions", "deleting rows", "deleting blobs"} <= stages_of(back)
    blobs = [e for e in back.events("progress") if e.get("stage") == "deleting blobs"]
    assert 0 < blobs[-1]["done"] <= blobs[-1]["total"] == ROWS


async def test_quiet_commands_write_no_progress(scenario: Scenario, env: dict[str, str]) -> None:
    env["ROGO_PROGRESS_INTERVAL"] = "0.001"
    for command in ("check", "run", "verify", "sweep"):
        result = await run_cli(env, command, "--quiet")
        assert result.code == 0, result.output
        assert result.events("progress") == []
