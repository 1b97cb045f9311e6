"""A host that answers 403 to all requests for a while fails no row (rule 14)."""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import FAILED, counts, start_cli, summary, table

ROWS = 40


@pytest.mark.parametrize("concurrency", [1, 5, 16])
async def test_rule_14_every_row_migrates_after_a_host_has_answered_403_for_a_while(
    stack: Stack, workspace: Workspace, env: dict[str, str], concurrency: int
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(attempt) for attempt in range(1, ROWS + 1)])
    for attempt in range(1, ROWS + 1):
        scenario.serve_file(f"{attempt}.txt", b"", status=403)
    async with start_cli(env, ROGO_CONCURRENCY=str(concurrency)) as command:
        await command.wait_for_event("outage began")
        for attempt in range(1, ROWS + 1):
            scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt)
        result = await command.wait()
    assert result.code == 0, result.output
    assert counts(workspace.data_dir) == (ROWS, 0, 0, 0)
    assert table(workspace.data_dir / FAILED) == []
    (outage,) = summary(workspace.data_dir)["outages"]
    assert outage["dependency"].startswith("source")
    assert outage["ended"]
    assert await scenario.attempts() == list(range(1, ROWS + 1))
    await assert_consistent(scenario)
