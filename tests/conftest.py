"""Fixtures of real servers; a server that cannot start fails the tests."""

import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import hypothesis
import pytest

from rogo_async.commands.check.data_dir import available_memory
from rogo_async.demo.servers.scripted_source import ScriptedSource
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support import copying_stack
from tests.support.secure_store import SecureContainer, SecureStore, start_secure_store

# A slow machine must not fail a property test: examples have no time limit. The result depends only
# on the code: no database of examples, and the same examples every time. To search further, pass
# --hypothesis-profile=search: a thousand random examples of each property.
hypothesis.settings.register_profile(
    "rogo",
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "search", hypothesis.settings.get_profile("rogo"), derandomize=False, max_examples=1000
)
hypothesis.settings.load_profile("rogo")

MEMORY = Path("/dev/shm")
NEEDED = 6 << 30


def pytest_configure() -> None:
    """Keep the files of the tests in memory if there is room: disks make the suite much slower.

    The databases of one test are 600 files. TMPDIR or --basetemp chooses another place.
    """
    # Commands would inherit that SIGHUP is ignored, as under nohup, and miss a closed terminal. A
    # handler is not inherited.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    if "TMPDIR" not in os.environ and _has_room(MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _has_room(directory: Path) -> bool:
    """Whether programs can be run from there, which some containers forbid, and enough is free."""
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        return False
    may_execute = not os.statvfs(directory).f_flag & os.ST_NOEXEC
    return may_execute and min(shutil.disk_usage(directory).free, available_memory()) >= NEEDED


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The embedded stack, one for all tests."""
    async with Stack(tmp_path_factory.mktemp("stack")) as running, AsyncExitStack() as proxies:
        if copying_stack.IS_ON:
            await proxies.enter_async_context(copying_stack.copying(running))
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


@pytest.fixture(scope="session")
async def secure_store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecureStore]:
    """Azurite over https with access tokens, one for all tests."""
    async with start_secure_store(tmp_path_factory.mktemp("secure_store")) as store:
        yield store


@pytest.fixture
async def secure_container(secure_store: SecureStore) -> AsyncIterator[SecureContainer]:
    """An empty container of the secure store."""
    async with secure_store.new_container() as container:
        yield container
