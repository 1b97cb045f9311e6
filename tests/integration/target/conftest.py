"""A stack whose target offers TLS."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack
from tests.support.certificates import Authority
from tests.support.tls_postgres import TlsPostgres


@dataclass(frozen=True, slots=True)
class TlsSite:
    """The stack, and the authority of its certificate, which is for ``localhost`` only."""

    stack: Stack
    postgres: TlsPostgres
    authority: Authority
    other_authority: Authority

    def url(self, parameters: str = "", host: str = "localhost") -> str:
        """The URL of the target of the stack's workspace, for the role of a run."""
        url = self.stack.writer_dsn(self.stack.workspace)
        return f"{url.replace(self.postgres.host, host)}{parameters}"


@pytest.fixture(scope="package")
async def tls_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One for all tests of this package."""
    directory = tmp_path_factory.mktemp("tls_stack")
    async with Stack(directory, postgres_type=TlsPostgres) as running:
        yield running


@pytest.fixture
async def tls(tls_stack: Stack, tmp_path: Path) -> AsyncIterator[TlsSite]:
    """The stack with a new certificate, for this test."""
    postgres = tls_stack.postgres
    assert isinstance(postgres, TlsPostgres)
    authority = Authority.create(tmp_path / "authority")
    other = Authority.create(tmp_path / "other_authority")
    await postgres.use_certificate(authority.server("localhost"), authority)
    yield TlsSite(tls_stack, postgres, authority, other)
    await postgres.allow()
    await postgres.configure(ssl="off")
