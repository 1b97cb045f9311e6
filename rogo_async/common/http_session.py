"""The HTTP session that transfers the bytes of files from the sources and to the store.

It uses aiohttp; the Azure SDK makes all other requests. The subclasses here fix problems of aiohttp
3.14. A test with a raw TCP server exists for each of them
(docs/decisions/15-aiohttp-for-the-bytes-of-files.md).
"""

import asyncio
import contextlib
import functools
import io
import os
import ssl
from collections.abc import Mapping
from typing import Any, Final, Self, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.streams import EMPTY_PAYLOAD
from yarl import URL

from rogo_async.common.errors import (
    Dependency,
    SystemicError,
    TransientError,
    reason_of,
)
from rogo_async.common.proxies import DIRECT, PROXY_AUTHENTICATION, Proxies, ProxyError

HTTP_ERRORS: Final = (aiohttp.ClientError, OSError)
"""The errors of a request or a read when the network or the server fails. TimeoutError is one."""

CONNECT_S: Final = 10.0
"""Limit for name resolution, connecting and the TLS handshake together."""
QUIET_S: Final = 20.0
"""Limit for each pause of the server in an answer. An upload has only a total deadline."""
_CLOSE_S: Final = 5.0
"""Limit for closing all connections."""
_LONGEST_HEADER_BYTES: Final = 64 * 1024
"""Limit for the status line and for each header; aiohttp's default is 8 KiB."""
_IDLE_S: Final = 15.0
"""How long an idle connection is kept: shorter than servers and firewalls allow."""
_READ_BYTES: Final = 256 * 1024
_SENT_WHOLE_BYTES: Final = 1024 * 1024
"""A larger body is sent in pieces, since aiohttp copies a body that is sent in one piece."""
_LONGEST_NUMBER: Final = 19
_HEADERS: Final = {"User-Agent": "rogo_async", "Accept-Encoding": "identity"}


class Response(aiohttp.ClientResponse):
    """The answer to one request. Its owner calls ``close``."""

    async def start(self, connection: aiohttp.connector.Connection) -> Self:
        """Wait for status and headers."""
        self._connection_protocol = connection.protocol
        transport = connection.transport
        await super().start(connection)
        is_refused_upload = self.method == "PUT" and not 200 <= self.status < 300
        if is_refused_upload and transport is not None:
            # The server may not have read the body. The connection may be in the pool already,
            # which skips an aborted connection.
            transport.abort()
        return self

    @property
    def size_bytes(self) -> int | None:
        """The length of the body, if the server states it."""
        stated = self.headers.get("Content-Length", "")
        is_number = stated.isascii() and stated.isdigit() and len(stated) <= _LONGEST_NUMBER
        return int(stated) if is_number else None

    @property
    def at_end(self) -> bool:
        """Whether the whole body has been read."""
        return self.content.at_eof()

    async def block(self, limit_bytes: int, within_s: float) -> bytes:
        """Read the next ``limit_bytes`` of the body, fewer at its end.

        Raises one of HTTP_ERRORS.
        """
        content = self.content
        if content.is_eof() and content.total_bytes <= limit_bytes:
            block = content.read_nowait()
        else:
            async with asyncio.timeout(within_s):
                block = await _read_up_to(content, limit_bytes)
        if content.at_eof():
            self._check_end()
        return block

    def _check_end(self) -> None:
        """Raise the error that ended a body without a stated length.

        aiohttp treats every end of the connection as the end of such a body: also a reset, and
        under TLS a connection that is cut without a closing message.
        """
        if self.content is EMPTY_PAYLOAD:
            return
        if "Content-Length" not in self.headers and "Transfer-Encoding" not in self.headers:
            protocol = self._connection_protocol
            error = None if protocol is None else protocol.exception()
            if error is not None and not isinstance(error, aiohttp.ServerDisconnectedError):
                raise error
            if isinstance(protocol, _Protocol) and not protocol.is_ended_by_peer:
                raise aiohttp.ClientPayloadError("the connection was cut within the body")


def system_tls() -> ssl.SSLContext:
    """The context that trusts the authorities of the system.

    It is made once, since reading the authorities takes 60 ms of CPU time.
    """
    return _system_tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _system_tls(*_read_by_openssl: str | None) -> ssl.SSLContext:
    return ssl.create_default_context()


