"""An HTTP proxy before Azurite that can change requests and answers, as a bad network path does."""

import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

from rogo_async.demo.servers.ports import LOOPBACK
from tests.support.certificates import Authority, server_context

_NOT_FORWARDED: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_NOT_RETURNED: Final = frozenset({"content-length", "transfer-encoding", "connection", "date"})


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One request. ``operation`` is the method with the parameter comp: ``PUT block``, ``PUT``."""

    operation: str
    path: str
    headers: dict[str, str]
    body: bytes


async def nothing_before(_request: StoreRequest) -> None:
    """The hook that does nothing."""


class StoreProxy:
    """Passes every request on. ``requests`` has all of them as the client sent them.

    ``before`` is awaited first. ``change_body`` returns the body that is passed on,
    ``change_reply`` the headers that are returned. Names of these headers are in lower case.
    """

    def __init__(self, azurite: str, session: aiohttp.ClientSession) -> None:
        self.requests: list[StoreRequest] = []
        self.before: Callable[[StoreRequest], Awaitable[None]] = nothing_before
        self.change_body: Callable[[StoreRequest], bytes] = lambda request: request.body
        self.change_reply: Callable[[StoreRequest, dict[str, str]], dict[str, str]] = (
            lambda _request, headers: headers
        )
        self._azurite = URL(azurite)
        self._session = session
        self.endpoint = ""

    @property
    def port(self) -> int:
        """Its port on this machine."""
        return URL(self.endpoint).port or 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of the client."""
        operation = f"{request.method} {request.query.get('comp', '')}".strip()
        headers = {name.lower(): text for name, text in request.headers.items()}
        found = StoreRequest(operation, request.raw_path, headers, await request.read())
        self.requests.append(found)
        await self.before(found)
        body = self.change_body(found)
        status, returned, content = await self.send(
            request.method, request.raw_path, dict(request.headers), body
        )
        return web.Response(
            status=status, headers=self.change_reply(found, returned), body=content or None
        )

    async def send(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request to Azurite. Returns the status, the headers and the body."""
        kept = {name: text for name, text in headers.items() if name.lower() not in _NOT_FORWARDED}
        url = URL(f"{self._azurite.origin()}{path}", encoded=True)
        data = io.BytesIO(body) if body else None  # aiohttp warns of large bytes
        async with self._session.request(method, url, headers=kept, data=data) as response:
            content = await response.read()
            returned = {
                name.lower(): text
                for name, text in response.headers.items()
                if name.lower() not in _NOT_RETURNED
            }
            if method == "HEAD":  # the length of the blob, not of this answer
                returned["content-length"] = response.headers.get("Content-Length", "0")
            return response.status, returned, content


_Proxy = TypeVar("_Proxy", bound=StoreProxy)


@asynccontextmanager
async def running_proxy(
    azurite: str, kind: type[_Proxy], authority: Authority | None = None
) -> AsyncIterator[_Proxy]:
    """A running proxy of this kind; its ``endpoint`` replaces the endpoint of Azurite.

    With https, ``authority`` signs the certificates of both.
    """
    served, trusted = None, None
    if authority is not None:
        served = server_context(authority.server())
        trusted = ssl.create_default_context(cafile=str(authority.certificate))
    # Content-Type is part of a signature.
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trusted or True),
        auto_decompress=False,
        skip_auto_headers=["Content-Type"],
    ) as session:
        proxy = kind(azurite, session)
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_route("*", "/{path:.*}", proxy.answer)
        runner = web.AppRunner(application, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, 0, ssl_context=served).start()
            port = runner.addresses[0][1]
            proxy.endpoint = str(URL(azurite).with_port(port))
            yield proxy
        finally:
            await runner.cleanup()
