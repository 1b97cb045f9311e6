"""Source files over HTTP: only from permitted hosts, resumed after a broken connection."""

from collections.abc import Callable, Mapping
from typing import Final

from yarl import URL

from rogo_async.common import error_classes
from rogo_async.common.error_classes import ErrorClass, code_of, is_token_refused, seconds_of
from rogo_async.common.errors import (
    Dependency,
    FailureCode,
    RefusalStreak,
    RowError,
    SourceForbidden,
    SystemicError,
    TransientError,
)
from rogo_async.common.http_session import HTTP_ERRORS, HttpSession, Response, request_error
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.urls import AllowList, Origin, origin
from rogo_async.sources.answers import (
    FileInfo,
    answer_text,
    is_refused,
    refusal_text,
    require_online,
)
from rogo_async.sources.host_access import HostAccess, ReadableUrl, SasAccess
from rogo_async.sources.signed_urls import has_signature, without_signature

BLOCK_BYTES: Final = 8 * 1024 * 1024
"""A file up to this size is read into memory and stored with one request.

A larger file is copied in blocks of this size, with one request each and two further requests.
"""
BLOCK_S: Final = 120.0
"""Time limit for the head of an answer, and for one block of a file."""
_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Restart(Exception):
    """A broken transfer cannot be resumed: read the file again from its start."""


