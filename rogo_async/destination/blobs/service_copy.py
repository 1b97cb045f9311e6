"""Lets the destination's service copy a blob from another account (rule 14).

The request is Put Blob From URL. Source: Azure Storage REST API, "Put Blob From URL".
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from rogo_async.common import error_classes
from rogo_async.common.azure_storage import API_VERSION
from rogo_async.common.error_classes import ErrorClass, code_of
from rogo_async.common.errors import CopyUnanswered, Dependency, DependencyError, RogoError
from rogo_async.common.http_session import HTTP_ERRORS, HttpSession, Response, request_error
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.blobs.account import CALL_S, Account, error_of_response
from rogo_async.destination.blobs.store import Blob, Store
from rogo_async.rules.records import Route

MOST_BYTES: Final = 5_000 * 1024 * 1024
"""The service's limit for one request."""
LONGEST_URL: Final = 2048
"""The service's limit for the URL of the source, with its SAS."""
_SLOWEST_BYTES_PER_S: Final = 1024 * 1024
_TRIES: Final = 6
"""More than a call fails in an outage: the server is up, but does not answer this request."""
_FOUND: Final = 200
_CREATED: Final = 201
_FAILED_CONDITION: Final = 412
_OF_THE_SOURCE: Final = frozenset({"SourceConditionNotMet", "CannotVerifyCopySource"})


@dataclass(frozen=True, slots=True)
class CopySource:
    """A blob to copy: what reads it, and what its bytes must be. URL and header are secrets."""

    url: URL = field(repr=False)
    authorization: Callable[[], Awaitable[str]] = field(repr=False)
    """The Authorization header for this URL, empty if it needs none. Raises a DependencyError."""
    etag: str
    size_bytes: int
    md5: bytes


class CopyDeclined(RogoError):
    """The service did not copy, or the copy is not certain. The file can still be streamed."""

    def __init__(self, route: Route, detail: str = "") -> None:
        super().__init__(detail or route.value)
        self.route = route
        self.detail = detail
        """The answer of the service, such as ``501 NotImplemented``; empty if there was none."""


class ServiceCopy:
    """Copies blobs without transferring their bytes through this machine."""

    def __init__(
        self, account: Account, http: HttpSession, store: Store, breaker: CircuitBreaker
    ) -> None:
        self._account = account
        self._http = http
        self._store = store
        self._breaker = breaker

    async def copy(self, blob: Blob, source: CopySource) -> None:
        """Copy ``source`` to a new blob, then compare length and MD5.

        The service copies only while the source has this ETag, and only if there is no blob with
        this name. So a request whose reply was lost can neither mix two versions of the source nor
        replace what was streamed under this name later. Raises CopyDeclined and RunStopped.
        """
        digest = base64.b64encode(source.md5).decode()
        failures = 0

        async def put() -> None:
            nonlocal failures
            try:
                authorization = await source.authorization()
            except DependencyError:
                raise CopyUnanswered from None
            try:
                await self._put(blob, source, digest, authorization)
            except DependencyError:
                failures += 1
                if failures == _TRIES:
                    raise CopyUnanswered from None
                raise

        try:
            await self._breaker.call("copy", put)
            await self._breaker.call("properties", lambda: self._compare(blob, source, digest))
        except (DependencyError, CopyUnanswered):
            raise CopyDeclined(Route.UNKNOWN) from None

    async def _put(self, blob: Blob, source: CopySource, digest: str, authorization: str) -> None:
        headers = {
            **blob.headers,
            "x-ms-blob-content-type": blob.content_type,
            "x-ms-blob-content-md5": digest,
            "x-ms-copy-source": str(source.url),
            "x-ms-copy-source-blob-properties": "false",
            "x-ms-source-if-match": source.etag,
            "x-ms-source-content-md5": digest,
            "If-None-Match": "*",
        }
        if authorization:
            headers["x-ms-copy-source-authorization"] = authorization
        within_s = CALL_S + source.size_bytes / _SLOWEST_BYTES_PER_S
        answer = await self._send("PUT", blob, headers, "copy", within_s)
        if answer.status == _CREATED:
            if answer.headers.get("Content-MD5") != digest:
                raise CopyDeclined(Route.DIFFERENT)
            return
        code = code_of(answer.headers)
        match error_classes.of_copy(answer.status, code):
            case ErrorClass.TRANSIENT:
                raise error_of_response("copy", answer)
            case ErrorClass.CONFLICT:
                # An earlier request, whose reply was lost, may have created the blob. It is
                # renewed like a blob that was written now. If there is none, the condition was
                # that of the source.
                if not await self._store.renew(blob):
                    raise CopyDeclined(Route.CHANGED)
            case _:
                is_changed = answer.status == _FAILED_CONDITION and code in _OF_THE_SOURCE
                route = Route.CHANGED if is_changed else Route.DECLINED
                raise CopyDeclined(route, f"{answer.status} {code or ''}".strip())

    async def _compare(self, blob: Blob, source: CopySource, digest: str) -> None:
        """Compare what the store states about the new blob with the source."""
        headers = {"x-ms-version": API_VERSION}
        answer = await self._send("HEAD", blob, headers, "properties", CALL_S)
        if error_classes.of_http(answer.status) is ErrorClass.TRANSIENT:
            raise error_of_response("properties", answer)
        stated = answer.status, answer.size_bytes, answer.headers.get("Content-MD5")
        if stated != (_FOUND, source.size_bytes, digest):
            raise CopyDeclined(Route.DIFFERENT)

    async def _send(
        self, method: str, blob: Blob, headers: dict[str, str], operation: str, within_s: float
    ) -> Response:
        try:
            answer = await self._account.send(
                self._http, method, blob.name, headers, within_s=within_s
            )
        except HTTP_ERRORS as error:
            raise request_error(Dependency.STORE, operation, error) from None
        answer.close()
        return answer
