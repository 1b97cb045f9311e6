"""What is sent to let the service copy a blob, and which answers count as a copy (rule 14)."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from yarl import URL

from rogo_async.commands.check.probe import NoRetry
from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, SystemicError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, RetryPolicy
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.blobs import service_copy as module
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.service_copy import CopyDeclined, CopySource, ServiceCopy
from rogo_async.destination.blobs.store import Blob, Store
from rogo_async.rules.records import Route
from tests.support.scripted_store import Reply, ScriptedStore, headers_of
from tests.unit.destination.blobs.test_account import never

NAME = "LTI_Uploads/rogo_7/0f0f/1_essay.txt"
PATH = f"/marking/migrated/{NAME}"
BLOB = Blob(NAME, "text/plain", {"attemptId": "7"}, "zstd", "de")
MD5 = bytes.fromhex("781e5e245d69b566979b86e28d23f2c7")
DIGEST = "eB5eJF1ptWaXm4bijSPyxw=="
OTHER = "1B2M2Y8AsgTpgAmY7PhCfg=="
PATIENT = RetryPolicy(wait_initial_s=0.0, max_tries=100)


async def no_token() -> str:
    return ""


async def token() -> str:
    return "Bearer eyJ"


async def refused_token() -> str:
    raise SystemicError(Dependency.SOURCE, "token", "refused")


SOURCE = CopySource(
    URL("https://old.blob.core.windows.net/files/a%20b.txt?sv=1&sig=x%3D", encoded=True),
    no_token,
    '"0x8DC"',
    10,
    MD5,
)
CREATED = Reply(201, headers={"Content-MD5": DIGEST})
STATED = Reply(200, headers={"Content-Length": "10", "Content-MD5": DIGEST})


@pytest.fixture
def stats() -> CallStats:
    return CallStats()


@pytest.fixture
async def service(
    account: Account, http: HttpSession, stats: CallStats
) -> AsyncIterator[ServiceCopy]:
    """The service behind a circuit breaker that does not open."""
    stop = StopSignal()
    breaker = CircuitBreaker(Dependency.STORE, account.check, stop, stats, 5.0, PATIENT)
    async with contextlib.aclosing(breaker):
        yield ServiceCopy(account, http, Store(account, http, breaker), breaker)


@pytest.fixture
def once(account: Account, http: HttpSession) -> ServiceCopy:
    """The service whose first error ends the copy."""
    breaker = NoRetry(Dependency.STORE)
    return ServiceCopy(account, http, Store(account, http, breaker), breaker)


async def declined(service: ServiceCopy, source: CopySource = SOURCE) -> CopyDeclined:
    with pytest.raises(CopyDeclined) as found:
        await service.copy(BLOB, source)
    return found.value


async def test_a_copy_is_bound_to_the_source_and_never_replaces_a_blob(
    server: ScriptedStore, service: ServiceCopy, stats: CallStats
) -> None:
    server.replies = [CREATED, STATED]
    await service.copy(BLOB, replace(SOURCE, authorization=token))
    copied, compared = server.requests
    assert (copied.operation, copied.path, copied.body) == ("PUT", PATH, b"")
    assert headers_of(copied) == {
        "x-ms-version": "2021-12-02",
        "x-ms-blob-type": "BlockBlob",
        "content-type": "text/plain",
        "content-length": "0",
        "x-ms-meta-attemptid": "7",
        "x-ms-blob-content-type": "text/plain",
        "x-ms-blob-content-encoding": "zstd",
        "x-ms-blob-content-language": "de",
        "x-ms-blob-content-md5": DIGEST,
        "x-ms-copy-source": "https://old.blob.core.windows.net/files/a%20b.txt?sv=1&sig=x%3D",
        "x-ms-copy-source-authorization": "Bearer eyJ",
        "x-ms-copy-source-blob-properties": "false",
        "x-ms-source-if-match": '"0x8DC"',
        "x-ms-source-content-md5": DIGEST,
        "if-none-match": "*",
    }
    assert (compared.operation, compared.path) == ("HEAD", PATH)
    assert headers_of(compared) == {"x-ms-version": "2021-12-02"}
    assert {name: found.count for name, found in stats.latency.items()} == {
        "store.copy": 1,
        "store.properties": 1,
    }


async def test_a_source_without_a_token_gets_no_authorization(
    server: ScriptedStore, service: ServiceCopy
) -> None:
    server.replies = [CREATED, STATED]
    await service.copy(BLOB, SOURCE)
    assert "x-ms-copy-source-authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("reply", "route", "detail"),
    [
        (Reply(501, "NotImplemented"), Route.DECLINED, "501 NotImplemented"),
        (Reply(501), Route.DECLINED, "501"),
        (Reply(409, "PublicAccessNotPermitted"), Route.DECLINED, "409 PublicAccessNotPermitted"),
        (Reply(403, "CannotVerifyCopySource"), Route.DECLINED, "403 CannotVerifyCopySource"),
        (Reply(500, "CannotVerifyCopySource"), Route.DECLINED, "500 CannotVerifyCopySource"),
        (Reply(412, "SourceConditionNotMet"), Route.CHANGED, "412 SourceConditionNotMet"),
        (Reply(412, "CannotVerifyCopySource"), Route.CHANGED, "412 CannotVerifyCopySource"),
        (Reply(412, "LeaseIdMissing"), Route.DECLINED, "412 LeaseIdMissing"),
        (Reply(201, headers={"Content-MD5": OTHER}), Route.DIFFERENT, ""),
        (Reply(201), Route.DIFFERENT, ""),
    ],
)
async def test_any_other_answer_than_a_verified_copy_is_no_copy(
    server: ScriptedStore, service: ServiceCopy, reply: Reply, route: Route, detail: str
) -> None:
    server.replies = [reply]
    found = await declined(service)
    assert (found.route, found.detail) == (route, detail)
    assert str(found) == (detail or route.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "stated",
    [
        Reply(200, headers={"Content-Length": "9", "Content-MD5": DIGEST}),
        Reply(200, headers={"Content-Length": "10", "Content-MD5": OTHER}),
        Reply(200, headers={"Content-Length": "10"}),
        Reply(206, headers={"Content-Length": "10", "Content-MD5": DIGEST}),
        Reply(404, "BlobNotFound"),
    ],
)
async def test_a_copy_that_the_store_states_differently_is_no_copy(
    server: ScriptedStore, service: ServiceCopy, stated: Reply
) -> None:
    server.replies = [CREATED, stated]
    assert (await declined(service)).route is Route.DIFFERENT
    assert len(server.requests) == 2


@pytest.mark.parametrize("taken", [Reply(409, "BlobAlreadyExists"), Reply(412, "ConditionNotMet")])
async def test_a_blob_that_exists_already_is_renewed_and_compared(
    server: ScriptedStore, service: ServiceCopy, taken: Reply
) -> None:
    """An earlier request may have created it, whose reply was lost."""
    server.replies = [taken, Reply(200), STATED]
    await service.copy(BLOB, SOURCE)
    assert [each.operation for each in server.requests] == ["PUT", "PUT metadata", "HEAD"]
    server.replies = [taken, Reply(404, "BlobNotFound")]
    found = await declined(service)
    assert (found.route, found.detail) == (Route.CHANGED, "")


async def test_a_server_that_is_busy_is_asked_again(
    server: ScriptedStore, service: ServiceCopy, stats: CallStats
) -> None:
    busy = Reply(503, "ServerBusy")
    server.replies = [busy, busy, CREATED, busy, STATED]
    await service.copy(BLOB, SOURCE)
    assert stats.retries == {"store.copy": 2, "store.properties": 1}


async def test_a_copy_without_an_answer_is_given_up_after_six_tries(
    server: ScriptedStore, service: ServiceCopy
) -> None:
    """More than the tries of a call in an outage: the store answers other requests."""
    server.replies = [Reply(500, "InternalError")]
    assert (await declined(service)).route is Route.UNKNOWN
    assert len(server.requests) == 6


async def test_without_a_token_for_the_source_nothing_is_requested(
    server: ScriptedStore, service: ServiceCopy
) -> None:
    server.replies = [CREATED]
    found = await declined(service, replace(SOURCE, authorization=refused_token))
    assert (found.route, found.detail) == (Route.UNKNOWN, "")
    assert server.requests == []


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([Reply(503, "ServerBusy")], "store copy: status 503 (ServerBusy)"),
        ([CREATED, Reply(503, "ServerBusy")], "store properties: status 503 (ServerBusy)"),
    ],
)
async def test_an_error_that_ends_a_copy_names_the_operation(
    server: ScriptedStore, once: ServiceCopy, replies: list[Reply], reason: str
) -> None:
    server.replies = replies
    found = await declined(once)
    assert found.route is Route.UNKNOWN
    assert str(found.__context__) == reason


async def test_a_copy_without_an_answer_ends_at_its_deadline(
    server: ScriptedStore, once: ServiceCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_S", 0.05)
    server.before = never
    server.replies = [CREATED]
    found = await declined(once)
    assert str(found.__context__) == "store copy: no answer in time"


async def test_a_copy_has_time_for_its_bytes(
    server: ScriptedStore, once: ServiceCopy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request for the properties does not."""
    monkeypatch.setattr(module, "CALL_S", 0.0)
    monkeypatch.setattr(module, "_SLOWEST_BYTES_PER_S", 0.1)
    server.replies = [CREATED]
    found = await declined(once)
    assert str(found.__context__) == "store properties: no answer in time"
    assert server.requests[0].operation == "PUT"


def test_a_source_is_not_shown_in_texts() -> None:
    assert repr(SOURCE) == f"CopySource(etag='\"0x8DC\"', size_bytes=10, md5={MD5!r})"
