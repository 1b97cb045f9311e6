"""Fixtures of real servers; a server that cannot start fails the tests."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest

from rogo_async.demo.servers.scripted_source import ScriptedSource
from rogo_async.demo.servers.stack import Stack, Workspace

# A slow machine must not fail a property test: examples have no time limit.
hypothesis.settings.register_profile(
    "rogo", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("rogo")


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The embedded stack, one for all tests."""
    async with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def source(stack: Stack) -> ScriptedSource:
    """The scripted source, without routes and requests of other tests."""
    stack.source.forget()
    return stack.source


@pytest.fixture
async def workspace(
    stack: Stack, source: ScriptedSource, tmp_path: Path
) -> AsyncIterator[Workspace]:
    """Empty databases and containers of this test; its data directory is tmp_path."""
    fresh = await stack.new_workspace(uuid.uuid4().hex[:12], tmp_path)
    yield fresh
    await stack.remove_workspace(fresh)


@pytest.fixture
def env(stack: Stack, workspace: Workspace) -> dict[str, str]:
    """The environment variables of ``run`` for the test's workspace (specification §4)."""
    return stack.environment_of(workspace)


@pytest.fixture
def target_db(stack: Stack, workspace: Workspace) -> str:
    """The superuser's URL of this test's target."""
    return stack.postgres.dsn(workspace.target)


@pytest.fixture
def warehouse_db(stack: Stack, workspace: Workspace) -> str:
    """The superuser's URL (for asyncpg) of this test's warehouse."""
    return stack.postgres.dsn(workspace.warehouse)
