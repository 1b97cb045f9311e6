"""Source files over HTTP: permitted hosts only, resumed where a connection breaks (SPEC §1)."""

import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from aiohttp import ClientConnectorCertificateError
from yarl import URL

from rogo_async.common import error_classes
from rogo_async.common.error_classes import seconds_of
from rogo_async.common.errors import (
    Dependency,
    FailureCode,
    RowError,
    SourceForbidden,
    SystemicError,
    TransientError,
    reason_of,
)
from rogo_async.common.http_session import HTTP_ERRORS, HttpSession, Response
from rogo_async.common.retry import CircuitBreaker
from rogo_async.common.urls import AllowList, Origin, origin

BLOCK_BYTES: Final = 8 * 1024 * 1024
"""A file up to this size is held whole and stored in one request. A larger one is copied in blocks
of this size, each a request, and takes two requests more.
"""
BLOCK_S: Final = 120.0
"""How long the head of an answer, or one block of a file, may take."""
_MAX_REDIRECTS: Final = 3
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_FORBIDDEN: Final = frozenset({401, 403})


_RANGE: Final = re.compile(
    r"bytes (?P<first>[0-9]{1,19})-(?P<last>[0-9]{1,19})/(?P<total>[0-9]{1,19}|\*)"
)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What the source says about a file before its bytes arrive; None where it says nothing."""

    size_bytes: int | None = None
    md5: bytes | None = None
    etag: str | None = None

    @classmethod
    def of(cls, response: Response) -> Self:
        """Read the headers of a response that holds the whole file."""
        headers = response.headers
        try:
            md5 = binascii.a2b_base64(headers.get("Content-MD5", ""), strict_mode=True)
        except ValueError:
            md5 = b""
        etag = headers.get("ETag")
        return cls(
            size_bytes=response.size_bytes,
            md5=md5 if len(md5) == 16 else None,
            etag=etag if etag is not None and etag.isascii() else None,
        )

    def is_continued_by(self, response: Response, offset: int) -> bool:
        """Whether a response holds the rest of this same file, from ``offset`` to its end."""
        found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status != 206 or found is None or int(found["first"]) != offset:
            return False
        if response.headers.get("ETag") not in {None, self.etag}:
            return False
        if found["total"] == "*":
            return self.size_bytes in {None, int(found["last"]) + 1}
        total = int(found["total"])
        return int(found["last"]) == total - 1 and self.size_bytes in {None, total}


class Restart(Exception):
    """A broken transfer cannot be taken up where it ended: the file has to be read anew."""


SYSTEMIC_AFTER: Final = 10
"""Refusals in a row from one host that are not the rows' fault (SPEC §3 rule 14)."""


class Host:
    """One origin: its gate, what it served last, and how many it has refused in a row."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.served: URL | None = None
        self.refused: URL | None = None
        self.refused_in_row = 0
        self.suspicions = 0
        self.successes = 0

    def serve(self, url: URL) -> None:
        """Note a file that was read to its end."""
        self.served = url
        self.refused_in_row = 0
        self.successes += 1

    def refuse(self, url: URL, status: int) -> SourceForbidden:
        """Note a refusal and give the fault for it."""
        before = self.suspicions
        self.refused = url
        self.refused_in_row += 1
        if self.refused_in_row == SYSTEMIC_AFTER:
            self.suspicions += 1
        return SourceForbidden(_where(url), status, self.refused_in_row, before)


class Sources:
    """All hosts of the allow-list, each behind a gate of its own."""

    def __init__(
        self,
        http: HttpSession,
        allow: AllowList,
        tokens: Mapping[Origin, str],
        gate_for: Callable[[str], CircuitBreaker],
    ) -> None:
        self._http = http
        self._allow = allow
        self._tokens = tokens
        self._hosts = {place: Host(gate_for(name_of(place))) for place in allow.origins}
        self.hosts: Mapping[str, Host] = {
            name_of(place): host for place, host in self._hosts.items()
        }

    def file(self, address: str) -> "SourceFile":
        """A file to be read. Raises RowError source_not_allowed; nothing is asked yet."""
        url = self._allow.permit(address)
        return SourceFile(self, url, self._hosts[origin(url)])

    def suspect(self, name: str) -> None:
        """Close the way to the host of this origin until it lets the file be read that it refused
        last. For a run of refusals that are not the rows' fault (SPEC §3 rule 14).
        """
        host = self.hosts[name]
        url = host.refused
        if url is not None:
            host.breaker.close(
                SystemicError(
                    Dependency.SOURCE,
                    "get",
                    f"{name} refuses every file (401, 403). "
                    "Renew ROGO_SOURCE_SAS_TOKEN or grant access",
                ),
                lambda: self.probe(url, refused=_FORBIDDEN),
            )

    async def probe(self, url: URL, refused: frozenset[int] = frozenset()) -> None:
        """Ask for a file's properties: most answers show that the host serves.

        Raises TransientError for a passing refusal and for the statuses ``refused``.
        """
        response = await self.request("HEAD", url, {})
        response.close()
        transient = error_classes.of_http(response.status) is error_classes.ErrorClass.TRANSIENT
        if transient or response.status in refused:
            raise TransientError(Dependency.SOURCE, "probe", f"status {response.status}")

    async def prove(self, url: URL) -> None:
        """See whether the host of ``url`` serves: by the file that it served last, if there is
        one, for this one may be the only one that fails. Raises TransientError.
        """
        host = self._hosts[origin(url)]
        if host.served is None:
            await self.probe(url)
        else:
            await self.probe(host.served, refused=_FORBIDDEN)
            host.breaker.succeeded()

    async def look(self, address: str) -> FileInfo:
        """What the source states of a file, whose bytes are not read. Raises as ``begin`` does."""
        url = self._allow.permit(address)
        host = self._hosts[origin(url)]
        info = await host.breaker.call("look", lambda: self._look(url), lambda: self.prove(url))
        host.serve(url)
        return info

    async def _look(self, url: URL) -> FileInfo:
        try:
            response = await self.fetch("HEAD", url, {})
        except RowError as fault:
            if fault.code is not FailureCode.SOURCE_REFUSED:
                raise
            # Not every server knows HEAD; what it says to a GET is what a run will meet.
            response = await self.fetch("GET", url, {})
        response.close()
        return FileInfo.of(response)

    async def fetch(self, method: str, url: URL, headers: Mapping[str, str]) -> Response:
        """A request that follows redirects within the host; the caller closes the response.

        Raises RowError for a definite refusal and a DependencyError for a passing one.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self.request(method, url, headers)
            if response.status == 200 or (response.status == 206 and "Range" in headers):
                return response
            response.close()
            if response.status not in _REDIRECTS:
                raise self._refusal(url, response, in_part="Range" in headers)
            url = self._redirected(url, response)
        raise RowError(FailureCode.SOURCE_REFUSED, f"{_where(url)} redirects without an end")

    async def request(self, method: str, url: URL, headers: Mapping[str, str]) -> Response:
        """One request, signed with the host's own SAS. Raises a DependencyError."""
        signed = _signed(url, self._tokens.get(origin(url)))
        try:
            return await self._http.request(method, signed, headers, within_s=BLOCK_S)
        except ClientConnectorCertificateError:
            raise SystemicError(
                Dependency.SOURCE, "get", f"the certificate of {_where(url)} is not trusted"
            ) from None
        except HTTP_ERRORS as error:
            raise _broken(error) from None

    def _refusal(self, url: URL, response: Response, *, in_part: bool) -> Exception:
        """What a status that brings no file means (SPEC §3 rule 14)."""
        status = response.status
        if error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT:
            return TransientError(
                Dependency.SOURCE,
                "get",
                f"{_where(url)} answered {status}",
                seconds_of(response.headers.get("Retry-After")),
            )
        if status in _FORBIDDEN:
            return self._hosts[origin(url)].refuse(url, status)
        if status == 404:
            return RowError(FailureCode.SOURCE_FILE_MISSING, f"{_where(url)} answered 404")
        if status in {412, 416} and in_part:
            return Restart()
        return RowError(FailureCode.SOURCE_REFUSED, f"{_where(url)} answered {status}")

    def _redirected(self, url: URL, response: Response) -> URL:
        try:
            target = self._allow.permit(str(url.join(URL(response.headers.get("Location", "")))))
        except (RowError, ValueError):
            target = None
        if target is None or origin(target) != origin(url):
            raise RowError(
                FailureCode.SOURCE_REFUSED,
                f"{_where(url)} answered {response.status}, a redirect to another host, "
                "which is not followed",
            )
        return target


