"""A TCP proxy that delays, cuts, resets, swallows or refuses connections."""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, Self, cast

from rogo_async.demo.servers.ports import LOOPBACK

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 5.0
BACKLOG: Final = 512
MAX_IN_TRANSIT_BYTES: Final = 8 * 1024 * 1024

# Closing a socket with this lingering sends RST in place of FIN.
_LINGER_ZERO: Final = struct.pack("ii", 1, 0)

Hook = Callable[[bytes], bytes | None]


def forward(chunk: bytes) -> bytes:
    """The hook that changes nothing."""
    return chunk


class Wire(Protocol):
    """One connection through the proxy, as a tap may treat it."""

    def cut(self) -> None:
        """Close both ends; bytes in transit are lost."""

    def silence(self) -> None:
        """Swallow all bytes from now on, in both directions; both ends stay open."""


def untapped(_wire: Wire) -> tuple[Hook, Hook]:
    """The tap that changes nothing."""
    return forward, forward


class TcpProxy:
    """Listens on a free port of 127.0.0.1 and forwards everything to one upstream.

    The switches take effect at once, for open connections too:

    - ``delay_s``: the latency of bytes in each direction: a round trip, or opening a connection,
      takes twice that. It does not limit the throughput. A shorter one also applies to bytes that
      are in transit and to connections that are being opened.
    - ``black_hole``: connections are accepted and their bytes swallowed in both directions. A
      connection that lost bytes stays silent afterwards. If one end closes meanwhile, the other
      end learns of it when the switch is off again.
    - ``refuse``: new connections are refused (ECONNREFUSED); open ones stay. The port is kept.
    - ``on_reply``: is called with each chunk of the upstream; its result is forwarded, None drops
      the chunk. It may call ``cut`` or ``reset``.
    - ``tap``: is called for each connection accepted from then on and returns two hooks for it: one
      for the bytes of the client and one for those of the upstream.

    ``open_socket`` makes the listening socket, for another network namespace.

    ``accepted`` counts all connections, ``open`` the open ones. ``in_transit`` is true while bytes
    or connections are delayed.
    """

    host: Final = LOOPBACK

    def __init__(
        self,
        upstream_host: str,
        upstream_port: int,
        *,
        open_socket: Callable[[], socket.socket] = socket.socket,
    ) -> None:
        self.port = 0
        self._open_socket = open_socket
        self._delay_s = 0.0
        self._delay_changed = asyncio.Event()
        self.on_reply: Hook = forward
        self.tap: Callable[[Wire], tuple[Hook, Hook]] = untapped
        self.accepted = 0
        self._black_hole = False
        self._upstream = (upstream_host, upstream_port)
        self._listener: socket.socket | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._links: set[_Link] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def open(self) -> int:
        return len(self._links)

    @property
    def in_transit(self) -> bool:
        return bool(self._opening) or any(link.in_transit for link in self._links)

    @property
    def delay_s(self) -> float:
        return self._delay_s

    @delay_s.setter
    def delay_s(self, seconds: float) -> None:
        self._delay_s = seconds
        self._delay_changed.set()
        self._delay_changed = asyncio.Event()
        for link in self._links:
            link.shorten_delays()

    @property
    def refuse(self) -> bool:
        return self._listener is None

    @refuse.setter
    def refuse(self, refused: bool) -> None:
        if refused:
            self._close_listener()
        elif self._listener is None:
            self._open_listener()

    @property
    def black_hole(self) -> bool:
        return self._black_hole

    @black_hole.setter
    def black_hole(self, swallows: bool) -> None:
        self._black_hole = swallows
        if not swallows:
            for link in tuple(self._links):
                link.close_if_half_closed()

    async def start(self) -> None:
        """Listens. Raises OSError."""
        self.refuse = False

    async def stop(self) -> None:
        """Refuses new connections and ends the open ones. Harmless when it is not running."""
        self.refuse = True
        factory = tuple(self._opening)
        self.cut()
        if factory:
            await asyncio.wait(factory, timeout=CLOSE_TIMEOUT_S)
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await self._idle.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def cut(self) -> None:
        """Closes both ends of every connection; bytes in transit are lost."""
        for task in self._opening:
            task.cancel()
        for link in self._links:
            link.abort()

    def reset(self) -> None:
        """As ``cut``, but both ends see ECONNRESET."""
        for link in self._links:
            link.linger_zero()
        self.cut()

    def _open_listener(self) -> None:
        with contextlib.ExitStack() as on_error:
            listener = on_error.enter_context(self._open_socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.host, self.port))
            listener.listen(BACKLOG)
            listener.settimeout(0)
            on_error.pop_all()
        self.port = listener.getsockname()[1]
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _close_listener(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:  # the client has already given up
            return
        client.settimeout(0)
        self.accepted += 1
        task = asyncio.create_task(self._link(client), name=f"proxy opening {self.accepted}")
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _link(self, client: socket.socket) -> None:
        """Connects an accepted connection to the upstream; without an upstream it is reset."""
        loop = asyncio.get_running_loop()
        link = _Link(self, self._forget)
        try:
            if self.black_hole:
                link.lost = True
            else:
                await self._wait_for_a_round_trip()
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await loop.create_connection(lambda: link.upstream, *self._upstream)
            self._links.add(link)
            self._idle.clear()
            await loop.connect_accepted_socket(lambda: link.client, client)
            link.upstream.regulate()
        except BaseException as error:
            link.abort()
            self._forget(link)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            client.close()
            if not isinstance(error, OSError):  # TimeoutError is one, too
                raise

    async def _wait_for_a_round_trip(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (left_s := began + 2 * self.delay_s - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._delay_changed.wait()

    def _forget(self, link: "_Link") -> None:
        self._links.discard(link)
        if not self._links:
            self._idle.set()


class _Link:
    """Both ends of one connection through the proxy."""

    def __init__(self, proxy: TcpProxy, on_end: Callable[["_Link"], None]) -> None:
        self.proxy = proxy
        self.lost = False
        """Whether bytes were swallowed; then no later bytes are forwarded."""
        self._on_end = on_end
        on_request, self._on_reply = proxy.tap(self)
        self.client = _End(self, on_request)
        self.upstream = _End(self, self._reply)
        self.client.peer, self.upstream.peer = self.upstream, self.client

    def _reply(self, chunk: bytes) -> bytes | None:
        passed_on = self._on_reply(chunk)
        return None if passed_on is None else self.proxy.on_reply(passed_on)

    @property
    def in_transit(self) -> bool:
        return self.client.in_transit or self.upstream.in_transit

    def shorten_delays(self) -> None:
        self.client.shorten_delays()
        self.upstream.shorten_delays()

    def cut(self) -> None:
        self.abort()

    def silence(self) -> None:
        self.lost = True

    def swallows(self) -> bool:
        self.lost = self.lost or self.proxy.black_hole
        return self.lost

    def ended(self, error: Exception | None) -> None:
        """One end is closed: close the other, unless the proxy is a black hole."""
        if self.proxy.black_hole and self._open_transports():
            return
        if error is not None:
            self.linger_zero()
        self.close_if_half_closed()

    def close_if_half_closed(self) -> None:
        transports = self._open_transports()
        if not transports:
            self._on_end(self)
        elif len(transports) == 1 or self.client.finished or self.upstream.finished:
            self.abort()

    def close(self) -> None:
        for transport in self._open_transports():
            transport.close()

    def abort(self) -> None:
        for transport in self._open_transports():
            transport.abort()

    def linger_zero(self) -> None:
        for transport in self._open_transports():
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)

    def _open_transports(self) -> list[asyncio.Transport]:
        ends = (self.client.transport, self.upstream.transport)
        return [transport for transport in ends if transport is not None]


class _End(asyncio.Protocol):
    """One end of a link. Received bytes are in transit for a while, then sent to its peer."""

    peer: "_End"

    def __init__(self, link: _Link, hook: Hook) -> None:
        self.transport: asyncio.Transport | None = None
        self.finished = False
        """Whether it has sent its last byte."""
        self._link = link
        self._hook = hook
        self._in_transit: deque[tuple[float, bytes]] = deque()
        self._in_transit_bytes = 0
        self.accepts_bytes = True
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.regulate()

    def data_received(self, data: bytes) -> None:
        self._send_on_its_way(data)

    def eof_received(self) -> bool:
        self._send_on_its_way(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._in_transit.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._link.ended(exc)

    def pause_writing(self) -> None:
        self.accepts_bytes = False
        self.peer.regulate()

    def resume_writing(self) -> None:
        self.accepts_bytes = True
        self.peer.regulate()

    @property
    def in_transit(self) -> bool:
        return bool(self._in_transit)

    def shorten_delays(self) -> None:
        """Bytes in transit arrive after the proxy's delay from now at the latest."""
        latest = asyncio.get_running_loop().time() + self._link.proxy.delay_s
        self._in_transit = deque((min(due, latest), chunk) for due, chunk in self._in_transit)
        if self._timer is not None:
            self._timer.cancel()
            self._deliver()

    def regulate(self) -> None:
        """Reads only while the peer accepts bytes and not too many are in transit."""
        if self.transport is None or self.transport.is_closing():
            return
        has_capacity = self._in_transit_bytes < MAX_IN_TRANSIT_BYTES
        if self._link.lost or (self._peer_takes_bytes() and has_capacity):
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _peer_takes_bytes(self) -> bool:
        return self.peer.transport is not None and self.peer.accepts_bytes

    def _send_on_its_way(self, chunk: bytes) -> None:
        due = asyncio.get_running_loop().time() + self._link.proxy.delay_s
        self._in_transit.append((due, chunk))
        self._in_transit_bytes += len(chunk)
        if self._timer is None:
            self._deliver()
        self.regulate()

    def _deliver(self) -> None:
        """Hands over the bytes that are due and schedules the rest."""
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._in_transit and self._in_transit[0][0] <= loop.time():
            _, chunk = self._in_transit.popleft()
            self._in_transit_bytes -= len(chunk)
            self._hand_over(chunk)
        if self._in_transit:
            self._timer = loop.call_at(self._in_transit[0][0], self._deliver)
        self.regulate()

    def _hand_over(self, chunk: bytes) -> None:
        if not chunk:
            self._hand_over_end()
        elif not self._link.swallows():
            passed_on = self._hook(chunk)
            receiver = self.peer.transport
            if passed_on is not None and receiver is not None and not receiver.is_closing():
                receiver.write(passed_on)

    def _hand_over_end(self) -> None:
        self.finished = True
        if self._link.swallows():
            if not self._link.proxy.black_hole:
                self._link.abort()
        elif self.peer.finished:
            self._link.close()
        elif self.peer.transport is not None and not self.peer.transport.is_closing():
            with contextlib.suppress(OSError):  # already closed
                self.peer.transport.write_eof()
