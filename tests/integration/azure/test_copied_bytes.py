"""A stored blob has exactly the bytes of its source, or the row fails (rule 14, invariant 3).

Every length and every MD5 is compared: what the source states with what was read, what was sent
with what arrived, what was committed with what the store states afterwards.
"""

import base64
import hashlib
from collections.abc import Mapping

import pytest
from yarl import URL

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.demo.servers.scripted_source import Answer, ScriptedSource
from rogo_async.rules.identity import identify
from rogo_async.rules.records import FileKind, FileRef, StoredFile
from rogo_async.sources import http_files
from tests.integration.azure.conftest import Destination
from tests.support.store_proxy import StoreRequest

BLOCK = 64 * 1024
SMALL = b"an essay" * 100
LARGE = b"".join(bytes([number]) * BLOCK for number in (1, 2)) + b"the end"
WHO = identify(7, "20260131T011500Z-0123abcd", "lms")
ETAG = {"ETag": '"one"'}
both_sizes = pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "BLOCK_BYTES", BLOCK)


def md5_header(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body).digest()).decode()


def stating_md5_of(body: bytes) -> dict[str, str]:
    return {**ETAG, "Content-MD5": md5_header(body)}


def ref(source: ScriptedSource) -> FileRef:
    url = URL(source.url("/1.txt"))
    return FileRef(FileKind.SUBMISSION, 1, "1.txt", "txt", "text/plain", url)


def serve(source: ScriptedSource, *answers: Answer) -> None:
    """Serve these answers in turn, each once; the last one from then on."""
    *first, last = answers
    for answer in reversed(first):
        last = Answer(
            status=answer.status,
            body=answer.body,
            headers=answer.headers,
            truncate_at=answer.truncate_at,
            times=1,
            then=last,
        )
    source.routes["/1.txt"] = last


async def copy(destination: Destination, source: ScriptedSource) -> StoredFile:
    (stored,) = await destination.file_copier.copy([ref(source)], WHO)
    return stored


async def assert_stored(destination: Destination, stored: StoredFile, body: bytes) -> None:
    """Assert bytes and properties of the blob, and what is known about it."""
    loaded = await destination.container.download_blob(stored.blob_name, decompress=False)
    assert await loaded.readall() == body
    md5 = hashlib.md5(body).digest()
    assert bytes(loaded.properties.content_settings.content_md5 or b"") == md5
    assert (stored.size_bytes, stored.md5) == (len(body), md5)


async def assert_refused(destination: Destination, source: ScriptedSource, *, reads: int) -> None:
    """Assert that the copy fails with file_corrupt after this many requests for the file."""
    with pytest.raises(RowError) as found:
        await copy(destination, source)
    assert found.value.code is FailureCode.FILE_CORRUPT
    assert len(source.requests) == reads
    assert [name async for name in destination.container.list_blob_names()] == []


@both_sizes
async def test_a_file_that_never_has_the_md5_of_its_source_fails(
    destination: Destination, source: ScriptedSource, body: bytes
) -> None:
    serve(source, Answer(body=body, headers=stating_md5_of(body[:-1] + b"?")))
    await assert_refused(destination, source, reads=3)


@both_sizes
async def test_a_file_that_was_damaged_on_its_way_is_read_again(
    destination: Destination, source: ScriptedSource, body: bytes
) -> None:
    damaged = Answer(body=body[:-1] + b"?", headers=stating_md5_of(body))
    serve(source, damaged, damaged, Answer(body=body, headers=stating_md5_of(body)))
    await assert_stored(destination, await copy(destination, source), body)


def resumed(rest: bytes, headers: Mapping[str, str] = ETAG) -> tuple[Answer, ...]:
    """LARGE, cut within its second block and continued with ``rest`` in place of what is left."""
    first = Answer(body=LARGE, headers=dict(headers), truncate_at=BLOCK + 10)
    place = f"bytes {BLOCK}-{len(LARGE) - 1}/{len(LARGE)}"
    return first, Answer(status=206, body=rest, headers={**ETAG, "Content-Range": place})


async def test_a_continued_file_is_compared_as_a_whole(
    destination: Destination, source: ScriptedSource
) -> None:
    serve(source, *resumed(LARGE[BLOCK:], stating_md5_of(LARGE)))
    await assert_stored(destination, await copy(destination, source), LARGE)
    assert len(source.requests) == 2


async def test_a_continued_file_with_other_bytes_fails(
    destination: Destination, source: ScriptedSource
) -> None:
    other = LARGE[BLOCK:-1] + b"?"
    serve(source, *resumed(other, stating_md5_of(LARGE)) * 3)
    await assert_refused(destination, source, reads=6)