class SourceHost:
    """One host of the allow-list: its circuit breaker, its credentials, and its last answers."""

    def __init__(
        self,
        place: Origin,
        http: HttpSession,
        allow_list: AllowList,
        access: HostAccess,
        breaker_for: Callable[[Probe, str], CircuitBreaker],
    ) -> None:
        self.name = name_of(place)
        self.access = access
        self.breaker = breaker_for(self._probe, self.name)
        self._http = http
        self._allow_list = allow_list
        self._streak = RefusalStreak()
        self._requested: URL | None = None
        self._served: URL | None = None
        self._refused: URL | None = None
        self._refusal_text = ""
        self._tripped_by: URL | None = None

    def record_served(self, url: URL) -> None:
        """Record a file that was read completely."""
        self._served, self._tripped_by = url, None
        if self._streak.count:
            self._streak.is_over = True
            self._streak = RefusalStreak()

    def record_refused(self, url: URL, text: str) -> SourceForbidden:
        """Record that access to a file was refused, and return the error with this text."""
        self._refused, self._refusal_text = url, text
        self._streak.count += 1
        return SourceForbidden(self.name, text, self._streak)

    def trip(self) -> None:
        """Open the breaker until the host serves the file that it refused (rule 14)."""
        self._tripped_by = self._refused
        self.breaker.trip(SystemicError(Dependency.SOURCE, "get", self._refuses_every_file()))

    def _refuses_every_file(self) -> str:
        return f"{self.name} refuses every file ({self._refusal_text}). {self.access.remedy}"

    async def file_info(self, url: URL) -> FileInfo:
        """The properties of a file, without its bytes.

        Raises RowError (source_file_missing, source_forbidden, source_refused), RunStopped, or
        a DependencyError if the host keeps failing for this file only.
        """
        info = await self.breaker.call("look", lambda: self._file_info(url))
        self.record_served(url)
        return info

    async def look(self, url: URL) -> tuple[FileInfo, ReadableUrl]:
        """The properties of a file for a server-side copy, and what reads it.

        The file does not count as served. Raises the same errors as ``file_info``.
        """
        response = await self.breaker.call("look", lambda: self.fetch("HEAD", url, {}))
        response.close()
        require_online(self.name, response.headers)
        return FileInfo.of(response), ReadableUrl(response.url, self.access)

    async def fetch(self, method: str, url: URL, headers: Mapping[str, str]) -> Response:
        """A request that follows redirects within the host; the caller closes the response.

        Raises RowError for a permanent refusal, else a DependencyError.
        """
        self._requested = url
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self.request(method, url, headers)
            if response.status == 200 or (response.status == 206 and "Range" in headers):
                return response
            response.close()
            if response.status not in _REDIRECTS:
                raise self._refusal(url, response, in_part="Range" in headers)
            url = self._redirected(url, response)
        raise RowError(FailureCode.SOURCE_REFUSED, f"{self.name} sends too many redirects")

    async def request(self, method: str, url: URL, headers: Mapping[str, str]) -> Response:
        """One request with the SAS inside the URL, else with the credentials of the host.

        If the SAS inside the URL is refused, those of the host are tried. Raises a DependencyError.
        """
        if has_signature(url):
            response = await self._send(method, url, headers)
            if not self.access.replaces_sas or not is_refused(response):
                return response
            response.close()
            url = without_signature(url)
        response, sent = await self._send_authorized(method, url, headers)
        refused = is_token_refused(response.status, code_of(response.headers))
        if refused and self.access.renew(sent):
            response.close()
            response, _ = await self._send_authorized(method, url, headers)
        return response

    async def _send_authorized(
        self, method: str, url: URL, headers: Mapping[str, str]
    ) -> tuple[Response, Mapping[str, str]]:
        """Response and headers of a request with the credentials of the host."""
        target, authorization = await self.access.authorize(url)
        return await self._send(method, target, {**headers, **authorization}), authorization

    async def _send(self, method: str, url: URL, headers: Mapping[str, str]) -> Response:
        try:
            return await self._http.request(method, url, headers, within_s=BLOCK_S)
        except HTTP_ERRORS as error:
            raise request_error(Dependency.SOURCE, "get", error) from None

    async def _probe(self) -> None:
        """Request the properties of a file that the host should serve.

        This is the file that opened the breaker, else the one served last. A new file could be
        the only one that fails. Raises TransientError.
        """
        if self._tripped_by is not None:
            await self._head(self._tripped_by, if_refused=self._refuses_every_file())
            self._tripped_by = None
        elif self._served is not None:
            await self._head(self._served, if_refused=f"{self.name} refuses a file it served")
            self.breaker.record_success()
        elif self._requested is not None:
            await self._head(self._requested, if_refused=None)

    async def _head(self, url: URL, *, if_refused: str | None) -> None:
        """Request a file's properties. ``if_refused``: the reason; None: a refusal proves life."""
        response = await self.request("HEAD", url, {})
        response.close()
        if error_classes.of_http(response.status) is ErrorClass.TRANSIENT:
            raise TransientError(Dependency.SOURCE, "probe", answer_text(self.name, response))
        if if_refused is not None and is_refused(response):
            raise TransientError(Dependency.SOURCE, "probe", if_refused)

    async def _file_info(self, url: URL) -> FileInfo:
        try:
            response = await self.fetch("HEAD", url, {})
        except RowError as error:
            if error.code is not FailureCode.SOURCE_REFUSED:
                raise
            # Not every server supports HEAD. A run reports the answer to GET.
            response = await self.fetch("GET", url, {})
        response.close()
        require_online(self.name, response.headers)
        return FileInfo.of(response)

    def _refusal(self, url: URL, response: Response, *, in_part: bool) -> Exception:
        """The error for a status other than success (rule 14)."""
        status = response.status
        text = answer_text(self.name, response)
        if error_classes.of_http(status) is ErrorClass.TRANSIENT:
            retry_after_s = seconds_of(response.headers.get("Retry-After"))
            return TransientError(Dependency.SOURCE, "get", text, retry_after_s)
        if is_refused(response):
            return self.record_refused(
                url, refusal_text(self.name, url, self.access.if_refused, response)
            )
        if status == 404:
            return RowError(FailureCode.SOURCE_FILE_MISSING, text)
        if status in {412, 416} and in_part:
            return Restart()
        return RowError(FailureCode.SOURCE_REFUSED, text)

    def _redirected(self, url: URL, response: Response) -> URL:
        try:
            location = URL(response.headers.get("Location", ""))
            target = self._allow_list.permit(str(url.join(location)))
        except (RowError, ValueError):
            target = None
        if target is None or origin(target) != origin(url):
            raise RowError(
                FailureCode.SOURCE_REFUSED,
                f"{self.name} answered {response.status}, a redirect to another host, "
                "which is not followed",
            )
        return target


