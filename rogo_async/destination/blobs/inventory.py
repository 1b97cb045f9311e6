"""List, read and delete blobs in the destination container."""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from yarl import URL

from rogo_async.common.azure_storage import API_VERSION
from rogo_async.common.errors import Dependency, SystemicError
from rogo_async.common.http_session import HTTP_ERRORS, HttpSession, request_error
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.blobs.account import CALL_S, Account, error_of_response
from rogo_async.destination.blobs.store import still_kept

MOST_IN_BATCH: Final = 256
"""The service's limit for one batch request."""
_PAGE: Final = 5_000
_CHUNK_BYTES: Final = 256 * 1024
_READ_S: Final = 60.0
"""The deadline for the headers of a response, and for one chunk of a blob."""


@dataclass(frozen=True, slots=True)
class ListedBlob:
    """A blob in a listing. Names of metadata are in lower case."""

    name: str
    size_bytes: int
    modified: datetime
    etag: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class BlobContent:
    """Length and MD5: computed from the bytes, and as stated by the store."""

    size_bytes: int
    md5: bytes
    stated_bytes: int | None
    stated_md5: bytes | None
    metadata: dict[str, str]


class Inventory:
    """Lists, reads and deletes blobs. Waits while the store is unreachable."""

    def __init__(self, account: Account, http: HttpSession, breaker: CircuitBreaker) -> None:
        self._account = account
        self._http = http
        self._breaker = breaker

    async def now(self) -> datetime:
        """The time on the store's clock, by which the age of a blob is measured.

        Raises RunStopped, and SystemicError if the store does not state the time: by the clock of
        this machine, a blob in use could seem old.
        """
        found = await self._breaker.call("clock", self._account.server_time)
        if found is None:
            reason = "its answers have no Date header, so the age of blobs is unknown"
            raise SystemicError(Dependency.STORE, "clock", reason)
        return found

    async def anonymous_time(self) -> datetime | None:
        """The store's time. Sends no credentials, since the store rejects them if clocks differ.

        None when the response has no date. Raises TransientError.
        """
        try:
            response = await self._http.request(
                "HEAD", URL(self._account.container_url), {}, within_s=CALL_S
            )
        except HTTP_ERRORS as error:
            raise request_error(Dependency.STORE, "clock", error) from None
        response.close()
        try:
            return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
        except (KeyError, ValueError):
            return None

    async def pages(self, prefix: str) -> AsyncIterator[list[ListedBlob]]:
        """All blobs with this prefix, in pages of some thousand. Raises RunStopped."""
        token: str | None = None
        while True:

            async def page(after: str | None = token) -> tuple[list[ListedBlob], str | None]:
                listing: Any = self._account.container.list_blobs(
                    name_starts_with=prefix, include=["metadata"], results_per_page=_PAGE
                ).by_page(continuation_token=after)
                items = [_listed(item) async for item in await anext(listing)]
                return items, listing.continuation_token

            found, token = await self._call("list", page)
            yield found
            if not token:
                return

    async def delete(self, blob: ListedBlob) -> bool:
        """Delete a blob if it is unchanged since it was listed. A missing blob counts as deleted.

        False if it has changed, or if a lease, a snapshot or a policy protects it. Raises
        RunStopped.
        """
        client = self._account.container.get_blob_client(blob.name)

        async def gone() -> bool:
            try:
                await client.delete_blob(
                    etag=blob.etag, match_condition=MatchConditions.IfNotModified
                )
            except ResourceNotFoundError:
                return True
            except HttpResponseError as error:
                return still_kept(error)
            return True

        return bool(await self._call("delete", gone))

    async def delete_batch(self, blobs: Sequence[ListedBlob]) -> bool:
        """Delete at most MOST_IN_BATCH blobs that are unchanged since they were listed.

        True if all of them are certainly gone. Otherwise any of them may be gone or not: use
        ``delete`` for each. Raises a DependencyError if the store does not accept the request.
        """
        parts: list[Any] = [
            {"name": each.name, "etag": each.etag, "match_condition": MatchConditions.IfNotModified}
            for each in blobs
        ]

        async def request() -> list[int]:
            answers = await self._account.container.delete_blobs(*parts, raise_on_any_failure=False)
            return [answer.status_code async for answer in answers]

        try:
            statuses = await self._account.call("delete batch", request)
        except (HTTPException, LookupError, TypeError, ValueError) as error:
            reason = f"the answer is malformed ({type(error).__name__})"
            raise SystemicError(Dependency.STORE, "delete batch", reason) from None
        # The answers of a batch may come in another order, so a single refusal has no name. A 404
        # may mean the container, or a path that a gateway has changed.
        return len(statuses) == len(blobs) and set(statuses) == {202}

    async def read(self, name: str, *, whole: bool) -> BlobContent | None:
        """Read a whole blob, or only its properties. None if it does not exist.

        Raises RunStopped, or a DependencyError if the request keeps failing for this blob only.
        """
        return await self._breaker.call("read", lambda: self._read(name, whole=whole))

    async def _call(self, operation: str, request: Any) -> Any:
        return await self._breaker.call(operation, lambda: self._account.call(operation, request))

    async def _read(self, name: str, *, whole: bool) -> BlobContent | None:
        method = "GET" if whole else "HEAD"
        headers = {"x-ms-version": API_VERSION}
        digest, size_bytes = hashlib.md5(usedforsecurity=False), 0
        try:
            response = await self._account.send(self._http, method, name, headers, within_s=_READ_S)
            with contextlib.closing(response):
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise error_of_response("read", response)
                while not response.at_end:
                    chunk = await response.block(_CHUNK_BYTES, _READ_S)
                    size_bytes += len(chunk)
                    digest.update(chunk)
        except HTTP_ERRORS as error:
            raise request_error(Dependency.STORE, "read", error) from None
        stated = response.headers
        return BlobContent(
            size_bytes=size_bytes,
            md5=digest.digest(),
            stated_bytes=response.size_bytes,
            stated_md5=_md5_of(stated.get("Content-MD5", "")),
            metadata={
                key.lower().removeprefix("x-ms-meta-"): value
                for key, value in stated.items()
                if key.lower().startswith("x-ms-meta-")
            },
        )


def _listed(item: Any) -> ListedBlob:
    return ListedBlob(
        name=item.name,
        size_bytes=item.size or 0,
        modified=item.last_modified,
        etag=item.etag,
        metadata={key.lower(): value for key, value in (item.metadata or {}).items()},
    )


def _md5_of(text: str) -> bytes | None:
    try:
        md5 = base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
    return md5 if len(md5) == 16 else None
