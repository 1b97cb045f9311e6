"""How blobs are listed, read and deleted: the requests, and what the answers mean."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from yarl import URL

from rogo_async.commands.check.probe import NoRetry
from rogo_async.common.errors import Dependency, SystemicError, TransientError
from rogo_async.common.http_session import HttpSession
from rogo_async.demo.servers.ports import reserve_port
from rogo_async.destination.blobs import inventory as inventory_module
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import BlobContent, Inventory, ListedBlob
from tests.support.raw_server import Peer, raw_server, responding
from tests.support.scripted_store import ACCOUNT, Reply, ScriptedStore, with_key
from tests.unit.destination.blobs.test_account import never

NAME = "LTI_Uploads/rogo_7/0f0f/1_essay.txt"
PATH = f"/marking/migrated/{NAME}"
MODIFIED = datetime(2026, 1, 31, 1, 15, tzinfo=UTC)
BLOB = ListedBlob(NAME, 11, MODIFIED, "0x8DC", {"attemptid": "7"})
OTHER = ListedBlob("Marker_files/rogo_7/0f0f/2_b.pdf", 5, MODIFIED, "0x8DD", {})
BODY = b"0123456789"
MD5 = hashlib.md5(BODY).digest()
DIGEST = "eB5eJF1ptWaXm4bijSPyxw=="


@contextlib.asynccontextmanager
async def at(port: int, http: HttpSession) -> AsyncIterator[Inventory]:
    """The inventory of a store on this port."""
    account = Account(with_key(f"http://127.0.0.1:{port}/{ACCOUNT}"))
    async with contextlib.aclosing(account):
        yield Inventory(account, http, NoRetry(Dependency.STORE))


def page(blobs: str, marker: str) -> Reply:
    """A page of a listing."""
    text = (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<EnumerationResults ServiceEndpoint="http://x/" ContainerName="migrated">'
        f"<Prefix>LTI_Uploads/</Prefix><Blobs>{blobs}</Blobs><NextMarker>{marker}</NextMarker>"
        "</EnumerationResults>"
    )
    return Reply(200, body=text.encode())


def item(name: str, properties: str, metadata: str = "") -> str:
    """A blob in a page."""
    return (
        f"<Blob><Name>{name}</Name><Properties>"
        "<Last-Modified>Sat, 31 Jan 2026 01:15:00 GMT</Last-Modified>"
        f"<BlobType>BlockBlob</BlobType>{properties}</Properties>{metadata}</Blob>"
    )


async def test_a_listing_is_read_page_by_page(
    server: ScriptedStore, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "_PAGE", 2)
    first = item(
        NAME,
        "<Etag>0x8DC</Etag><Content-Length>11</Content-Length>",
        "<Metadata><attemptId>7</attemptId></Metadata>",
    )
    server.replies = [
        page(first, "more&gt;"),
        page(item("LTI_Uploads/b", "<Etag>0x8DD</Etag>"), ""),
    ]
    found = [blobs async for blobs in inventory.pages("LTI_Uploads/")]
    assert found == [[BLOB], [ListedBlob("LTI_Uploads/b", 0, MODIFIED, "0x8DD", {})]]
    queries = [dict(URL(request.path, encoded=True).query) for request in server.requests]
    query = {
        "restype": "container",
        "comp": "list",
        "prefix": "LTI_Uploads/",
        "maxresults": "2",
        "include": "metadata",
    }
    assert queries == [query, {**query, "marker": "more>"}]


async def test_a_refused_listing_names_the_operation(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [Reply(404, "ContainerNotFound")]
    with pytest.raises(SystemicError) as found:
        await anext(inventory.pages("LTI_Uploads/"))
    assert str(found.value) == (
        "store list: status 404: no such container. Create it or correct ROGO_CONTAINER"
    )


@pytest.mark.parametrize(
    ("reply", "is_gone"),
    [
        (Reply(202), True),
        (Reply(404, "BlobNotFound"), True),
        (Reply(409, "SnapshotsPresent"), False),
        (Reply(412, "ConditionNotMet"), False),
    ],
)
async def test_only_the_listed_version_of_a_blob_is_deleted(
    server: ScriptedStore, inventory: Inventory, reply: Reply, *, is_gone: bool
) -> None:
    server.replies = [reply]
    assert await inventory.delete(BLOB) is is_gone
    (request,) = server.requests
    assert (request.operation, request.path) == ("DELETE", PATH)
    assert request.headers["if-match"] == "0x8DC"


async def test_any_other_refusal_of_a_deletion_is_an_error(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [Reply(503, "ServerBusy")]
    with pytest.raises(TransientError) as found:
        await inventory.delete(BLOB)
    assert str(found.value) == "store delete: status 503 (ServerBusy)"


def batch(*statuses: int) -> Reply:
    """The answer to a batch of deletions."""
    parts = "".join(
        f"--b\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
        f"HTTP/1.1 {status} Status\r\nx-ms-request-id: {number}\r\n\r\n\r\n"
        for number, status in enumerate(statuses)
    )
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    return Reply(202, headers=headers, body=f"{parts}--b--\r\n".encode())


async def test_a_batch_deletes_only_the_listed_versions(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [batch(202, 202)]
    assert await inventory.delete_batch([BLOB, OTHER])
    (request,) = server.requests
    assert request.operation == "POST batch"
    lines = request.body.replace(b"\r", b"").decode().split("\n")
    parts = [
        line.partition("?")[0]
        for line in lines
        if line.startswith(("DELETE ", "If-Match: ", "If-None-Match: "))
    ]
    assert parts == [
        f"DELETE /{NAME}".replace("/", "/marking/migrated/", 1),
        "If-Match: 0x8DC",
        f"DELETE /marking/migrated/{OTHER.name}",
        "If-Match: 0x8DD",
    ]


@pytest.mark.parametrize("statuses", [(202,), (202, 412), (404, 202), (202, 202, 202), (412, 412)])
async def test_a_batch_with_any_other_answer_is_not_known_to_be_gone(
    server: ScriptedStore, inventory: Inventory, statuses: tuple[int, ...]
) -> None:
    server.replies = [batch(*statuses)]
    assert not await inventory.delete_batch([BLOB, OTHER])


async def test_a_malformed_answer_to_a_batch_is_refused(
    server: ScriptedStore, inventory: Inventory
) -> None:
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    server.replies = [Reply(202, headers=headers, body=b"--b\r\n\r\nnothing\r\n--b--\r\n")]
    with pytest.raises(SystemicError) as found:
        await inventory.delete_batch([BLOB])
    assert str(found.value) == "store delete batch: the answer is malformed (ValueError)"


async def test_a_store_without_batches_is_told_apart(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [Reply(501, "NotImplemented")]
    with pytest.raises(SystemicError) as found:
        await inventory.delete_batch([BLOB])
    assert str(found.value) == "store delete batch: status 501 (NotImplemented)"


async def test_ages_are_measured_by_the_clock_of_the_store(
    server: ScriptedStore, inventory: Inventory
) -> None:
    """By the clock of this machine, a blob in use could seem old."""
    server.replies = [Reply(404, "BlobNotFound", {"Date": "Sat, 31 Jan 2026 01:15:00 GMT"})]
    assert await inventory.now() == MODIFIED
    server.replies = [Reply(404, "BlobNotFound", {"Date": "soon"})]
    with pytest.raises(SystemicError) as found:
        await inventory.now()
    assert str(found.value) == (
        "store clock: its answers have no Date header, so the age of blobs is unknown"
    )


async def test_the_time_is_requested_without_credentials(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [Reply(403, headers={"Date": "Sat, 31 Jan 2026 01:15:00 GMT"})]
    found = await inventory.anonymous_time()
    assert found == MODIFIED
    assert found.tzinfo is UTC
    (request,) = server.requests
    assert (request.operation, request.path) == ("HEAD", "/marking/migrated")
    assert "authorization" not in request.headers


@pytest.mark.parametrize("date", ["Date: soon\r\n", ""])
async def test_a_store_may_not_state_its_time(http: HttpSession, date: str) -> None:
    head = f"HTTP/1.1 403 No\r\nContent-Length: 0\r\n{date}\r\n"
    async with raw_server(responding(head.encode())) as server, at(server.origin[2], http) as there:
        assert await there.anonymous_time() is None


async def test_a_server_that_is_down_is_a_transient_error(http: HttpSession) -> None:
    async with at(reserve_port(), http) as inventory:
        for operation, work in (
            ("clock", inventory.anonymous_time()),
            ("read", inventory.read(NAME, whole=True)),
        ):
            with pytest.raises(TransientError) as found:
                await work
            expected = f"store {operation}: the connection failed (Connection refused)"
            assert str(found.value) == expected


async def test_requests_without_an_answer_end_at_their_deadline(
    server: ScriptedStore, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "CALL_S", 0.05)
    monkeypatch.setattr(inventory_module, "_READ_S", 0.05)
    server.before = never
    server.replies = [Reply(200, headers={"Content-Length": "10"}, body=BODY)]
    for operation, work in (
        ("clock", inventory.anonymous_time()),
        ("read", inventory.read(NAME, whole=True)),
    ):
        with pytest.raises(TransientError) as found:
            await work
        assert str(found.value) == f"store {operation}: no answer in time"


async def test_a_blob_that_stops_arriving_ends_at_the_deadline(
    http: HttpSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "_READ_S", 0.05)

    async def slowly(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        await asyncio.sleep(1.0)
        await peer.send(b"56789")

    async with raw_server(slowly) as server, at(server.origin[2], http) as inventory:
        with pytest.raises(TransientError) as found:
            await inventory.read(NAME, whole=True)
    assert str(found.value) == "store read: no answer in time"


async def test_a_whole_blob_is_read_in_pieces(
    server: ScriptedStore, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_module, "_CHUNK_BYTES", 4)
    stated = {"Content-MD5": DIGEST, "X-Ms-Meta-RunId": "R", "x-ms-meta-attemptId": "7"}
    server.replies = [Reply(200, headers=stated, body=BODY)]
    assert await inventory.read(NAME, whole=True) == BlobContent(
        size_bytes=10,
        md5=MD5,
        stated_bytes=10,
        stated_md5=MD5,
        metadata={"runid": "R", "attemptid": "7"},
    )
    (request,) = server.requests
    assert (request.operation, request.path) == ("GET", PATH)
    assert request.headers["x-ms-version"] == "2021-12-02"
    assert request.headers["authorization"].startswith("SharedKey marking:")


async def test_the_properties_of_a_blob_are_read_without_its_bytes(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [Reply(200, headers={"Content-Length": "10", "Content-MD5": DIGEST})]
    assert await inventory.read(NAME, whole=False) == BlobContent(
        size_bytes=0,
        md5=hashlib.md5(b"").digest(),
        stated_bytes=10,
        stated_md5=MD5,
        metadata={},
    )
    assert server.requests[0].operation == "HEAD"


@pytest.mark.parametrize("stated", ["", f"{DIGEST}!", "AAAA", "not base64"])
async def test_a_stated_md5_of_another_form_is_none(
    server: ScriptedStore, inventory: Inventory, stated: str
) -> None:
    headers = {"Content-MD5": stated} if stated else {}
    server.replies = [Reply(200, headers=headers, body=BODY)]
    found = await inventory.read(NAME, whole=True)
    assert found is not None
    assert found.stated_md5 is None


async def test_a_blob_that_does_not_exist_is_none(
    server: ScriptedStore, inventory: Inventory
) -> None:
    server.replies = [Reply(404, "BlobNotFound")]
    assert await inventory.read(NAME, whole=True) is None


@pytest.mark.parametrize("status", [206, 403, 503])
async def test_any_other_answer_to_a_read_is_an_error(
    server: ScriptedStore, inventory: Inventory, status: int
) -> None:
    server.replies = [Reply(status, "SomethingElse")]
    kind = TransientError if status == 503 else SystemicError
    with pytest.raises(kind) as found:
        await inventory.read(NAME, whole=True)
    assert str(found.value).startswith(f"store read: status {status} (SomethingElse)")
