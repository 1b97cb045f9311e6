"""Blobs are deleted with batch requests where the store offers them (invariants 4 and 7)."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.batch_proxy import BatchProxy
from tests.support.builders import Scenario
from tests.support.cli import CliResult, run_cli, summary
from tests.support.store_proxy import running_proxy

ROWS = 20


@pytest.fixture
async def proxy(stack: Stack, env: dict[str, str]) -> AsyncIterator[BatchProxy]:
    """A store with batch requests, which ``env`` uses."""
    async with running_proxy(stack.azurite.endpoint, BatchProxy) as running:
        name = "AZURE_STORAGE_CONNECTION_STRING"
        env[name] = env[name].replace(stack.azurite.endpoint, running.endpoint)
        assert running.endpoint in env[name]
        yield running


@pytest.fixture
async def scenario(
    stack: Stack, workspace: Workspace, env: dict[str, str], proxy: BatchProxy
) -> Scenario:
    """A scenario in which a run has migrated 20 submissions through the proxy."""
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, ROWS + 1)])
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert len(await made.blobs()) == ROWS
    assert proxy.batches == []
    return made


async def roll_back(scenario: Scenario, env: dict[str, str]) -> CliResult:
    run_id = summary(scenario.data_dir)["run_id"]
    return await run_cli(env, "rollback", "--run", run_id, "--yes")


async def sweep(scenario: Scenario, env: dict[str, str]) -> CliResult:
    """Sweep blobs to which no row refers any more."""
    async with scenario.target() as target:
        await target.execute("DELETE FROM assignment_submissions")
    return await run_cli(env, "sweep", "--delete", "--min-age", "0")


async def test_all_blobs_of_a_page_go_in_one_request(
    scenario: Scenario, env: dict[str, str], proxy: BatchProxy
) -> None:
    result = await roll_back(scenario, env)
    assert result.code == 0, result.output
    assert f"{ROWS} blobs deleted" in result.stdout
    assert (sum(proxy.batches), proxy.singles) == (ROWS, 0)
    assert await scenario.blobs() == []


async def test_a_sweep_uses_batches_too(
    scenario: Scenario, env: dict[str, str], proxy: BatchProxy
) -> None:
    result = await sweep(scenario, env)
    assert f"{ROWS} deleted" in result.stdout, result.output
    assert (sum(proxy.batches), proxy.singles) == (ROWS, 0)
    assert await scenario.blobs() == []


@pytest.mark.parametrize(
    "change",
    [
        lambda _statuses: None,
        lambda statuses: [503, *statuses[1:]],
        lambda statuses: [429] * len(statuses),
        lambda statuses: [403, *statuses[1:]],
        lambda statuses: statuses[1:],
        lambda _statuses: [],
    ],
    ids=["lost", "one failed", "throttled", "one refused", "one missing", "empty"],
)
async def test_every_blob_is_gone_whatever_the_answer_says(
    scenario: Scenario,
    env: dict[str, str],
    proxy: BatchProxy,
    change: Callable[[list[int]], list[int] | None],
) -> None:
    proxy.change = change
    result = await roll_back(scenario, env)
    assert result.code == 0, result.output
    assert f"{ROWS} blobs deleted" in result.stdout
    assert proxy.batches
    assert await scenario.blobs() == []


@pytest.mark.parametrize("change", [lambda s: s, lambda s: s[::-1]], ids=["", "reversed"])
@pytest.mark.parametrize("command", [roll_back, sweep])
async def test_a_blob_that_was_written_anew_since_it_was_listed_is_kept(
    scenario: Scenario,
    env: dict[str, str],
    proxy: BatchProxy,
    command: Callable[[Scenario, dict[str, str]], Awaitable[CliResult]],
    change: Callable[[list[int]], list[int]],
) -> None:
    """Also when the answers come in another order than the requests."""
    kept = (await scenario.blobs())[3]
    pending = [kept]

    async def rewrite() -> None:
        while pending:
            async with scenario.container() as container:
                blob = container.get_blob_client(pending.pop())
                metadata = (await blob.get_blob_properties()).metadata
                await blob.upload_blob(b"new", overwrite=True, metadata=metadata)

    proxy.before_batch = rewrite
    proxy.change = change
    result = await command(scenario, env)
    assert result.code == 1, result.output
    assert "1 blob kept" in result.stdout or "1 kept" in result.stdout, result.stdout
    assert await scenario.blobs() == [kept]