class Sources:
    """All hosts of the allow-list."""

    def __init__(
        self,
        http: HttpSession,
        allow_list: AllowList,
        accesses: Mapping[Origin, HostAccess],
        breaker_for: Callable[[Probe, str], CircuitBreaker],
    ) -> None:
        self._hosts = {
            place: SourceHost(
                place, http, allow_list, accesses.get(place, SasAccess()), breaker_for
            )
            for place in allow_list.origins
        }

    def of(self, place: Origin) -> SourceHost:
        """A host of the allow-list."""
        return self._hosts[place]

    def host(self, url: URL) -> SourceHost:
        """The host of a URL that the allow-list permits."""
        return self._hosts[origin(url)]

    def file(self, url: URL) -> "SourceFile":
        """The file of a URL that the allow-list permits. Sends no request yet."""
        return SourceFile(self.host(url), url)

    def trip_host(self, name: str) -> None:
        """Open the breaker of the host with this name, after a streak of refusals (rule 14)."""
        for host in self._hosts.values():
            if host.name == name:
                host.trip()


class SourceFile:
    """One file, read block by block. After a broken connection the transfer is resumed.

    Call ``begin`` first and ``close`` last.
    """

    def __init__(self, host: SourceHost, url: URL) -> None:
        self.url = url
        self.info = FileInfo()
        self._ended = False
        self._host = host
        self._response: Response | None = None
        self._offset = 0

    async def begin(self) -> None:
        """Request the file and set ``info``.

        Raises RowError (source_file_missing, source_forbidden, source_refused), RunStopped, or
        a DependencyError if the host keeps failing for this file only.
        """
        await self._host.breaker.call("get", self._open)

    async def block(self) -> bytes:
        """The next BLOCK_BYTES of the file, fewer at its end; then ``at_end`` is true.

        Raises the same errors as ``begin``, and Restart if the file must be read from its start.
        """
        return await self._host.breaker.call("read", self._read)

    def at_end(self) -> bool:
        """Whether the last block has been read."""
        return self._ended

    def close(self) -> None:
        """Release the connection."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def expected_bytes(self) -> int:
        """The maximum number of bytes that the next block needs."""
        if self.info.size_bytes is None:
            return BLOCK_BYTES
        return min(BLOCK_BYTES, max(0, self.info.size_bytes - self._offset))

    async def _open(self) -> Response:
        headers: dict[str, str] = {}
        if self._offset:
            if self.info.etag is None:
                raise Restart
            headers["Range"] = f"bytes={self._offset}-"
            headers["If-Match"] = self.info.etag
        response = await self._host.fetch("GET", self.url, headers)
        try:
            self._begin_or_continue(response)
        except (RowError, Restart):
            response.close()
            raise
        self._response = response
        return response

    def _begin_or_continue(self, response: Response) -> None:
        if self._offset == 0:
            self.info = FileInfo.of(response)
        elif not self.info.is_continued_by(response, self._offset):
            raise Restart

    async def _read(self) -> bytes:
        response = self._response or await self._open()
        try:
            block = await response.block(BLOCK_BYTES, BLOCK_S)
        except HTTP_ERRORS as error:
            self.close()
            raise request_error(Dependency.SOURCE, "get", error) from None
        self._offset += len(block)
        self._ended = response.at_end
        if self._ended:
            self._host.record_served(self.url)
        return block


def name_of(place: Origin) -> str:
    """An origin as text: ``https://host:443``."""
    scheme, host, port = place
    return f"{scheme}://{host}:{port}"
