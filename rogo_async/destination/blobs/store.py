"""Upload and delete blobs in the destination container."""

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, Self, TypeVar

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, ContentSettings

from rogo_async.common.azure_storage import API_VERSION
from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.error_classes import are_blocks_discarded, code_of
from rogo_async.common.errors import (
    BlocksDiscarded,
    Dependency,
    FailureCode,
    RowError,
    TransientError,
)
from rogo_async.common.http_session import HTTP_ERRORS, HttpSession, request_error
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.blobs.account import (
    DAMAGED,
    Account,
    deadline_s,
    error_of_response,
    headers_of,
)

MIGRATED_FROM: Final = "rogo_warehouse"
"""The metadata value that marks every blob of this tool (specification §2)."""
T = TypeVar("T")
_KEPT: Final = frozenset({409, 412})


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob to be written: name, headers and metadata.

    ``content_encoding`` and ``content_language`` describe the bytes; None: the blob has no such
    header.
    """

    name: str
    content_type: str
    metadata: Mapping[str, str]
    content_encoding: str | None = None
    content_language: str | None = None

    def described(self, content_encoding: str | None, content_language: str | None) -> Self:
        """The blob with the headers of the source that describe its bytes."""
        if content_encoding is None and content_language is None:
            return self
        return replace(self, content_encoding=content_encoding, content_language=content_language)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that writes the whole blob, without its MD5."""
        headers = {
            "x-ms-version": API_VERSION,
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": self.content_type,
            **{f"x-ms-meta-{name}": value for name, value in self.metadata.items()},
        }
        if self.content_encoding is not None:
            headers["x-ms-blob-content-encoding"] = self.content_encoding
        if self.content_language is not None:
            headers["x-ms-blob-content-language"] = self.content_language
        return headers


class Store:
    """Writes and deletes blobs. A retry repeats the same name with the same bytes."""

    def __init__(self, account: Account, http: HttpSession, breaker: CircuitBreaker) -> None:
        self._account = account
        self._http = http
        self._breaker = breaker

    def url_of(self, blob_name: str) -> str:
        """The URL of a blob, without a SAS."""
        return self._account.url_of(blob_name)

    async def put(self, blob: Blob, data: bytes, md5: bytes) -> None:
        """Write a blob in one request. The store checks its length and MD5.

        Raises RunStopped, or a DependencyError if the request keeps failing for this blob only.
        """
        digest = base64.b64encode(md5).decode()
        headers = {**blob.headers, "Content-MD5": digest, "x-ms-blob-content-md5": digest}
        await self._breaker.call("put", lambda: self._put(blob, data, headers, digest))

    async def stage(self, blob: Blob, number: int, data: bytes) -> str:
        """Write a block of a large blob; return its id. Raises RunStopped or a DependencyError."""
        block_id = f"{number:08d}"
        client = self._account.container.get_blob_client(blob.name)
        await self._call(
            "stage",
            lambda: client.stage_block(block_id, data, validate_content=True),
            len(data),
        )
        return block_id

    async def commit(self, blob: Blob, block_ids: list[str], size_bytes: int, md5: bytes) -> None:
        """Commit the blocks as a blob, then check its length and MD5.

        Raises RowError file_corrupt if they differ, BlocksDiscarded, RunStopped or a
        DependencyError.
        """
        client = self._account.container.get_blob_client(blob.name)
        blocks = [BlobBlock(block_id) for block_id in block_ids]
        settings = ContentSettings(
            content_type=blob.content_type,
            content_encoding=blob.content_encoding,
            content_language=blob.content_language,
            content_md5=bytearray(md5),
        )

        async def committed() -> None:
            try:
                await client.commit_block_list(
                    blocks, content_settings=settings, metadata=dict(blob.metadata)
                )
            except HttpResponseError as error:
                if are_blocks_discarded(code_of(headers_of(error))):
                    raise BlocksDiscarded from None
                raise

        await self._call("commit", committed)
        found = await self._call("properties", client.get_blob_properties)
        if found.size != size_bytes or bytes(found.content_settings.content_md5 or b"") != md5:
            raise RowError(FailureCode.FILE_CORRUPT, "length or MD5 of the stored blob differs")

    async def renew(self, blob: Blob) -> bool:
        """Give a blob a new ETag and a new time of modification. Returns whether it exists.

        A deletion that depends on the former ETag is refused from then on. Raises RunStopped or a
        DependencyError.
        """
        client = self._account.container.get_blob_client(blob.name)

        async def exists() -> bool:
            try:
                await client.set_blob_metadata(dict(blob.metadata))
            except ResourceNotFoundError:
                return False
            except HttpResponseError as error:
                still_kept(error)  # a lease or a policy protects it
            return True

        return await self._call("renew", exists)

    async def delete(
        self, blob_name: str, may_delete: Callable[[], Awaitable[bool]] | None = None
    ) -> bool:
        """Delete a blob. A missing blob counts as deleted. False if the store refuses.

        ``may_delete`` is asked before each try; if it says no, the blob stays.

        Raises RunStopped or a DependencyError.
        """
        client = self._account.container.get_blob_client(blob_name)

        async def gone() -> bool:
            if may_delete is not None and not await may_delete():
                return False
            try:
                await client.delete_blob()
            except ResourceNotFoundError:
                return True
            except HttpResponseError as error:
                return still_kept(error)
            return True

        return await self._call("delete", gone)

    async def _call(
        self, operation: str, request: Callable[[], Awaitable[T]], size_bytes: int = 0
    ) -> T:
        return await self._breaker.call(
            operation, lambda: self._account.call(operation, request, size_bytes)
        )

    async def _put(self, blob: Blob, data: bytes, headers: dict[str, str], digest: str) -> None:
        try:
            answer = await self._account.send(
                self._http, "PUT", blob.name, headers, data, within_s=deadline_s(len(data))
            )
        except HTTP_ERRORS as error:
            raise request_error(Dependency.STORE, "put", error) from None
        answer.close()
        if answer.status != 201:
            raise error_of_response("put", answer)
        if (answer.headers.get("Content-MD5") or digest) != digest:
            raise TransientError(Dependency.STORE, "put", DAMAGED)


def still_kept(error: HttpResponseError) -> bool:
    """Return False for a refused deletion of this blob; raise any other error.

    Reasons are a lease, a snapshot, a policy, or a change of the blob.
    """
    if error.status_code not in _KEPT:
        raise error
    return False


def target_digest(url: DatabaseUrl) -> str:
    """A digest of the target's host, port and database, for the metadata of its blobs."""
    return sha256(url.identity.encode()).hexdigest()[:16]
