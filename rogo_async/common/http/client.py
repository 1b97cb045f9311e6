"""Connections to origins: made, kept, and given up."""

import asyncio
import math
import socket
import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohappyeyeballs

from rogo_async.common.http.connection import Broken, Connection, Stale
from rogo_async.common.http.exchange import Exchange
from rogo_async.common.urls import Origin

CONNECT_S: Final = 10.0
_KEPT_S: Final = 15.0
"""How long an idle connection is kept: less than what servers and firewalls grant."""
_NAMES_S: Final = 10.0
"""How long the addresses of a host count."""
_TICK_S: Final = 0.5
"""How late a wait may end."""
_NEXT_ADDRESS_S: Final = 0.25
"""How long an address may be silent before the next one of the host is tried beside it."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_AGENT: Final = "rogo_async"


class Client:
    """Requests to any number of origins. Made within a running loop; its owner calls ``aclose``.

    All waits of all exchanges are watched by one timer.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._origins: dict[tuple[Origin, bool], _Origin] = {}
        self._is_closed = False
        self._under_way: set[Exchange] = set()
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    async def aclose(self) -> None:
        """Give up every connection; who waits for an answer gets an error."""
        self._is_closed = True
        self._timer.cancel()
        for exchange in list(self._under_way):
            exchange.fail(Broken("closed"))
        for origin in self._origins.values():
            origin.drop_idle(math.inf)
        await asyncio.sleep(0)  # for the sockets to be closed

    async def request(
        self,
        method: str,
        place: Origin,
        target: str,
        headers: Mapping[str, str],
        body: bytes | bytearray = b"",
        *,
        within_s: float = math.inf,
        quiet_s: float = math.inf,
    ) -> Exchange:
        """Ask, and return when status and headers are there; the caller closes what it gets.

        ``target`` is path and query, percent-encoded. ``within_s`` is for all of it but
        connecting, ``quiet_s`` for each pause of the server; one of them must be given. A request
        that a kept connection was too old for is sent once more on a new one: it must be one that
        may be repeated. Raises OSError (TimeoutError, ssl.SSLError and socket.gaierror among
        them), and ValueError for what cannot be sent.
        """
        if within_s is quiet_s is math.inf:
            raise ValueError("a request without a deadline")
        # A server may send a body with the answer to HEAD where none belongs: its connections are
        # used for HEAD alone, so that nobody takes it for a file.
        key = place, method == "HEAD"
        origin = self._origins.get(key)
        if origin is None:
            origin = self._origins[key] = _Origin(place, self._loop)
        head = _head(method, target, origin.host_header, headers, len(body))
        limits = (self._loop.time() + within_s, quiet_s)
        connection = origin.kept(self._loop.time() - _KEPT_S)
        if connection is not None:
            try:
                return await self._ask(connection, method, head, body, limits)
            except Stale:
                origin.drop_idle(math.inf)
        connecting_s = self._loop.time()
        connection = await origin.connect()
        if self._is_closed:
            connection.abort()
        limits = (limits[0] + self._loop.time() - connecting_s, quiet_s)
        return await self._ask(connection, method, head, body, limits)

    async def _ask(
        self,
        connection: Connection,
        method: str,
        head: bytes,
        body: bytes | bytearray,
        limits: tuple[float, float],
    ) -> Exchange:
        until_s, quiet_s = limits
        exchange = Exchange(
            connection,
            self._loop,
            bodiless=method == "HEAD",
            carries=bool(body),
            until_s=until_s,
            quiet_s=quiet_s,
            ended=self._under_way.discard,
        )
        self._under_way.add(exchange)
        try:
            connection.send(exchange, head, body)
            await exchange.answered()
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _tick(self) -> None:
        """End what waits for too long, and what is idle for too long."""
        self._timer = self._loop.call_later(_TICK_S, self._tick)
        now_s = self._loop.time()
        for exchange in [each for each in self._under_way if each.deadline_s < now_s]:
            exchange.fail(TimeoutError())
        for origin in self._origins.values():
            origin.drop_idle(now_s - _KEPT_S)


class _Origin:
    """The connections to one scheme, host and port."""

    def __init__(self, place: Origin, loop: asyncio.AbstractEventLoop) -> None:
        scheme, self._host, self._port = place
        self._loop = loop
        self._tls = ssl.create_default_context() if scheme == "https" else None
        self._idle: list[Connection] = []
        self._naming = asyncio.Lock()
        self._addresses: list[Any] = []
        self._named_s = -math.inf
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = host if self._port == _DEFAULT_PORTS[scheme] else f"{host}:{self._port}"

    def kept(self, since_s: float) -> Connection | None:
        """An idle connection, the one used last, if there is one that was used since then."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_since_s >= since_s:
                return connection
            connection.abort()
        return None

    def drop_idle(self, before_s: float) -> None:
        """Give up the connections that are idle since before then."""
        old = [each for each in self._idle if each.idle_since_s < before_s or not each.is_open]
        if old:
            self._idle = [each for each in self._idle if each not in old]
            for each in old:
                each.abort()

    async def connect(self) -> Connection:
        """A new connection. Raises OSError."""
        async with asyncio.timeout(CONNECT_S):
            addresses = await self._resolved()
            there = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, loop=self._loop
            )
            try:
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._keep),
                    sock=there,
                    ssl=self._tls,
                    server_hostname=self._host.rstrip(".") if self._tls else None,
                )
            except BaseException:
                there.close()
                raise
        return connection

    def _keep(self, connection: Connection) -> None:
        connection.idle_since_s = self._loop.time()
        self._idle.append(connection)

    async def _resolved(self) -> list[Any]:
        """The host's addresses, asked for once for all who connect at the same time."""
        async with self._naming:
            if self._loop.time() - self._named_s > _NAMES_S:
                try:
                    self._addresses = await self._loop.getaddrinfo(
                        self._host, self._port, type=socket.SOCK_STREAM
                    )
                except UnicodeError:
                    raise socket.gaierror(socket.EAI_NONAME, "no name of a host") from None
                self._named_s = self._loop.time()
            return self._addresses


def _head(
    method: str, target: str, host: str, headers: Mapping[str, str], body_bytes: int
) -> bytes:
    """A request's head. Raises ValueError for a line break where none belongs."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", f"User-Agent: {_AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if method == "PUT":
        lines.append(f"Content-Length: {body_bytes}")
    text = "\r\n".join(lines)
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise ValueError("a line break in a request's head")
    return f"{text}\r\n\r\n".encode("ascii")
