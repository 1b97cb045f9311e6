"""Server-side copies: copied by the service or streamed, with the same result (rule 14)."""

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import Any, Final

import pytest
from azure.storage.blob import BlobProperties, ContentSettings
from azure.storage.blob.aio import BlobServiceClient, ContainerClient

from rogo_async.common.errors import FailureCode, RowError, SourceForbidden, TransientError
from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.pipeline.server_side_copy import EXTRA_REQUESTS
from rogo_async.rules.records import Route
from rogo_async.sources import http_files
from rogo_async.sources.http_files import BLOCK_BYTES
from tests.support.builders import Scenario
from tests.support.byte_counter import ByteCounter
from tests.support.copy_proxy import CopyProxy, Refusal, behind, copy_proxy, redirected
from tests.support.file_copier import OneFileEach, open_file_copier, settings_of
from tests.support.store_proxy import StoreRequest
from tests.support.tcp_proxy import TcpProxy

BODY: Final = b"the learner's answer"
OTHER: Final = b"another answer, changed later"


@pytest.fixture
async def proxy(stack: Stack) -> AsyncIterator[CopyProxy]:
    async with copy_proxy(stack.azurite) as running:
        yield running


@pytest.fixture
async def containers(stack: Stack) -> AsyncIterator[Workspace]:
    """A workspace with containers of its own, but not with databases."""
    source, destination = f"source-{uuid.uuid4().hex}", f"migrated-{uuid.uuid4().hex}"
    made = replace(stack.workspace, source_container=source, container=destination)
    async with BlobServiceClient.from_connection_string(stack.azurite.connection_string) as store:
        for name in (made.source_container, made.container):
            await store.create_container(name)
        yield made
        for name in (made.source_container, made.container):
            await store.delete_container(name)


@pytest.fixture
def site(stack: Stack, containers: Workspace, proxy: CopyProxy) -> dict[str, str]:
    """The environment of a run in these containers, behind the proxy."""
    return behind(proxy, stack.azurite, stack.environment_of(containers))


@pytest.fixture
async def copier(site: dict[str, str]) -> AsyncIterator[OneFileEach]:
    async with open_file_copier(settings_of(site)) as opened:
        yield opened


class Blobs:
    """The source container, whose URLs lead through the proxy, and the destination."""

    def __init__(self, stack: Stack, workspace: Workspace, proxy: CopyProxy) -> None:
        self._connection = stack.azurite.connection_string
        self._workspace = workspace
        self._base = f"{proxy.endpoint}/{workspace.source_container}"

    async def put(self, name: str, body: bytes = BODY, **settings: Any) -> str:
        """Create or replace a source blob; returns its URL."""
        async with self._open(self._workspace.source_container) as container:
            await container.upload_blob(
                name, body, overwrite=True, content_settings=ContentSettings(**settings)
            )
        return f"{self._base}/{name}"

    async def without_md5(self, name: str) -> str:
        """A source blob that states no MD5."""
        url = await self.put(name)
        async with self._open(self._workspace.source_container) as container:
            # All properties that are not given are removed, the MD5 among them.
            await container.get_blob_client(name).set_http_headers(ContentSettings())
        return url

    async def stored(self, name: str) -> tuple[bytes, BlobProperties]:
        """Bytes and properties of a blob in the destination."""
        async with self._open(self._workspace.container) as container:
            reader = await container.download_blob(name)
            return await reader.readall(), await container.get_blob_client(
                name
            ).get_blob_properties()

    async def names(self) -> list[str]:
        """The names in the destination."""
        async with self._open(self._workspace.container) as container:
            return [name async for name in container.list_blob_names()]

    def _open(self, name: str) -> ContainerClient:
        return ContainerClient.from_connection_string(self._connection, name)


@pytest.fixture
def blobs(stack: Stack, containers: Workspace, proxy: CopyProxy) -> Blobs:
    return Blobs(stack, containers, proxy)


