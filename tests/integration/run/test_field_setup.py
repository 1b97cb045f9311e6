"""A run as in the field: a managed identity, TLS to the target and an HTTP proxy, all at once.

The destination is ``https://NAME.blob.core.windows.net``, a host that only the proxy can reach. The
target refuses connections without TLS.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from rogo_async.demo.checks.check_files import FinishedRun, check_files
from rogo_async.demo.checks.check_postgres import check_target
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import WRITER, Stack
from tests.support.cli import run_cli, summary
from tests.support.http_proxy import HttpProxy
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.secure_store import SecureContainer
from tests.support.tls_postgres import TlsPostgres

ROWS = 100
SEED = 11
PASSWORD = "proxy-password-canary"


@pytest.fixture
async def tls_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose target can use TLS."""
    directory = tmp_path_factory.mktemp("field_stack")
    async with Stack(directory, postgres_type=TlsPostgres) as running:
        yield running


@pytest.fixture
async def target_url(tls_stack: Stack, secure_container: SecureContainer) -> str:
    """The target, which accepts the tool over TLS only. Its certificate is for localhost."""
    postgres, authority = tls_stack.postgres, secure_container.store.authority
    assert isinstance(postgres, TlsPostgres)
    await postgres.use_certificate(authority.server("localhost"), authority)
    await postgres.allow(f"hostnossl all {WRITER} all reject")
    url = tls_stack.writer_dsn(tls_stack.workspace).replace(postgres.host, "localhost")
    return f"{url}?sslmode=verify-full&sslrootcert={authority.certificate}"


@pytest.fixture
async def dataset(tls_stack: Stack) -> Dataset:
    made = generate_for(tls_stack, tls_stack.workspace, ROWS, SEED)
    await load(made, tls_stack, tls_stack.workspace)
    return made


async def test_a_whole_migration_with_identity_tls_and_proxy(
    dataset: Dataset, tls_stack: Stack, target_url: str, secure_container: SecureContainer
) -> None:
    store = secure_container.store
    address = f"{store.host}:443"
    async with (
        IdentityEndpoint() as endpoint,
        HttpProxy(f"user:{PASSWORD}", addresses={address: store.azurite.port}) as proxy,
    ):
        site = secure_container.environment(
            tls_stack.environment() | {"DATABASE_URL": target_url},
            AZURE_STORAGE_ACCOUNT_NAME=store.azurite.account_name,
            HTTPS_PROXY=proxy.url,
            HTTP_PROXY=proxy.url,
            **endpoint.environment,
        )
        checked = await run_cli(site, "check")
        # The newest files of the data set may be those that are refused.
        assert checked.code in {0, 1}, checked.output
        assert "ok   target: " in checked.stdout
        failed = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
        assert all(line.startswith("FAIL source: ") for line in failed), failed
        result = await run_cli(site)
        assert result.code == 1, result.output
        assert not result.events("outage began")
        files = await _assert_expected(dataset, tls_stack, secure_container)
        verified = await run_cli(site, "verify")
        assert verified.code == 0, verified.output
        assert len(await secure_container.names()) == files
        swept = await run_cli(site, "sweep", "--delete", "--min-age", "0")
        assert swept.code == 0, swept.output
        assert len(await secure_container.names()) == files
        run_id = summary(tls_stack.workspace.data_dir)["run_id"]
        undone = await run_cli(site, "rollback", "--run", run_id, "--yes")
        assert undone.code == 0, undone.output
    assert await secure_container.names() == []
    assert set(proxy.connected) == {address}
    assert proxy.forwarded
    assert proxy.refused == 0
    assert endpoint.issued == 5  # one for each command
    for each in (checked, result, verified, swept, undone):
        assert PASSWORD not in each.output
        assert "eyJ" not in each.output


async def _assert_expected(dataset: Dataset, stack: Stack, container: SecureContainer) -> int:
    """Assert that tables and files have the expected content; returns the number of files."""
    workspace = stack.workspace
    connection = await asyncpg.connect(stack.postgres.dsn(workspace.target))
    try:
        target = await check_target(dataset, connection, container.name)
        urls = await connection.fetch("SELECT file_url, azure_blob_name FROM submission_files")
    finally:
        await connection.close()
    files = check_files(FinishedRun(dataset, target.migrated, workspace.data_dir))
    assert [result for result in [*target.results, *files] if not result.ok] == []
    base = f"https://{container.store.host}/{container.name}"
    stored = [row for row in urls if row["file_url"].startswith(base)]
    assert all(row["file_url"] == f"{base}/{row['azure_blob_name']}" for row in stored)
    return len(stored)
