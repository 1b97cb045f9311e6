"""A TCP server that sends exactly the bytes of a script, for tests of HTTP at the wire."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from yarl import URL

from rogo_async.common.urls import Origin

Script = Callable[["Peer"], Awaitable[None]]


@dataclass(slots=True)
class Peer:
    """One connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    requests: list[bytes]
    bodies: list[bytes]

    async def request(self) -> bytes:
        """Read the next request and return its head."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.requests.append(head)
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                self.bodies.append(await self.reader.readexactly(int(line.partition(b":")[2])))
        return head

    async def send(self, *parts: bytes) -> None:
        """Send the parts, each by itself."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    def reset(self) -> None:
        """Reset the connection: the client gets an error, no end of stream."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


@dataclass(slots=True)
class RawServer:
    """Where it listens, how many connections it had, and the requests that it read."""

    origin: Origin
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def url(self, path: str = "/f") -> URL:
        """The address of a path, which is sent as it is."""
        scheme, host, port = self.origin
        return URL(f"{scheme}://{host}:{port}{path}", encoded=True)


@contextlib.asynccontextmanager
async def raw_server(
    *scripts: Script, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """A server whose n-th connection runs the n-th script; later connections run the last one."""
    server = RawServer(("http", "127.0.0.1", 0))
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        writers.append(writer)
        script = scripts[min(server.connections, len(scripts) - 1)]
        server.connections += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await script(Peer(reader, writer, server.requests, server.bodies))
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.origin = ("https", "localhost", port) if tls else ("http", "127.0.0.1", port)
    try:
        yield server
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            # A TLS transport of Python 3.11.2 that was closed twice has no protocol left to abort.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
        await asyncio.sleep(0)


def responding(*parts: bytes, times: int = 1_000) -> Script:
    """A script that answers each request with these parts."""

    async def script(peer: Peer) -> None:
        for _ in range(times):
            await peer.request()
            await peer.send(*parts)

    return script


def sized(body: bytes, *headers: bytes) -> bytes:
    """A complete answer with a Content-Length."""
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers, b"", body]
    return b"\r\n".join(lines)


def chunked(body: bytes, chunk_bytes: int) -> bytes:
    """A complete answer in chunks."""
    parts = [body[at : at + chunk_bytes] for at in range(0, len(body), chunk_bytes)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
