"""An HTTP proxy: CONNECT for https, absolute URLs for http, with or without a password."""

import asyncio
import base64
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import urlsplit

from rogo_async.demo.servers.ports import LOOPBACK

_PIECE_BYTES: Final = 64 * 1024
_END: Final = b"\r\n\r\n"


@dataclass(slots=True)
class HttpProxy:
    """Listens on a free port.

    ``login`` is ``user:password``. ``status`` other than 200 is its answer to every request.
    ``addresses`` maps ``host:port`` to a port of this machine, in place of name resolution.
    ``connected`` and ``forwarded`` are the ``host:port`` of each tunnel and each http request.
    """

    login: str = ""
    status: int = 200
    addresses: Mapping[str, int] = field(default_factory=dict)
    connected: list[str] = field(default_factory=list)
    forwarded: list[str] = field(default_factory=list)
    refused: int = 0
    heads: list[bytes] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """The URL for HTTPS_PROXY, with the login."""
        login = f"{self.login}@" if self.login else ""
        return f"http://{login}{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, after a stop on the same port."""
        self._server = await asyncio.start_server(
            self._serve, LOOPBACK, self.port, limit=2**20, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and cut all open ones."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer(reader, writer):
                    pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. False if the connection must end."""
        head = await reader.readuntil(_END)
        self.heads.append(head)
        method, target, _ = head.decode("latin-1").split(" ", 2)
        status = self.status if self._may_pass(head) else 407
        if status != 200:
            self.refused += 1
            challenge = b'Proxy-Authenticate: Basic realm="proxy"\r\n' if status == 407 else b""
            length = b"Content-Length: 0\r\nConnection: close\r\n"
            writer.write(b"HTTP/1.1 %d Refused\r\n%s%s\r\n" % (status, challenge, length))
            await writer.drain()
            return False
        if method == "CONNECT":
            self.connected.append(target)
            upstream = await self._open(target)
            writer.write(b"HTTP/1.1 200 Connection established" + _END)
        else:
            parts = urlsplit(target)
            address = f"{parts.hostname}:{parts.port or 80}"
            self.forwarded.append(address)
            upstream = await self._open(address)
            path = target[len(f"{parts.scheme}://{parts.netloc}") :] or "/"
            # One request for each connection: the bytes that follow are not read.
            upstream[1].write(_relative(head, path))
        await _tunnel((reader, writer), upstream)
        return False

    def _may_pass(self, head: bytes) -> bool:
        expected = base64.b64encode(self.login.encode())
        return not self.login or b"Proxy-Authorization: Basic " + expected in head

    async def _open(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if address in self.addresses:
            return await asyncio.open_connection(LOOPBACK, self.addresses[address])
        host, _, port = address.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port))


def _relative(head: bytes, path: str) -> bytes:
    """The head of a request to the server itself, which closes the connection afterwards."""
    first, *lines = head.removesuffix(_END).split(b"\r\n")
    method, _, version = first.split(b" ")
    kept = [line for line in lines if not line.lower().startswith((b"proxy-", b"connection:"))]
    return (
        b"\r\n".join([b" ".join([method, path.encode(), version]), *kept, b"Connection: close"])
        + _END
    )


async def _tunnel(
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
) -> None:
    """Copy bytes in both directions until one side ends."""
    copies = [
        asyncio.create_task(_copy(client[0], server[1]), name="proxy upload"),
        asyncio.create_task(_copy(server[0], client[1]), name="proxy download"),
    ]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in copies:
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
        server[1].close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