def answers(*refusals: Refusal | None) -> Iterator[Refusal | None]:
    """These answers to copies in turn, then none."""
    return chain(refusals, repeat(None))


async def test_a_copied_blob_equals_a_streamed_one(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy, site: dict[str, str]
) -> None:
    described: dict[str, Any] = {
        "content_type": "application/x-of-the-source",
        "content_encoding": "br",
        "content_language": "en-GB",
        "content_disposition": "attachment; filename=old",
        "cache_control": "public",
    }
    url = await blobs.put("1.docx", **described)
    found = []
    async with open_file_copier(settings_of(site, rogo_copy="stream")) as streaming:
        for each, route in ((copier, Route.COPIED), (streaming, Route.OFF)):
            file = await each.copy(1, url, "application/msword")
            assert (file.route, file.size_bytes) == (route, len(BODY))
            assert file.md5 == hashlib.md5(BODY).digest()
            body, properties = await blobs.stored(file.blob_name)
            assert body == BODY
            headers = dict(properties.content_settings)
            metadata = {**properties.metadata, "runId": "", "name": file.blob_name[:18]}
            found.append((headers, metadata, properties.blob_type))
    assert found[0] == found[1]
    headers = found[0][0]
    assert headers["content_type"] == "application/msword"
    assert (headers["content_encoding"], headers["content_language"]) == ("br", "en-GB")
    assert not headers["content_disposition"]
    assert not headers["cache_control"]
    assert proxy.copies == [201]
    assert proxy.count("GET") == 1  # only the streamed one


@pytest.mark.parametrize(
    "refusal",
    [
        (400, "UnsupportedHeader"),
        (400, "Md5Mismatch"),
        (401, "NoAuthenticationInformation"),
        (403, "CannotVerifyCopySource"),
        (403, "AuthorizationFailure"),
        (404, "CannotVerifyCopySource"),
        (409, "PublicAccessNotPermitted"),
        (409, "BlobImmutableDueToPolicy"),
        (412, "SourceConditionNotMet"),
        (412, "LeaseIdMissing"),
        (413, "RequestBodyTooLarge"),
        (500, "CannotVerifyCopySource"),
        (501, "NotImplemented"),
    ],
)
async def test_a_file_that_the_service_declines_is_streamed(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy, refusal: Refusal
) -> None:
    proxy.refuse = lambda: refusal
    file = await copier.copy(1, await blobs.put("1.txt"))
    expected = Route.CHANGED if refusal[1] == "SourceConditionNotMet" else Route.DECLINED
    assert file.route is expected
    assert (await blobs.stored(file.blob_name))[0] == BODY
    assert proxy.copies[0] == refusal[0]


async def test_a_missing_file_fails_with_the_code_of_rule_14(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy
) -> None:
    url = await blobs.put("1.txt")
    with pytest.raises(RowError) as raised:
        await copier.copy(1, url.replace("/1.txt", "/2.txt"))
    assert raised.value.code is FailureCode.SOURCE_FILE_MISSING
    assert proxy.copies == []


async def test_a_forbidden_file_fails_with_the_code_of_rule_14(
    blobs: Blobs, proxy: CopyProxy, site: dict[str, str]
) -> None:
    settings = settings_of(site, rogo_source_sas_token=None)
    url = await blobs.put("1.txt")
    async with open_file_copier(settings) as copier:
        with pytest.raises(SourceForbidden):
            await copier.copy(1, f"{url}?sig=d3Jvbmc%3D&sv=2021-12-02&sr=b&sp=r&se=2099-01-01")
    assert proxy.copies == []


@pytest.mark.parametrize("refusal", [(408, ""), (429, ""), (500, "InternalError"), (503, "Busy")])
async def test_a_temporary_error_of_a_copy_is_retried(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy, refusal: Refusal
) -> None:
    turns = answers(refusal, refusal)
    proxy.refuse = lambda: next(turns)
    file = await copier.copy(1, await blobs.put("1.txt"))
    assert file.route is Route.COPIED
    assert copier.call_stats.retries == {"store.copy": 2}


