"""Requests to the destination account: authorized, with a deadline, and errors with a remedy."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.core.exceptions import AzureError, HttpResponseError

from rogo_async.common.errors import DependencyError, SystemicError, TransientError
from rogo_async.common.http_session import HttpSession
from rogo_async.demo.servers.ports import reserve_port
from rogo_async.destination.blobs import account as account_module
from rogo_async.destination.blobs.account import Account, deadline_s, error_of_status
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.raw_server import Peer, raw_server, responding
from tests.support.scripted_store import (
    ACCOUNT,
    KEY,
    Reply,
    ScriptedStore,
    headers_of,
    settings,
    with_key,
)
from tests.support.store_proxy import StoreRequest

VERSION = {"x-ms-version": "2021-12-02"}
NO_BLOB = Reply(404, "BlobNotFound", {"Date": "Sat, 31 Jan 2026 01:15:00 GMT"})
CHECK = "Check the AZURE_STORAGE_… settings"
PERMISSION = (
    "a permission is missing. An identity needs the role Storage Blob Data Contributor on the "
    "container, a SAS the permissions read, write, create, delete and list"
)


async def never(_request: StoreRequest) -> None:
    """A server that answers after the deadline."""
    await asyncio.sleep(1.0)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (400, None, "status 400: malformed request. Check ROGO_CONTAINER and the account"),
        (
            401,
            "NoAuthenticationInformation",
            f"status 401 (NoAuthenticationInformation): credentials refused. {CHECK}",
        ),
        (
            403,
            "SomethingNew",
            f"status 403 (SomethingNew): credentials refused, or a permission is missing. {CHECK}",
        ),
        (
            403,
            "AuthorizationPermissionMismatch",
            f"status 403 (AuthorizationPermissionMismatch): {PERMISSION}",
        ),
        (
            403,
            "InsufficientAccountPermissions",
            f"status 403 (InsufficientAccountPermissions): {PERMISSION}",
        ),
        (
            404,
            "ContainerNotFound",
            "status 404: no such container. Create it or correct ROGO_CONTAINER",
        ),
        (409, "LeaseIdMissing", "status 409 (LeaseIdMissing)"),
        (501, None, "status 501"),
    ],
)
def test_a_refusal_names_status_code_and_remedy(status: int, code: str | None, reason: str) -> None:
    error = error_of_status("put", status, "7", code)
    assert isinstance(error, SystemicError)
    assert str(error) == f"store put: {reason}"


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "reason", "wait_s"),
    [
        (503, "ServerBusy", "7", "status 503 (ServerBusy)", 7.0),
        (500, None, None, "status 500", 0.0),
        (429, None, "2", "status 429", 2.0),
        (400, "Md5Mismatch", None, "the bytes were damaged in transit", 0.0),
        (400, "InvalidMd5", "7", "the bytes were damaged in transit", 0.0),
    ],
)
def test_an_error_that_passes_says_when_to_try_again(
    status: int, code: str | None, retry_after: str | None, reason: str, wait_s: float
) -> None:
    error = error_of_status("put", status, retry_after, code)
    assert isinstance(error, TransientError)
    assert str(error) == f"store put: {reason}"
    assert error.retry_after_s == wait_s


@pytest.mark.parametrize(("size_bytes", "seconds"), [(0, 20.0), (65_536, 21.0), (8 << 20, 148.0)])
def test_a_slow_line_has_time_for_large_files(size_bytes: int, seconds: float) -> None:
    """20 seconds, and one more for each 64 KiB."""
    assert deadline_s(size_bytes) == seconds


async def test_urls_of_blobs_have_no_sas(http: HttpSession) -> None:
    text = f"BlobEndpoint=https://files.example/;SharedAccessSignature=sv=1&sig={KEY}"
    account = Account(settings(azure_storage_connection_string=text))
    async with contextlib.aclosing(account):
        assert account.container_url == "https://files.example/migrated"
        name = "LTI_Uploads/rogo_1/1_a.txt"
        assert account.url_of(name) == "https://files.example/migrated/LTI_Uploads/rogo_1/1_a.txt"
        assert account.route == "directly"


async def test_the_sdk_uses_the_proxy_of_the_settings() -> None:
    answer = b"HTTP/1.1 404 No\r\nx-ms-error-code: BlobNotFound\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(responding(answer)) as proxy:
        made = settings(
            azure_storage_connection_string=(
                f"BlobEndpoint=http://store.example/{ACCOUNT};AccountName={ACCOUNT};AccountKey={KEY}"
            ),
            http_proxy=f"http://127.0.0.1:{proxy.origin[2]}",
        )
        async with contextlib.aclosing(Account(made)) as account:
            assert account.route.startswith("through the proxy http://127.0.0.1:")
            await account.check()
    line, *_ = proxy.requests[0].split(b"\r\n")
    assert line == b"HEAD http://store.example/marking/migrated/rogo_async_absent HTTP/1.1"


async def test_a_proxy_that_is_down_is_named() -> None:
    port = reserve_port()
    text = f"BlobEndpoint=http://store.example/;AccountName={ACCOUNT};AccountKey={KEY}"
    made = settings(azure_storage_connection_string=text, http_proxy=f"http://127.0.0.1:{port}")
    async with contextlib.aclosing(Account(made)) as account:
        with pytest.raises(TransientError) as found:
            await account.check()
    assert str(found.value) == (
        f"store container: the proxy http://127.0.0.1:{port} (HTTP_PROXY) cannot be reached: the "
        "connection failed (Connection refused). Check that it is running, or add store.example to "
        "NO_PROXY"
    )


async def test_the_time_of_the_store_is_that_of_its_answer(
    server: ScriptedStore, account: Account
) -> None:
    """The blob that is requested does not exist: a SAS may not read the container itself."""
    server.replies = [NO_BLOB]
    found = await account.server_time()
    assert found == datetime(2026, 1, 31, 1, 15, tzinfo=UTC)
    assert found.tzinfo is UTC
    (request,) = server.requests
    assert request.operation == "HEAD"
    assert request.path == "/marking/migrated/rogo_async_absent"
    assert request.headers["authorization"].startswith("SharedKey marking:")


@pytest.mark.parametrize("date", ["Date: soon\r\n", ""])
async def test_a_store_may_not_state_its_time(date: str) -> None:
    head = f"HTTP/1.1 404 No\r\nx-ms-error-code: BlobNotFound\r\nContent-Length: 0\r\n{date}\r\n"
    async with raw_server(responding(head.encode())) as server:
        made = with_key(f"http://127.0.0.1:{server.origin[2]}/{ACCOUNT}")
        async with contextlib.aclosing(Account(made)) as account:
            assert await account.server_time() is None


async def test_a_time_is_not_known_if_the_blob_exists(
    server: ScriptedStore, account: Account
) -> None:
    server.replies = [Reply(200)]
    assert await account.server_time() is None


async def test_a_missing_container_is_not_taken_for_a_missing_blob(
    server: ScriptedStore, account: Account
) -> None:
    server.replies = [Reply(404, "ContainerNotFound")]
    with pytest.raises(SystemicError) as found:
        await account.check()
    assert str(found.value) == (
        "store container: status 404: no such container. Create it or correct ROGO_CONTAINER"
    )


async def test_an_error_of_the_sdk_is_classified_without_the_text_of_the_server(
    server: ScriptedStore, account: Account
) -> None:
    """It is not repeated here: the circuit breaker decides about that."""
    body = b"<?xml version='1.0'?><Error><Code>ServerBusy</Code><Message>canary</Message></Error>"
    server.replies = [Reply(503, "ServerBusy", {"Retry-After": "7"}, body)]
    with pytest.raises(TransientError) as found:
        await account.call("list", account.container.get_container_properties)
    assert str(found.value) == "store list: status 503 (ServerBusy)"
    assert found.value.retry_after_s == 7.0
    assert len(server.requests) == 1


async def test_a_refused_connection_is_a_transient_error() -> None:
    made = with_key(f"http://127.0.0.1:{reserve_port()}/{ACCOUNT}")
    async with contextlib.aclosing(Account(made)) as account:
        with pytest.raises(TransientError) as found:
            await account.call("list", account.container.get_container_properties)
    assert str(found.value) == "store list: the connection failed (Connection refused)"


@pytest.mark.parametrize("error", [AzureError("canary"), HttpResponseError("canary")])
async def test_an_error_without_an_answer_is_a_failed_connection(
    account: Account, error: AzureError
) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(TransientError) as found:
        await account.call("list", fail)
    assert str(found.value) == f"store list: the connection failed ({type(error).__name__})"


async def test_a_call_without_an_answer_ends_at_its_deadline(
    server: ScriptedStore, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "CALL_S", 0.05)
    server.before = never
    server.replies = [NO_BLOB]
    with pytest.raises(TransientError) as found:
        await account.check()
    assert str(found.value) == "store container: no answer in time"


async def test_a_call_has_more_time_for_more_bytes(
    server: ScriptedStore, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_module, "CALL_S", 0.0)
    monkeypatch.setattr(account_module, "_SLOWEST_BYTES_PER_S", 1)
    server.replies = [Reply(200)]
    await account.call("stage", account.container.get_container_properties, 60)
    with pytest.raises(TransientError):
        await account.call("stage", account.container.get_container_properties)


async def test_a_key_that_the_store_refuses_is_not_sent_again(
    server: ScriptedStore, account: Account, http: HttpSession
) -> None:
    server.replies = [Reply(403, "AuthenticationFailed")]
    with pytest.raises(SystemicError):
        await account.check()
    response = await account.send(http, "GET", "a", VERSION, within_s=5.0)
    response.close()
    assert response.status == 403
    assert len(server.requests) == 2


async def test_a_request_for_bytes_is_signed_and_sent_as_it_is(
    server: ScriptedStore, account: Account, http: HttpSession
) -> None:
    server.replies = [Reply(201, headers={"Content-MD5": "x"})]
    headers = {**VERSION, "x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain"}
    name = "LTI_Uploads/rogo_7/a b+é.txt"
    response = await account.send(http, "PUT", name, headers, b"an essay", within_s=5.0)
    response.close()
    assert (response.status, response.headers["Content-MD5"]) == (201, "x")
    (request,) = server.requests
    assert request.operation == "PUT"
    assert request.path == "/marking/migrated/LTI_Uploads/rogo_7/a%20b%2B%C3%A9.txt"
    assert request.body == b"an essay"
    assert headers_of(request) == {
        "x-ms-version": "2021-12-02",
        "x-ms-blob-type": "BlockBlob",
        "content-type": "text/plain",
        "content-length": "8",
    }
    assert request.headers["authorization"].startswith("SharedKey marking:")


async def test_a_request_for_bytes_without_an_answer_ends_at_its_deadline(
    server: ScriptedStore, account: Account, http: HttpSession
) -> None:
    server.before = never
    server.replies = [Reply(201)]
    with pytest.raises(TimeoutError):
        await account.send(http, "PUT", "a", VERSION, within_s=0.05)


async def test_the_deadline_of_a_request_includes_the_wait_for_an_access_token(
    identity_account: Account, http: HttpSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(2.0)

    async with raw_server(silent) as endpoint:
        monkeypatch.setenv("IDENTITY_ENDPOINT", str(endpoint.url()))
        with pytest.raises(TimeoutError):
            await identity_account.send(http, "GET", "a", VERSION, within_s=0.05)


async def by_send(account: Account, http: HttpSession) -> int:
    """The status of the answer."""
    response = await account.send(http, "GET", "a", VERSION, within_s=5.0)
    response.close()
    return response.status


async def by_call(account: Account, _http: HttpSession) -> int:
    """The status of the answer."""
    try:
        await account.call("list", account.container.get_container_properties)
    except DependencyError as error:
        return int(str(error).partition("status ")[2][:3])
    return 200


in_both_ways = pytest.mark.parametrize("request_once", [by_send, by_call])
Requesting = Callable[[Account, HttpSession], Any]


def tokens_of(server: ScriptedStore) -> list[str]:
    return [request.headers["authorization"] for request in server.requests]


@in_both_ways
@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "InvalidAuthenticationInfo"), (401, ""), (403, "AuthenticationFailed")],
)
async def test_an_access_token_that_the_store_refuses_is_renewed_once(
    secure_server: ScriptedStore,
    identity: IdentityEndpoint,
    identity_account: Account,
    http: HttpSession,
    request_once: Requesting,
    status: int,
    code: str,
) -> None:
    refusal = Reply(status, code)
    secure_server.replies = [refusal, Reply(200)]
    assert await request_once(identity_account, http) == 200
    secure_server.replies = [refusal]
    assert await request_once(identity_account, http) == status
    first, second, third, fourth = tokens_of(secure_server)
    assert first.startswith("Bearer eyJ")
    assert second == third  # the token that was accepted
    assert len({first, second, fourth}) == 3
    assert identity.issued == 3


@in_both_ways
async def test_a_refusal_that_is_not_about_the_token_is_not_repeated(
    secure_server: ScriptedStore,
    identity: IdentityEndpoint,
    identity_account: Account,
    http: HttpSession,
    request_once: Requesting,
) -> None:
    secure_server.replies = [Reply(403, "AuthorizationPermissionMismatch")]
    assert await request_once(identity_account, http) == 403
    assert len(secure_server.requests) == 1
    assert identity.issued == 1


async def test_authorization_is_tested_without_a_request(
    secure_server: ScriptedStore, identity: IdentityEndpoint, identity_account: Account
) -> None:
    await identity_account.authorize()
    assert identity.issued == 1
    assert secure_server.requests == []


async def test_a_key_authorizes_without_a_request(server: ScriptedStore, account: Account) -> None:
    await account.authorize()
    assert server.requests == []


async def test_an_identity_without_a_token_is_an_error_of_the_store(
    identity: IdentityEndpoint, identity_account: Account
) -> None:
    identity.status = 503
    with pytest.raises(TransientError) as found:
        await identity_account.authorize()
    assert str(found.value) == "store token: no token for the managed identity (status 503)"
