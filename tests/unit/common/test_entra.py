"""Access tokens: which identity is used, and when a token is renewed."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest

from rogo_async.common import entra
from rogo_async.common.entra import AccessTokens
from rogo_async.common.errors import Dependency, SystemicError, TransientError
from rogo_async.common.proxies import DIRECT
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.raw_server import Peer, raw_server

SCOPE = "https://storage.azure.com/.default"


@pytest.fixture(autouse=True)
def no_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("AZURE_", "IDENTITY_", "MSI_", "IMDS_")):
            monkeypatch.delenv(name)


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityEndpoint]:
    async with IdentityEndpoint() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def tokens(client_id: str | None = None) -> AccessTokens:
    return AccessTokens(Dependency.STORE, SCOPE, DIRECT, client_id)


async def test_one_request_serves_all_callers(endpoint: IdentityEndpoint) -> None:
    source = tokens("client-1")
    found = await asyncio.gather(*[source.token() for _ in range(20)])
    assert len(set(found)) == 1
    assert await source.token() == found[0]
    (request,) = endpoint.requests
    assert request["resource"] == "https://storage.azure.com"
    assert request["client_id"] == "client-1"


async def test_a_discarded_token_is_replaced_once(endpoint: IdentityEndpoint) -> None:
    source = tokens()
    first = await source.token()
    source.discard(first)
    second = await source.token()
    assert second != first
    source.discard(first)  # by a caller whose request was refused later
    assert await source.token() == second
    assert endpoint.issued == 2


async def test_a_token_is_renewed_before_it_expires(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    source = tokens()
    first = await source.token()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + now)
    now = 3200.0
    assert await source.token() == first
    now = 3400.0
    assert await source.token() != first
    assert endpoint.issued == 2


async def test_a_valid_token_is_used_while_no_new_one_can_be_had(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    source = tokens()
    first = await source.token()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + now)
    endpoint.status = 500
    now = 3400.0
    assert await source.token() == first
    assert await source.token() == first
    assert len(endpoint.requests) == 2  # the failed renewal is not repeated at once
    now = 3700.0
    with pytest.raises(TransientError, match=r"no token for the managed identity \(status 500\)"):
        await source.token()


async def test_callers_do_not_wait_for_a_renewal_while_the_token_is_valid(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = asyncio.Event()

    async def never(peer: Peer) -> None:
        await peer.request()
        silent.set()
        await asyncio.Event().wait()

    source = tokens()
    first = await source.token()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3400)
    async with raw_server(never) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", str(server.url("/msi/token")))
        renewing = asyncio.create_task(source.token())
        await silent.wait()
        assert await source.token() == first
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def test_an_endpoint_without_an_answer_is_transient(
    endpoint: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(peer: Peer) -> None:
        await peer.request()
        await asyncio.Event().wait()

    monkeypatch.setattr(entra, "TOKEN_S", 0.2)
    async with raw_server(never) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", str(server.url("/msi/token")))
        with pytest.raises(TransientError, match=r"for the managed identity within 0\.2 s"):
            await tokens().token()


@pytest.mark.parametrize(
    ("variables", "error", "says"),
    [
        ({"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}, SystemicError, "no identity"),
        (
            {
                "AZURE_TENANT_ID": "not a tenant!",
                "AZURE_CLIENT_ID": "c",
                "AZURE_CLIENT_SECRET": "canary",
            },
            SystemicError,
            "service principal",
        ),
        (
            {
                "AZURE_TENANT_ID": "t",
                "AZURE_CLIENT_ID": "c",
                "AZURE_CLIENT_SECRET": "canary",
                "AZURE_AUTHORITY_HOST": "http://127.0.0.1",
            },
            SystemicError,
            "service principal",
        ),
        (
            {
                "AZURE_TENANT_ID": "t",
                "AZURE_CLIENT_ID": "c",
                "AZURE_CLIENT_CERTIFICATE_PATH": "/absent.pem",
            },
            SystemicError,
            r"service principal \(No such file or directory\)",
        ),
        (
            {
                "AZURE_TENANT_ID": "t",
                "AZURE_CLIENT_ID": "c",
                "AZURE_FEDERATED_TOKEN_FILE": "/absent",
            },
            SystemicError,
            r"workload identity \(No such file or directory\)",
        ),
        (
            {"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "IDENTITY_HEADER": "x"},
            TransientError,
            "refused",
        ),
        ({"IDENTITY_ENDPOINT": "http://127.0.0.1:1"}, SystemicError, "managed identity"),
    ],
)
async def test_an_identity_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    error: type[Exception],
    says: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=says) as raised:
        await tokens().token()
    assert "canary" not in str(raised.value)
