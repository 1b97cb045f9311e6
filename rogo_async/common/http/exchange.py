"""One request's answer."""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import httptools

from rogo_async.common.http.connection import Broken, Connection, ProtocolError, Stale

_HEAD_BYTES: Final = 64 * 1024
"""Of an answer, before its body; who sends more of it is not listened to any longer."""
_FRAMING: Final = 16
"""How many bytes of framing each byte of a body may have: chunks of one byte have five."""
_AHEAD_BYTES: Final = 64 * 1024
"""What is taken in of a body that nobody waits for."""
_TAIL_BYTES: Final = 512 * 1024
"""A body that misses less than this is taken in all the same: of a paused TLS connection that the
server closes, uvloop throws away what it has decrypted, 256 KiB and more.
"""
_SMALL_BYTES: Final = 1024
"""Parts below this are put together: each by itself would take more memory than it has bytes."""
_LONGEST_NUMBER: Final = 19


class Exchange:
    """One request's answer. Its owner calls ``close``.

    ``until_s`` on the loop's clock is when a wait for it ends at the latest, ``quiet_s`` how long
    it may wait for the next byte. ``bodiless`` answers have no body whatever their head says;
    ``carries`` tells that the request has one. ``ended`` is told when the exchange needs its
    connection no more.
    """

    def __init__(
        self,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        *,
        bodiless: bool,
        carries: bool,
        until_s: float,
        quiet_s: float,
        ended: Callable[["Exchange"], None],
    ) -> None:
        self._connection: Connection | None = connection
        self._reused = connection.used > 0
        self._loop = loop
        self._bodiless = bodiless
        self._carries = carries
        self._quiet_s = quiet_s
        self._ended = ended
        self.until_s = until_s
        self.deadline_s = math.inf
        """When the present wait ends; infinite while nobody waits."""
        self._waiter: asyncio.Future[None] | None = None
        self._headers: dict[bytes, bytes] = {}
        """By their names in lower case, once the head has ended."""
        self._fields: dict[bytes, bytes] = {}
        self.on_header = self._fields.setdefault
        """What the parser says of a header: the first of its name counts. A method would be called
        sixty times a submission.
        """
        self._parser: Any = httptools.HttpResponseParser(self)
        self._has_head = False
        self._is_whole = False
        self._surplus = False
        self._can_go_on = False
        self._error: Exception | None = None
        self._parts: deque[bytes | bytearray] = deque()
        self._held_bytes = 0
        self._wanted_bytes = _AHEAD_BYTES
        self._paused = False
        self._fed_bytes = 0
        self._body_bytes = 0
        self.status = 0
        self.length: int | None = None
        """The body's length in bytes, where the server states it."""

    def header(self, name: str) -> str | None:
        """The first header of that name, whose case does not matter; None when there is none."""
        value = self._headers.get(name.lower().encode("ascii"))
        return None if value is None else value.decode("latin-1")

    @property
    def at_end(self) -> bool:
        """Whether all of the body has been read."""
        return self._is_whole and not self._held_bytes

    async def answered(self) -> None:
        """Return when status and headers are there. Raises OSError, TimeoutError included."""
        while not self._has_head:
            await self._news()

    async def block(self, limit_bytes: int, within_s: float) -> bytes:
        """The next ``limit_bytes`` of the body, fewer at its end. Raises as ``answered`` does."""
        if not self._has(limit_bytes):
            self.until_s = self._loop.time() + within_s
            self._wanted_bytes = limit_bytes
            try:
                while not self._has(limit_bytes):
                    self._resume()
                    await self._news()
            finally:
                self._wanted_bytes = _AHEAD_BYTES
        return self._take(limit_bytes)

    def close(self) -> None:
        """Give the connection up, unless the answer has ended: it has gone back by itself then."""
        if self._connection is not None:
            self.fail(Broken("closed"))

    def fail(self, error: Exception) -> None:
        """End the exchange: who waits for it gets the error."""
        if not self._is_whole and self._error is None:
            self._error = error
        connection = self._parted()
        if connection is not None:
            connection.abort()
        self._wake()

    # What the connection says.

    def feed(self, data: bytes) -> None:
        """Take in what came."""
        self._fed_bytes += len(data)
        if self.deadline_s is not math.inf:
            self.deadline_s = min(self.until_s, self._loop.time() + self._quiet_s)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._surplus = True
            if not self._is_whole:
                self.fail(ProtocolError(type(error).__name__))
                return
        if self._is_whole:
            self._let_go()
        elif self._fed_bytes - self._body_bytes > _HEAD_BYTES + _FRAMING * self._body_bytes:
            self.fail(ProtocolError("too much beside the body"))
            return
        if self._has_head:
            self._fields.clear()  # trailers, which nobody wants
            self._wake()

    def end(self) -> None:
        """The server sends no more: the end of a body of no stated length."""
        is_framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        if self._has_head and not is_framed:
            self._is_whole = True
            self._let_go()
            self._wake()
        else:
            self.lost(None)

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        if self._is_whole:
            self._parted()
            return
        if self._reused and not self._fed_bytes:
            self.fail(Stale("closed by the server"))
        else:
            self.fail(error or Broken("closed by the server"))

    # What the parser says.

    def on_message_begin(self) -> None:
        """Another answer begins."""
        self._surplus = self._is_whole

    def on_headers_complete(self) -> None:
        """The head has ended."""
        if self._has_head:
            return  # of something beyond the answer
        status = self._parser.get_status_code()
        if status < 200:
            self._fields.clear()  # a word in between, such as 100
        else:
            self.status = status
            self._has_head = True
            for name, value in self._fields.items():
                self._headers.setdefault(name.lower(), value)
            stated = self._headers.get(b"content-length", b"")
            if stated.isdigit() and len(stated) <= _LONGEST_NUMBER:
                self.length = int(stated)
            if self._bodiless:
                self._whole()

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(data)
        if self._is_whole:
            self._surplus = True
            return
        self._keep(data)
        self._held_bytes += len(data)
        if self._held_bytes >= self._wanted_bytes and not self._paused and self._connection:
            left_bytes = math.inf if self.length is None else self.length - self._body_bytes
            if left_bytes >= _TAIL_BYTES:
                self._paused = True
                self._connection.pause()

    def on_message_complete(self) -> None:
        """The answer has ended."""
        if self._has_head and not self._is_whole:
            self._whole()

    # Between them.

    def _keep(self, data: bytes) -> None:
        if len(data) >= _SMALL_BYTES:
            self._parts.append(data)
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += data
        else:
            self._parts.append(bytearray(data))

    def _whole(self) -> None:
        """The answer has ended; only now does the parser know whether the connection goes on."""
        self._is_whole = True
        self._can_go_on = self._parser.should_keep_alive()

    def _has(self, wanted_bytes: int) -> bool:
        """Whether so much of the body is there, or all that will come."""
        return self._is_whole or self._held_bytes >= wanted_bytes

    def _parted(self) -> Connection | None:
        """The connection, which this exchange needs no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._parser = None  # it holds this exchange, and would wait for the collector with it
            self._ended(self)
        return connection

    def _let_go(self) -> None:
        """Give the connection back, if it can be used again."""
        connection = self._parted()
        if connection is None:
            return
        if self._paused:
            connection.resume()
        # Who refuses a request may not have read all of it; TLS does not tell what is unsent.
        is_spent = not self._carries or 200 <= self.status < 300
        if self._can_go_on and is_spent and not self._surplus:
            connection.release()
        else:
            connection.abort()

    def _resume(self) -> None:
        if self._paused and self._connection is not None:
            self._paused = False
            self._connection.resume()

    def _take(self, limit_bytes: int) -> bytes:
        parts = self._parts
        if self._held_bytes <= limit_bytes:
            self._held_bytes = 0
            taken = bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
            parts.clear()
            return taken
        taken_parts, missing = [], limit_bytes
        while missing:
            part = parts.popleft()
            if len(part) > missing:
                parts.appendleft(part[missing:])
                part = part[:missing]
            taken_parts.append(part)
            missing -= len(part)
        self._held_bytes -= limit_bytes
        return b"".join(taken_parts)

    async def _news(self) -> None:
        """Wait until something has changed."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self.deadline_s = min(self.until_s, self._loop.time() + self._quiet_s)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self.deadline_s = math.inf
        if self._error is not None:
            raise self._error

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
