"""The destination's clients before a store whose answers are scripted."""

import contextlib
import os
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest

from rogo_async.commands.check.probe import NoRetry
from rogo_async.common.errors import Dependency
from rogo_async.common.http_session import HttpSession
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.blobs.store import Store
from tests.support.certificates import Authority
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.scripted_store import ACCOUNT, ScriptedStore, scripted_store, settings, with_key


@pytest.fixture
async def server() -> AsyncIterator[ScriptedStore]:
    async with scripted_store() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[HttpSession]:
    async with contextlib.aclosing(HttpSession()) as session:
        yield session


@pytest.fixture
async def account(server: ScriptedStore) -> AsyncIterator[Account]:
    """An account with a key."""
    async with contextlib.aclosing(Account(with_key(server.endpoint))) as made:
        yield made


@pytest.fixture
def store(account: Account, http: HttpSession) -> Store:
    """A store whose first error is raised."""
    return Store(account, http, NoRetry(Dependency.STORE))


@pytest.fixture
def inventory(account: Account, http: HttpSession) -> Inventory:
    """An inventory whose first error is raised."""
    return Inventory(account, http, NoRetry(Dependency.STORE))


@pytest.fixture
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityEndpoint]:
    """The identity of this machine, and no other."""
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_", "IMDS_")):
            monkeypatch.delenv(name)
    async with IdentityEndpoint() as endpoint:
        for name, value in endpoint.environment.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"))


@pytest.fixture
async def secure_server(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ScriptedStore]:
    """A server over https, which this process trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    # What the SDK uses: aiohttp makes it once, when it is imported.
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    async with scripted_store(authority) as running:
        yield running


@pytest.fixture
async def identity_account(
    secure_server: ScriptedStore, identity: IdentityEndpoint
) -> AsyncIterator[Account]:
    """An account that is used with the identity of this machine."""
    assert identity.issued == 0
    made = settings(
        azure_storage_account_name=ACCOUNT, azure_storage_service_endpoint=secure_server.endpoint
    )
    async with contextlib.aclosing(Account(made)) as account:
        yield account
