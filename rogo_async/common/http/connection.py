"""A connection to an origin, and what can go wrong on it."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

_JOINED_BYTES: Final = 256 * 1024
"""A body up to this size is sent together with its head."""


class Listener(Protocol):
    """Who gets what comes on a connection."""

    def feed(self, data: bytes) -> None:
        """Take in what came."""

    def end(self) -> None:
        """The server sends no more."""

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""


class ProtocolError(ConnectionError):
    """The server's answer is no HTTP/1.1, or has no end."""


class Broken(ConnectionError):
    """The connection was lost before the answer had ended."""


class Stale(Broken):
    """A kept connection was lost before a byte of the answer came: the server had closed it."""


class Connection(asyncio.Protocol):
    """One connection to an origin. ``kept`` gives it back to its owner when an exchange is over."""

    def __init__(self, kept: Callable[["Connection"], None]) -> None:
        self._kept = kept
        self._transport: asyncio.Transport
        self._exchange: Listener | None = None
        self._is_open = False
        self.used = 0
        self.idle_since_s = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent; a broken transport knows it before the protocol does."""
        return self._is_open and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop's word that the connection stands."""
        self._transport = cast("asyncio.Transport", transport)
        self._is_open = True

    def send(self, exchange: Listener, head: bytes, body: bytes | bytearray) -> None:
        """Send a request; what comes back goes to ``exchange``. Raises Broken."""
        if not self.is_open:
            raise Broken("closed")
        self._exchange = exchange
        self.used += 1
        if not body:
            self._transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            # Two writes would be two calls of the system, and two packets.
            self._transport.writelines((head, body))
        else:
            self._transport.write(head)
            self._transport.write(body)

    def data_received(self, data: bytes) -> None:
        """The loop's word that bytes came."""
        if self._exchange is None:
            self.abort()  # nobody asked
        else:
            self._exchange.feed(data)

    def eof_received(self) -> None:
        """The loop's word that the server will send no more."""
        self._is_open = False
        if self._exchange is not None:
            self._exchange.end()

    def connection_lost(self, error: Exception | None) -> None:
        """The loop's word that the connection is gone."""
        self._is_open = False
        if self._exchange is not None:
            self._exchange.lost(error)

    def pause(self) -> None:
        """Take no more bytes in for now."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Take bytes in again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def release(self) -> None:
        """The exchange is over and the connection as good as before."""
        self._exchange = None
        if self.is_open and not self._transport.get_write_buffer_size():
            self._kept(self)
        else:
            self.abort()

    def abort(self) -> None:
        """Let go of the connection at once."""
        self._is_open = False
        self._exchange = None
        self._transport.abort()