async def test_a_service_that_never_answers_copies_costs_no_file_and_no_outage(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy
) -> None:
    proxy.refuse = lambda: (500, "InternalError")
    for attempt in range(1, 4):
        file = await copier.copy(attempt, await blobs.put(f"{attempt}.txt"))
        expected = Route.UNKNOWN if attempt == 1 else Route.DECLINED_EARLIER
        assert file.route is expected
        assert (await blobs.stored(file.blob_name))[0] == BODY
    assert all(outage.ended_s is not None for outage in copier.call_stats.outages)
    assert len(proxy.copies) <= EXTRA_REQUESTS


async def test_a_source_without_md5_is_streamed(copier: OneFileEach, blobs: Blobs) -> None:
    file = await copier.copy(1, await blobs.without_md5("1.txt"))
    assert file.route is Route.NO_MD5
    assert (await blobs.stored(file.blob_name))[0] == BODY


@pytest.mark.parametrize("computed", [base64.b64encode(b"0" * 16).decode(), None])
async def test_a_copy_with_another_md5_is_replaced(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy, computed: str | None
) -> None:
    proxy.computed_md5 = lambda _: computed
    file = await copier.copy(1, await blobs.put("1.txt"))
    assert file.route is Route.DIFFERENT
    assert (await blobs.stored(file.blob_name))[0] == BODY


@pytest.mark.parametrize("damaged", [BODY[:-1], b"X" + BODY[1:]])
async def test_a_copy_whose_bytes_were_damaged_is_replaced(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy, damaged: bytes
) -> None:
    """The service answers with the right digest, but stores other bytes."""
    good = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    proxy.damage = lambda _: damaged
    proxy.computed_md5 = lambda _: good
    file = await copier.copy(1, await blobs.put("1.txt"))
    assert file.route is Route.DIFFERENT
    assert (await blobs.stored(file.blob_name))[0] == BODY


async def test_a_copy_whose_reply_was_lost_is_repeated(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy
) -> None:
    turns = chain([True, True, True], repeat(False))
    proxy.lose_reply = lambda: next(turns)
    file = await copier.copy(1, await blobs.put("1.txt"))
    assert file.route is Route.COPIED
    assert proxy.copies[0] == 201
    assert set(proxy.copies[1:]) == {409}
    body, properties = await blobs.stored(file.blob_name)
    assert body == BODY
    assert properties.metadata["attemptId"] == "1"
    assert await blobs.names() == [file.blob_name]


async def test_a_source_that_changes_before_the_copy_is_never_mixed(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy
) -> None:
    url = await blobs.put("1.txt", content_encoding="zstd")

    async def change() -> None:
        await blobs.put("1.txt", OTHER, content_encoding="br")

    proxy.before_read = change
    file = await copier.copy(1, url)
    assert (file.size_bytes, file.md5) == (len(OTHER), hashlib.md5(OTHER).digest())
    body, properties = await blobs.stored(file.blob_name)
    assert (body, properties.content_settings.content_encoding) == (OTHER, "br")
    assert proxy.copies == [412]


async def test_a_late_copy_of_the_old_source_does_not_replace_the_streamed_file(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy
) -> None:
    """The service has read the source before it changed, and stores the blob long afterwards."""
    url = await blobs.put("1.txt")
    proxy.hold_next = True

    async def change_unless_held() -> None:
        if not proxy.hold_next:
            await blobs.put("1.txt", OTHER)

    proxy.before_read = change_unless_held
    file = await copier.copy(1, url)
    assert file.route is Route.CHANGED
    assert await proxy.finish_held() == 409
    assert (await blobs.stored(file.blob_name))[0] == OTHER