@pytest.mark.parametrize("rest", [LARGE[BLOCK:-1], LARGE[BLOCK:] + b"!", b""])
async def test_a_continued_file_of_another_length_fails(
    destination: Destination, source: ScriptedSource, rest: bytes
) -> None:
    """Its source states no MD5, and a length that the two answers do not have together."""
    serve(source, *resumed(rest) * 3)
    await assert_refused(destination, source, reads=6)


@both_sizes
async def test_bytes_that_are_damaged_on_the_way_to_the_store_are_sent_again(
    destination: Destination, source: ScriptedSource, body: bytes
) -> None:
    damaged: list[str] = []

    def damage_once(request: StoreRequest) -> bytes:
        if damaged or not request.body:
            return request.body
        damaged.append(request.operation)
        return b"?" + request.body[1:]

    def in_words_of_azure(_: StoreRequest, headers: dict[str, str]) -> dict[str, str]:
        # Azurite has another code for it than Azure.
        code = headers.get("x-ms-error-code")
        return (
            {**headers, "x-ms-error-code": "Md5Mismatch"} if code == "InvalidOperation" else headers
        )

    destination.proxy.change_body = damage_once
    destination.proxy.change_reply = in_words_of_azure
    serve(source, Answer(body=body))
    await assert_stored(destination, await copy(destination, source), body)
    operation = "put" if body == SMALL else "stage"
    assert damaged == ["PUT" if body == SMALL else "PUT block"]
    assert destination.call_stats.retries == {f"store.{operation}": 1}
    assert destination.call_stats.outages == []


@both_sizes
async def test_every_byte_is_sent_with_its_md5(
    destination: Destination, source: ScriptedSource, body: bytes
) -> None:
    """Content-MD5 lets the store refuse damaged bytes; x-ms-blob-content-md5 is kept."""
    serve(source, Answer(body=body))
    await copy(destination, source)
    sent = destination.proxy.requests
    uploads = [each for each in sent if each.operation in {"PUT", "PUT block"}]
    assert b"".join(each.body for each in uploads) == body
    for each in uploads:
        assert each.headers["content-md5"] == md5_header(each.body)
    (kept,) = (each for each in sent if each.operation in {"PUT", "PUT blocklist"})
    assert kept.headers["x-ms-blob-content-md5"] == md5_header(body)


async def test_a_blob_with_another_md5_in_the_reply_is_sent_again(
    destination: Destination, source: ScriptedSource
) -> None:
    replies: list[str] = []

    def differ_once(request: StoreRequest, headers: dict[str, str]) -> dict[str, str]:
        replies.append(request.operation)
        return headers if len(replies) > 1 else {**headers, "content-md5": md5_header(b"other")}

    destination.proxy.change_reply = differ_once
    serve(source, Answer(body=SMALL))
    await assert_stored(destination, await copy(destination, source), SMALL)
    assert replies == ["PUT", "PUT"]


async def assert_differs_in_store(destination: Destination, source: ScriptedSource) -> None:
    with pytest.raises(RowError) as found:
        await copy(destination, source)
    assert found.value.code is FailureCode.FILE_CORRUPT
    assert "stored blob differs" in found.value.message


@pytest.mark.parametrize(
    "stated",
    [
        {"content-length": str(len(LARGE) - 1)},
        {"content-md5": md5_header(LARGE[:-1])},
        {"content-md5": ""},
    ],
    ids=["another length", "another MD5", "no MD5"],
)
async def test_a_committed_blob_that_differs_in_the_store_fails(
    destination: Destination, source: ScriptedSource, stated: dict[str, str]
) -> None:
    def differ(request: StoreRequest, headers: dict[str, str]) -> dict[str, str]:
        headers = {**headers, **(stated if request.operation == "HEAD" else {})}
        return {name: text for name, text in headers.items() if text}

    destination.proxy.change_reply = differ
    serve(source, Answer(body=LARGE))
    await assert_differs_in_store(destination, source)


async def test_a_block_list_that_arrives_changed_fails(
    destination: Destination, source: ScriptedSource
) -> None:
    """The store commits the first block three times, and so another length."""

    def first_block_only(request: StoreRequest) -> bytes:
        if request.operation != "PUT blocklist":
            return request.body
        first, last = (base64.b64encode(b"%08d" % number) for number in (0, 2))
        assert last in request.body
        return request.body.replace(last, first)

    destination.proxy.change_body = first_block_only
    serve(source, Answer(body=LARGE))
    await assert_differs_in_store(destination, source)