class SourceFile:
    """One file, read block by block. What was read stays read when the connection breaks.

    ``begin`` comes first; its owner calls ``close``.
    """

    def __init__(self, sources: Sources, url: URL, host: Host) -> None:
        self.url = url
        self.info = FileInfo()
        self._ended = False
        self._sources = sources
        self._host = host
        self._response: Response | None = None
        self._offset = 0

    async def begin(self) -> None:
        """Ask for the file, so that ``info`` is known.

        Raises RowError (source_file_missing, source_forbidden, source_refused), RunStopped, or
        a DependencyError when the host keeps failing for this file alone.
        """
        await self._host.breaker.call("get", self._open, self._probe)

    async def block(self) -> bytes:
        """The next BLOCK_BYTES of the file, fewer at its end; then ``at_end``.

        Raises as ``begin`` does, and Restart when what was read before is of no use any more.
        """
        return await self._host.breaker.call("read", self._read, self._probe)

    def at_end(self) -> bool:
        """Whether the last block has been read."""
        return self._ended

    def close(self) -> None:
        """Let the connection go."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def expected_bytes(self) -> int:
        """How much memory the next block may need."""
        if self.info.size_bytes is None:
            return BLOCK_BYTES
        return min(BLOCK_BYTES, max(0, self.info.size_bytes - self._offset))

    async def _probe(self) -> None:
        await self._sources.prove(self.url)

    async def _open(self) -> Response:
        headers: dict[str, str] = {}
        if self._offset:
            if self.info.etag is None:
                raise Restart
            headers["Range"] = f"bytes={self._offset}-"
            headers["If-Match"] = self.info.etag
        response = await self._sources.fetch("GET", self.url, headers)
        if self._offset == 0:
            self.info = FileInfo.of(response)
        elif not self.info.is_continued_by(response, self._offset):
            response.close()
            raise Restart
        self._response = response
        return response

    async def _read(self) -> bytes:
        response = self._response or await self._open()
        try:
            block = await response.block(BLOCK_BYTES, BLOCK_S)
        except HTTP_ERRORS as error:
            self.close()
            raise _broken(error) from None
        self._offset += len(block)
        self._ended = response.at_end
        if self._ended:
            self._host.serve(self.url)
        return block


def name_of(place: Origin) -> str:
    """An origin as text: ``https://host:443``."""
    scheme, host, port = place
    return f"{scheme}://{host}:{port}"


def _where(url: URL) -> str:
    return name_of(origin(url))


def _broken(error: BaseException) -> TransientError:
    return TransientError(Dependency.SOURCE, "get", reason_of(error))


def _signed(url: URL, token: str | None) -> URL:
    """The URL with the host's SAS; one with a signature of its own is left as it is."""
    if token is None or "sig=" in url.raw_query_string:
        return url
    return URL(f"{url}{'&' if url.raw_query_string else '?'}{token}", encoded=True)
