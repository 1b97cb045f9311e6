"""Full access to a container of the embedded blob store, to fill and inspect it."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import aiohttp
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import ContainerClient
from yarl import URL

from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.servers.azurite import Azurite

PARALLEL: Final = 32
REQUEST_TIMEOUT_S: Final = 300.0
_API_VERSION: Final = "2021-12-02"
_VALID_FOR: Final = timedelta(hours=12)
_CHUNK_BYTES: Final = 256 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A listed blob. ``md5`` is the value that the store reports, or None."""

    name: str
    size_bytes: int
    content_type: str
    md5: bytes | None
    metadata: dict[str, str]


class Container:
    """A container. One SAS serves all requests; the SDK would sign each request, which is slow."""

    def __init__(self, azurite: Azurite, name: str, session: aiohttp.ClientSession) -> None:
        self._azurite = azurite
        self._name = name
        self._session = session
        self._sas = generate_container_sas(
            azurite.account_name,
            name,
            account_key=azurite.account_key,
            permission=ContainerSasPermissions(read=True, write=True, create=True, list=True),
            expiry=datetime.now(UTC) + _VALID_FOR,
        )

    def _url(self, path: str, query: str = "") -> URL:
        address = f"{self._azurite.endpoint}/{self._name}/{path}?{query}{self._sas}"
        return URL(address, encoded=True)

    async def upload(self, blob: BlobSpec) -> None:
        """Uploads a file; if ``md5_is_wrong``, then sets a wrong MD5."""
        headers = {
            "x-ms-blob-type": "BlockBlob",
            "x-ms-version": _API_VERSION,
            "Content-Length": str(blob.size_bytes),
            "Content-Type": "application/octet-stream",
        }
        async with self._session.put(
            self._url(blob.path), data=_stream(blob), headers=headers
        ) as response:
            response.raise_for_status()
        if blob.md5_is_wrong:
            await self._set_wrong_md5(blob.path)

    async def _set_wrong_md5(self, path: str) -> None:
        wrong = base64.b64encode(b"not this digest!").decode()
        headers = {"x-ms-version": _API_VERSION, "x-ms-blob-content-md5": wrong}
        async with self._session.put(
            self._url(path, "comp=properties&"), headers=headers
        ) as response:
            response.raise_for_status()

    async def digest(self, path: str) -> tuple[int, bytes]:
        """Downloads a blob; returns its size and MD5. ``path`` is percent-encoded."""
        md5, size_bytes = hashlib.md5(usedforsecurity=False), 0
        async with self._session.get(self._url(path)) as response:
            response.raise_for_status()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                md5.update(chunk)
                size_bytes += len(chunk)
        return size_bytes, md5.digest()

    async def listing(self) -> dict[str, StoredBlob]:
        """All blobs of the container by name."""
        blobs = {}
        async with ContainerClient.from_connection_string(
            self._azurite.connection_string, self._name, use_env_settings=False
        ) as client:
            async for item in client.list_blobs(include=["metadata"]):
                settings = item.content_settings
                blobs[item.name] = StoredBlob(
                    name=item.name,
                    size_bytes=item.size,
                    content_type=settings.content_type or "",
                    md5=bytes(settings.content_md5) if settings.content_md5 else None,
                    metadata=item.metadata or {},
                )
        return blobs


async def _stream(blob: BlobSpec) -> AsyncIterator[bytes]:
    for chunk in blob.chunks():
        yield chunk


async def run_concurrently(work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
    """Awaits ``work`` for every item, PARALLEL at a time; the first error cancels the others."""
    waiting = iter(items)

    async def take() -> None:
        for item in waiting:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(PARALLEL):
            group.create_task(take())
