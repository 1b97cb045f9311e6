"""A server that says exactly what it is told to, byte by byte."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from rogo_async.common.urls import Origin

Talk = Callable[["Peer"], Awaitable[None]]


@dataclass(slots=True)
class Peer:
    """One connection, seen from the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    asked: list[bytes]

    async def request(self) -> bytes:
        """The next request's head; its body is read, too."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.asked.append(head)
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def say(self, *parts: bytes) -> None:
        """Send parts, each by itself."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()


@dataclass(slots=True)
class Server:
    """Where it is, how many connections it had, and what it was asked."""

    workspace: Origin
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def talking(
    talks: Sequence[Talk], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """A server whose n-th connection is led by the n-th talk, the later ones by the last."""
    server = Server(("http", "127.0.0.1", 0))
    led: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        led.add(task)
        writers.append(writer)
        talk = talks[min(server.connections, len(talks) - 1)]
        server.connections += 1
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await talk(Peer(reader, writer, server.asked))
        finally:
            writer.close()

    listening = await asyncio.start_server(lead, "127.0.0.1", 0, ssl=tls)
    port = listening.sockets[0].getsockname()[1]
    server.workspace = ("https", "localhost", port) if tls else ("http", "127.0.0.1", port)
    try:
        yield server
    finally:
        listening.close()
        for task in led:
            task.cancel()
        await asyncio.gather(*led, return_exceptions=True)
        for writer in writers:
            # A TLS transport of Python 3.11.2 that was closed twice has no protocol left to abort.
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
        await asyncio.sleep(0)
