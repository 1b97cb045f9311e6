"""Runs whose files the service copies: the same result as with streamed files (rule 14)."""

import asyncio

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import Route
from tests.chaos.rounds import RoundFactory
from tests.chaos.small_dataset import small_dataset
from tests.chaos.test_servers_away import Fault, closed, reset
from tests.support.cli import rows_done, run_cli, start_cli, summary
from tests.support.copy_proxy import copy_proxy
from tests.support.store_proxy import StoreProxy, running_proxy

ROWS = 60


async def test_demo_data_has_the_same_result_copied_and_streamed(
    stack: Stack, workspace: Workspace
) -> None:
    """Azurite itself answers "not implemented"."""
    factory = await RoundFactory.generated(stack, workspace, ROWS, seed=5)
    summaries = []
    async with (
        copy_proxy(stack.azurite) as copying,
        running_proxy(stack.azurite.endpoint, StoreProxy) as plain,
    ):
        for factory.service in (copying, plain):
            async with factory.round() as chaos_round:
                result = await run_cli(chaos_round.env)
                assert result.code == chaos_round.expected_code, result.output
                summaries.append(summary(chaos_round.workspace.data_dir))
                findings = await chaos_round.check()
            assert not findings.lines()
    copied, streamed = summaries
    for name in ("migrated", "failed", "skipped", "by_code", "files", "file_bytes"):
        assert copied[name] == streamed[name]
    assert copied["copied_files"] > copied["streamed_files"]
    assert copied["copied_files"] + copied["streamed_files"] == copied["files"]
    assert copied["copied_bytes"] + copied["streamed_bytes"] == copied["file_bytes"]
    assert streamed["copied_files"] == 0
    assert sum(streamed["streamed_because"].values()) == streamed["files"]
    assert Route.DECLINED.value.removeprefix("streamed: ") in streamed["streamed_because"]


@pytest.mark.parametrize("fault", [closed, reset])
async def test_no_row_fails_while_the_store_is_away(
    stack: Stack, workspace: Workspace, fault: Fault
) -> None:
    factory = await small_dataset(stack, workspace, ROWS, in_azure=True)
    async with copy_proxy(stack.azurite) as service:
        factory.service = service
        service.before_read = lambda: asyncio.sleep(0.05)
        async with factory.round() as chaos_round:
            settings = {"ROGO_CONCURRENCY": "3", "ROGO_PROGRESS_INTERVAL": "0.2"}
            async with start_cli(chaos_round.env, **settings) as command:
                await command.wait_for_event("progress", rows_done(3))
                await fault(chaos_round.proxies["store"])
                result = await command.wait()
            assert result.code == chaos_round.expected_code, result.output
            found = summary(chaos_round.workspace.data_dir)
            findings = await chaos_round.check()
    assert not findings.lines()
    assert found["copied_files"] > ROWS / 2