class HttpSession:
    """Requests to any number of servers. Create it in a running loop; call ``aclose`` after use."""

    def __init__(self, proxies: Proxies = DIRECT) -> None:
        self._session = aiohttp.ClientSession(
            connector=_Connector(limit=0, keepalive_timeout=_IDLE_S, ssl=system_tls()),
            response_class=Response,
            headers=_HEADERS,
            timeout=aiohttp.ClientTimeout(connect=CONNECT_S, sock_read=QUIET_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            max_line_size=_LONGEST_HEADER_BYTES,
            max_field_size=_LONGEST_HEADER_BYTES,
        )
        self._upload_timeout = aiohttp.ClientTimeout(connect=CONNECT_S)
        self._proxies = proxies
        self._proxy_of: dict[URL, URL | None] = {}

    async def aclose(self) -> None:
        """Close all connections. Returns within _CLOSE_S, in all cases."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._session.close()

    async def request(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        within_s: float,
    ) -> Response:
        """Send a request and return when status and headers have arrived, within ``within_s``.

        ``url`` is sent as it is; redirects are not followed. aiohttp repeats a request once when
        the connection breaks before the answer, so it must be idempotent. Raises one of
        HTTP_ERRORS.
        """
        options: dict[str, Any] = {}
        if method == "HEAD":
            # A server may send a body after the answer to HEAD. The explicit server name, equal to
            # the default, separates the connections of HEAD, so that no GET reads that body.
            options["server_hostname"] = url.raw_host
        elif method == "PUT":
            options["data"] = body if len(body) <= _SENT_WHOLE_BYTES else io.BytesIO(body)
            options["timeout"] = self._upload_timeout
        proxy = self._proxy_for(url)
        try:
            async with asyncio.timeout(within_s):
                response = await self._session.request(
                    method,
                    url,
                    headers=headers,
                    proxy=proxy,
                    allow_redirects=False,
                    **options,
                )
        except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
            raise self._proxies.error_of(url, error) from None
        if proxy is not None and response.status == PROXY_AUTHENTICATION:
            response.close()
            raise self._proxies.refusal(url, response.status)
        return cast("Response", response)

    def _proxy_for(self, url: URL) -> URL | None:
        """The proxy for a URL, looked up once for each server.

        aiohttp's ``trust_env`` would use two threads for each request, and would read ~/.netrc.
        """
        origin = url.origin()
        if origin not in self._proxy_of:
            self._proxy_of[origin] = self._proxies.proxy_for(url)
        return self._proxy_of[origin]


def request_error(
    dependency: Dependency, operation: str, error: BaseException
) -> SystemicError | TransientError:
    """The DependencyError for one of HTTP_ERRORS."""
    if isinstance(error, ProxyError):
        kind = SystemicError if error.is_permanent else TransientError
        return kind(dependency, operation, str(error))
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = getattr(error.certificate_error, "verify_message", "").rstrip(".")
        return SystemicError(
            dependency,
            operation,
            f"the certificate of {error.host} is not trusted ({cause or 'unknown cause'}). Add its "
            "authority to the system's, or name a PEM file with all authorities in SSL_CERT_FILE",
        )
    return TransientError(dependency, operation, reason_of(error))


class _Protocol(ResponseHandler):
    """Notes whether the server closed its side of the connection in an orderly way.

    An upload that was given up ends at once: a connection that is closed sends the rest first.
    """

    is_ended_by_peer = False

    def close(self) -> None:
        if self.transport is not None and self.transport.get_write_buffer_size():
            self.abort()
        else:
            super().close()

    def eof_received(self) -> None:
        self.is_ended_by_peer = True
        super().eof_received()


class _Connector(aiohttp.TCPConnector):
    """Does not reuse a connection on which the server sent something after its answer."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        factory = functools.partial(_Protocol, loop=self._loop)
        self._factory = cast("functools.partial[ResponseHandler]", factory)

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        if connection.protocol is not None and connection.protocol.should_close:
            connection.close()
            raise aiohttp.ServerDisconnectedError("the server sent more than its answer")
        return connection


async def _read_up_to(content: aiohttp.StreamReader, limit_bytes: int) -> bytes:
    piece = await content.read(min(limit_bytes, _READ_BYTES))
    if content.at_eof() or len(piece) == limit_bytes:
        return piece
    pieces = bytearray(piece)
    while len(pieces) < limit_bytes and not content.at_eof():
        pieces += await content.read(min(limit_bytes - len(pieces), _READ_BYTES))
    return bytes(pieces)