@pytest.mark.parametrize(
    ("at", "status"), [("PUT block", 201), ("PUT blocklist", 201), ("HEAD", 409)]
)
async def test_a_late_copy_is_never_mixed_with_a_file_that_is_streamed_in_blocks(
    copier: OneFileEach,
    blobs: Blobs,
    containers: Workspace,
    proxy: CopyProxy,
    monkeypatch: pytest.MonkeyPatch,
    at: str,
    status: int,
) -> None:
    """The service stores the old bytes before, between or after the requests of the stream."""
    monkeypatch.setattr(http_files, "BLOCK_BYTES", 8)
    url = await blobs.put("1.txt", content_encoding="zstd")
    proxy.hold_next = True
    late: list[int] = []

    async def change_unless_held() -> None:
        if not proxy.hold_next:
            await blobs.put("1.txt", OTHER, content_encoding="br")

    async def finish(request: StoreRequest) -> None:
        if request.operation == at and f"/{containers.container}/" in request.path and not late:
            late.append(await proxy.finish_held())

    proxy.before_read, proxy.before = change_unless_held, finish
    file = await copier.copy(1, url)
    assert late == [status]
    assert file.route is Route.CHANGED
    assert (file.size_bytes, file.md5) == (len(OTHER), hashlib.md5(OTHER).digest())
    body, properties = await blobs.stored(file.blob_name)
    assert (body, properties.content_settings.content_encoding) == (OTHER, "br")
    assert await blobs.names() == [file.blob_name]


async def test_a_store_that_discards_blocks_again_and_again_leaves_the_outcome_open(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_files, "BLOCK_BYTES", 8)
    proxy.refuse = lambda: (501, "NotImplemented")

    async def discard(request: StoreRequest) -> None:
        if request.operation == "PUT blocklist":
            proxy.blocks.clear()

    proxy.before = discard
    with pytest.raises(TransientError, match="blocks were discarded several times"):
        await copier.copy(1, await blobs.put("1.txt"))
    assert proxy.count("PUT blocklist") == 3


async def test_a_host_that_always_declines_costs_few_requests(
    copier: OneFileEach, blobs: Blobs, proxy: CopyProxy
) -> None:
    proxy.refuse = lambda: (501, "NotImplemented")
    urls = [await blobs.put(f"{attempt}.txt") for attempt in range(1, 31)]
    files = await asyncio.gather(*[copier.copy(n, url) for n, url in enumerate(urls, 1)])
    routes = [file.route for file in files]
    assert set(routes) == {Route.DECLINED, Route.DECLINED_EARLIER}
    assert proxy.count("GET") == len(urls)
    extra = len(proxy.copies) + proxy.count("HEAD")
    assert 0 < extra <= EXTRA_REQUESTS


@pytest.mark.parametrize(("mode", "least", "most"), [("auto", 0.0, 0.01), ("stream", 2.0, 2.1)])
async def test_the_bytes_of_copied_files_do_not_pass_through_this_machine(
    stack: Stack, containers: Workspace, proxy: CopyProxy, mode: str, least: float, most: float
) -> None:
    """Measured at the sockets, as a share of the files' size: streaming reads and writes them."""
    files, size_bytes = 4, BLOCK_BYTES
    counter = ByteCounter()
    await Scenario(stack, containers).upload({f"{n}": bytes(size_bytes) for n in range(files)})
    async with TcpProxy(LOOPBACK, proxy.port) as counting:
        counter.watch(counting)
        origin = f"http://{LOOPBACK}:{counting.port}"
        site = redirected(stack.environment_of(containers), stack.azurite.origin, origin)
        base = stack.source_url(containers).replace(stack.azurite.origin, origin)
        async with open_file_copier(settings_of(site, rogo_copy=mode)) as copier:
            await asyncio.gather(*[copier.copy(n + 1, f"{base}/{n}") for n in range(files)])
    assert least <= counter.total / (files * size_bytes) <= most
