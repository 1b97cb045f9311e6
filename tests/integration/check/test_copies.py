"""``check`` tries one copy by the service for each source host, and removes it (rule 14)."""

from contextlib import AsyncExitStack

import pytest
from yarl import URL

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import Setup, load_valid_setup, run_checks
from tests.support.copy_proxy import Refusal, behind, copy_proxy, redirect_urls


@pytest.mark.parametrize(
    ("refusal", "mode", "said"),
    [
        (None, "auto", "a run lets the service copy files"),
        (
            (403, "CannotVerifyCopySource"),
            "auto",
            "the service declined (403 CannotVerifyCopySource)",
        ),
        (None, "stream", "a run streams files through this machine (ROGO_COPY)"),
    ],
)
async def test_check_says_whether_a_run_copies_or_streams(
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    refusal: Refusal | None,
    mode: str,
    said: str,
) -> None:
    scenario = Scenario(stack, workspace)
    await load_valid_setup(scenario)
    async with copy_proxy(stack.azurite) as proxy, AsyncExitStack() as undo:
        proxy.refuse = lambda: refusal
        origin = str(URL(proxy.endpoint).origin())
        redirect_urls(scenario.data_dir / "submission_files.csv", stack.azurite.origin, origin)
        site = {**behind(proxy, stack.azurite, env), "ROGO_COPY": mode}
        output = await run_checks(Setup(scenario, site, undo), monkeypatch)
    assert output.code == 0
    assert said in output.results[f"copy.{origin}"].message
    plain = output.results[f"copy.{scenario.source.origin}"].message
    assert mode == "stream" or "not Azure Blob Storage" in plain
    assert len(proxy.copies) == (0 if mode == "stream" else 1)
    assert await scenario.blobs() == []
