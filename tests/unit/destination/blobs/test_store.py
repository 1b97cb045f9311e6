"""What is sent to the store to write, renew and delete a blob, and what its answers mean."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import Any

import pytest

from rogo_async.common.call_stats import CallStats
from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.errors import (
    BlocksDiscarded,
    Dependency,
    FailureCode,
    RowError,
    SystemicError,
    TransientError,
)
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.blobs import account as account_module
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory, ListedBlob
from rogo_async.destination.blobs.store import Blob, Store, target_digest
from tests.support.scripted_store import Reply, ScriptedStore, headers_of
from tests.unit.destination.blobs.test_account import never

NAME = "LTI_Uploads/rogo_7/0f0f/1_essay.txt"
PATH = f"/marking/migrated/{NAME}"
RUN = "20260131T011500Z-0123abcd"
METADATA = {"attemptId": "7", "migratedFrom": "rogo_warehouse", "runId": RUN}
BLOB = Blob(NAME, "text/plain", METADATA)
ENCODED = Blob(NAME, "text/plain", METADATA, "zstd", "de")
BODY = b"an essay"
MD5 = hashlib.md5(BODY).digest()
DIGEST = "xO1LCdLRJk5JD6gpegQqPQ=="
SENT_METADATA = {
    "x-ms-meta-attemptid": "7",
    "x-ms-meta-migratedfrom": "rogo_warehouse",
    "x-ms-meta-runid": RUN,
}
Work = Callable[[Store], Awaitable[Any]]


async def put(store: Store) -> None:
    await store.put(BLOB, BODY, MD5)


async def stage(store: Store) -> str:
    return await store.stage(BLOB, 3, BODY)


async def commit(store: Store) -> None:
    await store.commit(BLOB, ["00000000", "00000001"], len(BODY), MD5)


async def renew(store: Store) -> bool:
    return await store.renew(BLOB)


async def delete(store: Store) -> bool:
    return await store.delete(NAME)


def test_the_headers_of_a_blob() -> None:
    assert BLOB.headers == {
        "x-ms-version": "2021-12-02",
        "x-ms-blob-type": "BlockBlob",
        "Content-Type": "text/plain",
        "x-ms-meta-attemptId": "7",
        "x-ms-meta-migratedFrom": "rogo_warehouse",
        "x-ms-meta-runId": RUN,
    }
    assert ENCODED.headers == {
        **BLOB.headers,
        "x-ms-blob-content-encoding": "zstd",
        "x-ms-blob-content-language": "de",
    }


def test_a_blob_gets_the_headers_that_describe_its_bytes() -> None:
    assert BLOB.described("zstd", "de") == ENCODED
    assert BLOB.described("zstd", None) == Blob(NAME, "text/plain", METADATA, "zstd", None)
    assert BLOB.described(None, "de") == Blob(NAME, "text/plain", METADATA, None, "de")
    assert BLOB.described(None, None) == BLOB


async def test_a_small_blob_is_written_in_one_request(server: ScriptedStore, store: Store) -> None:
    server.replies = [Reply(201, headers={"Content-MD5": DIGEST})]
    await put(store)
    (request,) = server.requests
    assert (request.operation, request.path, request.body) == ("PUT", PATH, BODY)
    assert headers_of(request) == {
        "x-ms-version": "2021-12-02",
        "x-ms-blob-type": "BlockBlob",
        "content-type": "text/plain",
        "content-length": "8",
        "content-md5": DIGEST,
        "x-ms-blob-content-md5": DIGEST,
        **SENT_METADATA,
    }
    assert store.url_of(NAME) == f"{server.endpoint}/migrated/{NAME}"


async def test_a_store_need_not_repeat_the_md5(server: ScriptedStore, store: Store) -> None:
    """It has compared it with that of the request."""
    server.replies = [Reply(201)]
    await put(store)


async def test_another_md5_in_the_answer_means_damaged_bytes(
    server: ScriptedStore, store: Store
) -> None:
    server.replies = [Reply(201, headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})]
    with pytest.raises(TransientError) as found:
        await put(store)
    assert str(found.value) == "store put: the bytes were damaged in transit"


async def test_a_busy_store_says_when_to_try_again(server: ScriptedStore, store: Store) -> None:
    server.replies = [Reply(503, "ServerBusy", {"Retry-After": "7"})]
    with pytest.raises(TransientError) as found:
        await put(store)
    assert found.value.retry_after_s == 7.0


async def test_a_block_is_written_with_its_md5(server: ScriptedStore, store: Store) -> None:
    server.replies = [Reply(201, headers={"Content-MD5": DIGEST})]
    assert await stage(store) == "00000003"
    (request,) = server.requests
    assert (request.operation, request.body) == ("PUT block", BODY)
    assert request.path == f"{PATH}?comp=block&blockid=MDAwMDAwMDM%3D"
    assert request.headers["content-length"] == "8"
    assert request.headers["content-md5"] == DIGEST


def stored(**headers: str) -> list[Reply]:
    """The answers to a block list, and to the request for the properties of the blob."""
    stated = {"Content-Length": "8", "Content-MD5": DIGEST}
    stated |= {name.replace("_", "-"): text for name, text in headers.items()}
    return [Reply(201), Reply(200, headers={name: text for name, text in stated.items() if text})]


async def test_blocks_are_committed_as_a_blob(server: ScriptedStore, store: Store) -> None:
    server.replies = stored()
    await store.commit(ENCODED, ["00000000", "00000001"], len(BODY), MD5)
    committed, compared = server.requests
    assert (committed.operation, committed.path) == ("PUT blocklist", f"{PATH}?comp=blocklist")
    assert committed.body.partition(b"\n")[2] == (
        b"<BlockList><Latest>MDAwMDAwMDA=</Latest><Latest>MDAwMDAwMDE=</Latest></BlockList>"
    )
    sent = headers_of(committed)
    assert {name: sent[name] for name in sent if name.startswith(("x-ms-blob", "x-ms-meta"))} == {
        "x-ms-blob-content-type": "text/plain",
        "x-ms-blob-content-md5": DIGEST,
        "x-ms-blob-content-encoding": "zstd",
        "x-ms-blob-content-language": "de",
        **SENT_METADATA,
    }
    assert (compared.operation, compared.path) == ("HEAD", PATH)


@pytest.mark.parametrize(
    "stated",
    [{"Content_Length": "7"}, {"Content_MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {"Content_MD5": ""}],
)
async def test_a_committed_blob_that_differs_fails_the_row(
    server: ScriptedStore, store: Store, stated: dict[str, str]
) -> None:
    server.replies = stored(**stated)
    with pytest.raises(RowError) as found:
        await commit(store)
    assert found.value.code is FailureCode.FILE_CORRUPT
    assert found.value.message == "length or MD5 of the stored blob differs"


async def test_discarded_blocks_are_told_apart(server: ScriptedStore, store: Store) -> None:
    """They are sent again; any other refusal of a block list is that of the account."""
    server.replies = [Reply(400, "InvalidBlockList")]
    with pytest.raises(BlocksDiscarded):
        await commit(store)
    server.replies = [Reply(400, "InvalidXmlDocument")]
    with pytest.raises(SystemicError) as found:
        await commit(store)
    assert str(found.value) == (
        "store commit: status 400 (InvalidXmlDocument): malformed request. Check ROGO_CONTAINER "
        "and the account"
    )


async def test_a_blob_is_renewed_by_writing_its_metadata_again(
    server: ScriptedStore, store: Store
) -> None:
    server.replies = [Reply(200)]
    assert await renew(store) is True
    (request,) = server.requests
    assert (request.operation, request.path) == ("PUT metadata", f"{PATH}?comp=metadata")
    sent = headers_of(request)
    assert {name: sent[name] for name in sent if name.startswith("x-ms-meta")} == SENT_METADATA


@pytest.mark.parametrize(
    ("status", "code", "exists"),
    [
        (404, "BlobNotFound", False),
        (409, "BlobImmutableDueToPolicy", True),
        (412, "LeaseIdMissing", True),
    ],
)
async def test_a_protected_blob_exists_without_being_renewed(
    server: ScriptedStore, store: Store, status: int, code: str, *, exists: bool
) -> None:
    server.replies = [Reply(status, code)]
    assert await renew(store) is exists


@pytest.mark.parametrize(
    ("reply", "is_gone"),
    [
        (Reply(202), True),
        (Reply(404, "BlobNotFound"), True),
        (Reply(409, "SnapshotsPresent"), False),
        (Reply(412, "LeaseIdMissing"), False),
    ],
)
async def test_a_deletion_says_whether_the_blob_is_gone(
    server: ScriptedStore, store: Store, reply: Reply, *, is_gone: bool
) -> None:
    server.replies = [reply]
    assert await delete(store) is is_gone
    (request,) = server.requests
    assert (request.operation, request.path) == ("DELETE", PATH)


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_a_deletion_that_is_not_allowed_is_not_requested(
    server: ScriptedStore, store: Store, *, is_allowed: bool
) -> None:
    async def may_delete() -> bool:
        return is_allowed

    server.replies = [Reply(202)]
    assert await store.delete(NAME, may_delete) is is_allowed
    assert len(server.requests) == is_allowed


@pytest.mark.parametrize(
    ("work", "operation"),
    [(put, "put"), (stage, "stage"), (commit, "commit"), (renew, "renew"), (delete, "delete")],
)
async def test_any_other_refusal_names_the_operation(
    server: ScriptedStore, store: Store, work: Work, operation: str
) -> None:
    server.replies = [Reply(403, "AuthorizationPermissionMismatch")]
    with pytest.raises(SystemicError) as found:
        await work(store)
    assert str(found.value) == (
        f"store {operation}: status 403 (AuthorizationPermissionMismatch): a permission is "
        "missing. An identity needs the role Storage Blob Data Contributor on the container, a SAS "
        "the permissions read, write, create, delete and list"
    )


@pytest.mark.parametrize("work", [put, stage, commit, renew, delete])
async def test_a_request_without_an_answer_ends_at_its_deadline(
    server: ScriptedStore, store: Store, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    monkeypatch.setattr(account_module, "CALL_S", 0.05)
    server.before = never
    server.replies = [Reply(201)]
    with pytest.raises(TransientError) as found:
        await work(store)
    assert str(found.value) == f"store {work.__name__}: no answer in time"


@pytest.mark.parametrize("work", [put, stage])
async def test_an_upload_has_time_for_its_bytes(
    server: ScriptedStore, store: Store, monkeypatch: pytest.MonkeyPatch, work: Work
) -> None:
    monkeypatch.setattr(account_module, "CALL_S", 0.0)
    monkeypatch.setattr(account_module, "_SLOWEST_BYTES_PER_S", 0.1)
    server.replies = [Reply(201, headers={"Content-MD5": DIGEST})]
    await work(store)


@pytest.fixture
async def guarded(
    account: Account, http: HttpSession
) -> AsyncIterator[tuple[Store, Inventory, CallStats]]:
    """A store and an inventory behind a circuit breaker, and its statistics."""
    stats = CallStats()
    breaker = CircuitBreaker(Dependency.STORE, account.check, StopSignal(), stats, 5.0)
    async with contextlib.aclosing(breaker):
        yield Store(account, http, breaker), Inventory(account, http, breaker), stats


async def test_calls_are_counted_by_their_operation(
    server: ScriptedStore, guarded: tuple[Store, Inventory, CallStats]
) -> None:
    """The names are in the summary and in the metrics (docs/monitoring.md)."""
    store, inventory, stats = guarded
    listed = ListedBlob(NAME, 8, datetime.now().astimezone(), '"0x8DC"', {})
    server.replies = [Reply(201, headers={"Content-MD5": DIGEST})]
    await put(store)
    await stage(store)
    server.replies = stored()
    await commit(store)
    server.replies = [Reply(200)]
    await renew(store)
    server.replies = [Reply(202)]
    await delete(store)
    await inventory.delete(listed)
    server.replies = [Reply(404, "BlobNotFound")]
    await inventory.read(NAME, whole=False)
    await inventory.now()
    assert {name: found.count for name, found in stats.latency.items()} == {
        "store.put": 1,
        "store.stage": 1,
        "store.commit": 1,
        "store.properties": 1,
        "store.renew": 1,
        "store.delete": 2,
        "store.read": 1,
        "store.clock": 1,
    }
    assert stats.retries == {}


def test_the_digest_of_a_target_is_that_of_host_port_and_database() -> None:
    """The metadata of stored blobs have it, so it never changes."""
    url = DatabaseUrl.parse("postgresql://writer:secret@db.example/marking")
    assert target_digest(url) == "7061bfe7f50646ed"
