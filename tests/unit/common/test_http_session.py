"""The HTTP session at the wire: servers that send the wrong bytes, too few, too many, or none."""

import asyncio
import contextlib
import itertools
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from rogo_async.common import http_session
from rogo_async.common.http_session import HTTP_ERRORS, HttpSession, Response
from rogo_async.common.proxies import Proxies
from tests.support.raw_server import Peer, RawServer, chunked, raw_server, responding, sized

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPS: list[Run] = [asyncio.run, uvloop.run]
BODY = bytes(range(256)) * 700
MIB = 1024 * 1024
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def http() -> AsyncIterator[HttpSession]:
    async with contextlib.aclosing(HttpSession()) as session:
        yield session


async def get(http: HttpSession, server: RawServer, within_s: float = 30.0) -> Response:
    return await http.request("GET", server.url(), {}, within_s=within_s)


async def put(
    http: HttpSession, server: RawServer, body: bytes, within_s: float = 30.0
) -> Response:
    return await http.request("PUT", server.url(), {}, body, within_s=within_s)


async def download(http: HttpSession, server: RawServer, within_s: float = 30.0) -> bytes:
    response = await get(http, server, within_s)
    with contextlib.closing(response):
        return await response.block(MIB, within_s)


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """The block must end by itself, before a server that waits for two minutes goes on."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 30.0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true, a minute at most."""
    async with asyncio.timeout(60.0):
        while not condition():
            await asyncio.sleep(0.01)


# What is sent, and an ordinary answer


async def test_a_request_as_it_is_sent(http: HttpSession) -> None:
    async with raw_server(responding(sized(b"x"))) as server:
        odd = server.url("/c/a%2Fb%20(1)%zz;%C3%A9//../x?sig=a%2Bb+c%3D&se=1:2")
        response = await http.request("PUT", odd, {"x-ms-version": "1"}, b"bytes", within_s=5.0)
        response.close()
    lines = server.requests[0].split(b"\r\n")
    assert lines[0] == b"PUT /c/a%2Fb%20(1)%zz;%C3%A9//../x?sig=a%2Bb+c%3D&se=1:2 HTTP/1.1"
    assert sorted(lines[1:-2]) == [
        b"Accept-Encoding: identity",
        b"Accept: */*",
        b"Content-Length: 5",
        b"Content-Type: application/octet-stream",
        b"Host: 127.0.0.1:%d" % server.origin[2],
        b"User-Agent: rogo_async",
        b"x-ms-version: 1",
    ]
    assert server.bodies == [b"bytes"]


@pytest.mark.parametrize("size_bytes", [0, 1, 100_000, MIB, MIB + 1, 8 * MIB])
async def test_an_upload_arrives_whole(http: HttpSession, size_bytes: int) -> None:
    body = (BODY * (size_bytes // len(BODY) + 1))[:size_bytes]
    async with raw_server(responding(sized(b"x"))) as server:
        (await put(http, server, body)).close()
    assert server.bodies == [body]


@pytest.mark.parametrize("arrives_in_s", [0.0, 0.1])
async def test_status_headers_and_body(http: HttpSession, arrives_in_s: float) -> None:
    async with raw_server(responding(sized(BODY, b"ETag: one", b"etag: two"))) as server:
        response = await get(http, server)
        assert response.status == 200
        assert response.headers["ETAG"] == "one"
        assert "Content-MD5" not in response.headers
        assert response.size_bytes == len(BODY)
        await asyncio.sleep(arrives_in_s)
        assert await response.block(100_000, 5.0) == BODY[:100_000]
        at_end = [response.at_end]
        assert await response.block(100_000, 5.0) == BODY[100_000:]
        at_end.append(response.at_end)
        assert at_end == [False, True]
        assert await response.block(100_000, 5.0) == b""


async def test_a_body_that_has_arrived_is_read_without_a_timer(
    http: HttpSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files make up most of a run. A body above the limit is still read in blocks."""
    async with raw_server(responding(sized(BODY))) as server:
        large, small = await get(http, server), await get(http, server)
        await until(lambda: large.content.is_eof() and small.content.is_eof())
        assert await large.block(len(BODY) - 1, 5.0) == BODY[:-1]

        def no_timer(_seconds: float) -> asyncio.Timeout:
            raise AssertionError

        monkeypatch.setattr(asyncio, "timeout", no_timer)
        assert await small.block(len(BODY), 5.0) == BODY
        monkeypatch.undo()
        large.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 %s\r\n", b"HTTP/1.1 200 OK\r\nX-Long: %s\r\n"])
async def test_long_headers_are_read(http: HttpSession, answer: bytes) -> None:
    """Some servers send policies of 10 KiB and more. 64 KiB is the limit."""
    end = b"Content-Length: 1\r\n\r\n1"
    long, too_long = (answer % (b"x" * size) + end for size in (60_000, 70_000))
    async with raw_server(responding(long)) as server:
        assert await download(http, server) == b"1"
    async with raw_server(responding(too_long)) as server:
        with pytest.raises(HTTP_ERRORS):
            await download(http, server)


async def test_compressed_bytes_stay_compressed(http: HttpSession) -> None:
    async with raw_server(responding(sized(BODY, b"Content-Encoding: gzip"))) as server:
        assert await download(http, server) == BODY


@pytest.mark.parametrize("run", LOOPS)
@given(
    cuts=st.lists(st.integers(1, 3_000), max_size=12), form=st.sampled_from(["sized", "chunked"])
)
@settings(max_examples=30, deadline=None)
def test_an_answer_may_come_in_any_pieces(run: Run, cuts: list[int], form: str) -> None:
    body = BODY[:2_000]
    answer = sized(body, b"ETag: e") if form == "sized" else chunked(body, 300)
    edges = [0, *sorted({cut for cut in cuts if cut < len(answer)}), len(answer)]
    parts = [answer[a:b] for a, b in itertools.pairwise(edges)]

    async def twice() -> tuple[bytes, bytes, int]:
        async with (
            raw_server(responding(*parts)) as server,
            contextlib.aclosing(HttpSession()) as http,
        ):
            first, second = await download(http, server), await download(http, server)
        return first, second, server.connections

    assert run(twice()) == (body, body, 1)


async def test_redirects_are_not_followed(http: HttpSession) -> None:
    answer = b"HTTP/1.1 302 Found\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(responding(answer)) as server:
        response = await get(http, server)
        response.close()
    assert (response.status, response.headers["Location"]) == (302, "/other")
    assert len(server.requests) == 1


# Connections: kept, closed by the server, counted


async def test_connections_are_kept_and_none_is_shared(http: HttpSession) -> None:
    async with raw_server(responding(sized(BODY))) as server:
        for _ in range(3):
            assert await download(http, server) == BODY
        assert server.connections == 1
        found = await asyncio.gather(*[download(http, server) for _ in range(20)])
        assert found == [BODY] * 20
        assert server.connections == 20


async def test_a_kept_connection_that_the_server_closed(http: HttpSession) -> None:
    """A connection is closed or reset between two requests: the second is sent again."""

    async def once_then_reset(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"1"))
        await peer.request()
        peer.reset()

    scripts = [responding(sized(b"1"), times=1), once_then_reset, responding(sized(b"1"))]
    async with raw_server(*scripts) as server:
        assert await download(http, server) == b"1"
        await asyncio.sleep(0.05)
        assert await download(http, server) == b"1"
        assert server.connections == 2
        assert await download(http, server) == b"1"
        assert server.connections == 3


@pytest.mark.parametrize("size_bytes", [1_000, 2 * MIB])
async def test_an_upload_on_a_kept_connection_that_the_server_closed(
    http: HttpSession, size_bytes: int
) -> None:
    """The whole body is sent again."""

    async def once_then_reset(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b""))
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reset()

    body = (BODY * 12)[:size_bytes]
    async with raw_server(once_then_reset, responding(sized(b""))) as server:
        for _ in range(2):
            response = await put(http, server, body)
            assert response.status == 200
            response.close()
    assert server.connections == 2
    assert server.bodies == [body, body]


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nCont"])
async def test_connections_lost_before_the_head_ends_are_an_error(
    http: HttpSession, answer: bytes
) -> None:
    """The request is sent twice at most."""

    async def reset(peer: Peer) -> None:
        await peer.request()
        await peer.send(answer)
        peer.reset()

    async with raw_server(reset) as server:
        with pytest.raises(HTTP_ERRORS):
            await get(http, server)
        assert server.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
        sized(b"1") + sized(b"surplus"),
        sized(b"1") + b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nsur",
    ],
)
async def test_a_connection_is_not_used_again(http: HttpSession, answer: bytes) -> None:
    """If the server closes it, or if it sent a further answer without a request."""
    async with raw_server(responding(answer)) as server:
        assert [await download(http, server) for _ in range(2)] == [b"1", b"1"]
        assert server.connections == 2


@pytest.mark.parametrize("cut", [0, 1, 20, len(sized(b"1")), len(sized(b"1")) + 20])
@pytest.mark.parametrize("surplus", [sized(b"surplus"), b"HTTP/1.1 200 OK\r\n", b"\r\n", b"junk"])
async def test_surplus_bytes_are_not_an_answer_to_the_next_request(
    http: HttpSession, cut: int, surplus: bytes
) -> None:
    """In one packet with the answer, or in a later one."""
    sent = sized(b"1") + surplus
    all_sent = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        try:
            await peer.send(sent[:cut])
            await asyncio.sleep(0.01)
            await peer.send(sent[cut:])
        finally:
            all_sent.set()
        await peer.request()
        await peer.send(sized(b"2"))

    async with raw_server(script, responding(sized(b"2"))) as server:
        for expected in (b"1", b"2"):
            with contextlib.suppress(*HTTP_ERRORS):  # never other bytes
                assert await download(http, server) == expected
            await all_sent.wait()
            await asyncio.sleep(0.03)  # the event loop reads what has arrived
        assert await download(http, server) == b"2"


async def test_unrequested_bytes_end_a_kept_connection(http: HttpSession) -> None:
    ended = asyncio.Event()

    async def eager(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"1"))
        await asyncio.sleep(0.02)
        await peer.send(sized(b"unasked"))
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()
        ended.set()

    async with raw_server(eager, responding(sized(b"2"))) as server:
        assert await download(http, server) == b"1"
        await asyncio.wait_for(ended.wait(), 60.0)
        assert await download(http, server) == b"2"
        assert server.connections == 2


async def test_a_body_after_the_answer_to_head_is_no_file(http: HttpSession) -> None:
    async def wrong(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        await peer.request()
        await peer.send(sized(b"EVIL"))

    async with raw_server(wrong, responding(sized(b"good"))) as server:
        (await http.request("HEAD", server.url(), {}, within_s=5.0)).close()
        assert await download(http, server) == b"good"


async def test_no_body_follows_where_none_can(http: HttpSession) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with raw_server(responding(head)) as server:
        for _ in range(2):
            response = await http.request("HEAD", server.url(), {}, within_s=5.0)
            assert (response.size_bytes, response.at_end) == (1_000, True)
            assert await response.block(MIB, 5.0) == b""
        assert server.connections == 1
    async with raw_server(responding(b"HTTP/1.1 204 No\r\n\r\n")) as server:
        assert [await download(http, server) for _ in range(2)] == [b"", b""]
        assert server.connections == 1


# Bodies that end early


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("ending", ["closed", "reset"])
@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(
    "begun", [sized(BODY)[:-1], chunked(BODY, 1_000)[:-5], chunked(BODY, 1_000)[:-2]]
)
def test_a_body_that_ends_early_is_an_error(
    run: Run, ending: str, in_parts: bool, begun: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*((begun[:500], begun[500:]) if in_parts else (begun,)))
        if ending == "reset":
            peer.reset()

    async def broken() -> None:
        async with raw_server(script) as server, contextlib.aclosing(HttpSession()) as http:
            with pytest.raises(HTTP_ERRORS):
                await download(http, server)

    run(broken())


async def test_a_body_without_a_length_ends_with_its_connection(http: HttpSession) -> None:
    async with raw_server(responding(b"HTTP/1.1 200 OK\r\n\r\n" + BODY, times=1)) as server:
        response = await get(http, server)
        assert response.size_bytes is None
        assert await response.block(MIB, 5.0) == BODY
        assert response.at_end
        assert await download(http, server) == BODY
        assert server.connections == 2


@pytest.mark.parametrize("run", LOOPS)
def test_a_body_without_a_length_that_is_reset_is_an_error(run: Run) -> None:
    """A reset does not count as the end of the file."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", BODY[:1_000])
        await asyncio.sleep(0.05)
        peer.reset()

    async def broken() -> None:
        async with raw_server(script) as server, contextlib.aclosing(HttpSession()) as http:
            with pytest.raises(HTTP_ERRORS):
                await download(http, server)

    run(broken())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("size_bytes", [100_000, 300_000, 500_000])
def test_a_body_that_waits_when_the_server_closes(
    run: Run, size_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that waits for memory receives all bytes that the server sent before it closed."""
    tls = trusted(tmp_path, monkeypatch)
    body = bytes(size_bytes)

    async def closing(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(body, b"Connection: close"))
        await asyncio.sleep(0.1)
        peer.writer.transport.abort()

    async def late() -> bytes:
        async with (
            raw_server(closing, tls=tls) as server,
            contextlib.aclosing(HttpSession()) as http,
        ):
            response = await get(http, server)
            await asyncio.sleep(0.3)
            with contextlib.closing(response):
                return await response.block(MIB, 5.0)

    assert run(late()) == body


@pytest.mark.parametrize("pause_s", [0.0, 0.3])
def test_a_tls_body_without_a_length_that_is_cut_is_an_error(
    pause_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 3: a cut file is not a whole one. Only uvloop, which a run uses, can tell."""
    tls = trusted(tmp_path, monkeypatch)

    async def cutting(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n", bytes(100_000))
        await asyncio.sleep(0.1)
        peer.writer.transport.abort()

    async def cut() -> None:
        async with (
            raw_server(cutting, tls=tls) as server,
            contextlib.aclosing(HttpSession()) as http,
        ):
            response = await get(http, server)
            await asyncio.sleep(pause_s)
            with contextlib.closing(response), pytest.raises(HTTP_ERRORS):
                await response.block(MIB, 5.0)

    uvloop.run(cut())


# Answers that are not HTTP, or have no end


async def test_an_interim_answer_is_skipped(http: HttpSession) -> None:
    interim = b"HTTP/1.1 100 Continue\r\nETag: not this\r\n\r\n"
    async with raw_server(responding(interim + sized(b"1", b"ETag: this"))) as server:
        response = await get(http, server)
        assert (response.status, response.headers["ETag"]) == (200, "this")
        assert await response.block(MIB, 5.0) == b"1"


async def test_an_interim_answer_afterwards_changes_nothing(http: HttpSession) -> None:
    after = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with raw_server(responding(sized(b"1", b"ETag: this") + after)) as server:
        response = await get(http, server)
        found = response.status, response.headers["ETag"], response.size_bytes
        assert found == (200, "this", 1)
        response.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_an_answer_that_is_not_http_is_an_error(http: HttpSession, answer: bytes) -> None:
    async with raw_server(responding(answer)) as server:
        with pytest.raises(HTTP_ERRORS):
            await download(http, server)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"1\r\nx\r\n"])
async def test_a_chunk_without_an_end_has_a_deadline(http: HttpSession, rest: bytes) -> None:
    """The reader does not learn of a malformed chunk in a later packet, but has a deadline."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.02)
        await peer.send(rest)
        await asyncio.sleep(120)

    async with raw_server(script) as server:
        with soon(), pytest.raises(HTTP_ERRORS):
            await asyncio.wait_for(download(http, server, within_s=0.3), 60.0)


async def test_a_protocol_switch_ends_the_connection(http: HttpSession) -> None:
    switch = b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
    async with raw_server(responding(switch, times=1), responding(sized(b"2"))) as server:
        response = await get(http, server)
        assert response.status == 101
        response.close()
        assert await download(http, server) == b"2"
        assert server.connections == 2


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-%d: " + b"y" * 1_000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"%d" + b"y" * 1_000),
        (b"", b"HTTP/1.1 100 Continue\r\nX: %d" + b"y" * 1_000 + b"\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n",
            b"X-%d: " + b"y" * 1_000 + b"\r\n",
        ),
    ],
)
async def test_heads_and_trailers_have_an_end(
    http: HttpSession, first: bytes, again: bytes
) -> None:
    """By their size, or by the deadline of the request."""

    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(first)
        for number in itertools.count():
            await peer.send(again % number)

    async with raw_server(endless) as server:
        tracemalloc.start()
        try:
            with pytest.raises(HTTP_ERRORS):
                await asyncio.wait_for(download(http, server, within_s=1.0), 5.0)
            assert tracemalloc.get_traced_memory()[1] < 4 * MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("run", LOOPS)
@given(words=st.binary(max_size=300), begins=st.booleans())
@settings(max_examples=75, deadline=None)
def test_any_bytes_are_an_answer_or_an_error(run: Run, words: bytes, *, begins: bool) -> None:
    sent = (b"HTTP/1.1 200 OK\r\n" if begins else b"") + words

    async def once() -> None:
        async with (
            raw_server(responding(sent, times=1)) as server,
            contextlib.aclosing(HttpSession()) as http,
        ):
            with contextlib.suppress(*HTTP_ERRORS):
                await asyncio.wait_for(download(http, server), 5.0)

    run(once())


async def test_a_length_of_thousands_of_digits(http: HttpSession) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5_000 + b"5\r\n\r\nhello"
    async with raw_server(responding(answer)) as server:
        response = await get(http, server)
        assert (response.size_bytes, await response.block(MIB, 5.0)) == (None, b"hello")


async def test_small_chunks_take_a_bounded_amount_of_memory(http: HttpSession) -> None:
    """Each chunk is a separate object, and only few may wait."""
    body = BODY * 3
    async with raw_server(responding(chunked(body, 2))) as server:
        response = await get(http, server)
        tracemalloc.start()
        try:
            assert await response.block(MIB, 600.0) == body
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        finally:
            tracemalloc.stop()


# Deadlines


@pytest.mark.parametrize(
    ("method", "after"),
    [
        ("GET", b""),
        ("HEAD", b""),
        ("GET", b"HTTP/1.1 200 OK\r\n"),
        ("GET", sized(BODY)[:-1]),
    ],
)
async def test_silence_has_a_deadline(
    monkeypatch: pytest.MonkeyPatch, method: str, after: bytes
) -> None:
    """It is shorter than the deadline of the request."""
    monkeypatch.setattr(http_session, "QUIET_S", 0.3)

    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.send(after)
        await asyncio.sleep(120)

    async def read(http: HttpSession, url: URL) -> None:
        with contextlib.closing(await http.request(method, url, {}, within_s=60.0)) as response:
            await response.block(MIB, 60.0)

    async with raw_server(silent) as server, contextlib.aclosing(HttpSession()) as http:
        with pytest.raises(aiohttp.SocketTimeoutError):
            await read(http, server.url())


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize("size_bytes", [100_000, 16 * MIB])
async def test_an_upload_has_a_deadline(http: HttpSession, reads: bool, size_bytes: int) -> None:
    """Whether the server takes the body or not."""

    async def silent(peer: Peer) -> None:
        if reads:
            await peer.request()
        await asyncio.sleep(120)

    async with raw_server(silent) as server:
        with soon(), pytest.raises(TimeoutError):
            await asyncio.wait_for(put(http, server, bytes(size_bytes), within_s=0.5), 60.0)


async def test_a_slow_drip_does_not_extend_a_deadline(http: HttpSession) -> None:
    async def dripping(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.send(b"x")
            await asyncio.sleep(0.05)

    async with raw_server(dripping) as server:
        response = await get(http, server)
        with soon(), pytest.raises(TimeoutError):
            await asyncio.wait_for(response.block(MIB, 0.5), 60.0)
        response.close()


async def test_a_head_that_drips_has_a_deadline(http: HttpSession) -> None:
    async def dripping(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await peer.send(b"y")
            await asyncio.sleep(0.05)

    async with raw_server(dripping) as server:
        with soon(), pytest.raises(TimeoutError):
            await asyncio.wait_for(get(http, server, within_s=0.5), 60.0)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_connecting_has_a_deadline(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The server accepts, and never answers the TLS handshake."""
    monkeypatch.setattr(http_session, "CONNECT_S", 0.3)

    async def silent(peer: Peer) -> None:
        await asyncio.sleep(120)

    async with raw_server(silent) as server, contextlib.aclosing(HttpSession()) as http:
        url = URL(f"https://127.0.0.1:{server.origin[2]}/")
        with pytest.raises(aiohttp.ConnectionTimeoutError):
            await http.request(method, url, {}, within_s=60.0)


async def test_a_slow_reader_is_not_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unread bytes stay at the server, and no deadline runs during the pause."""
    monkeypatch.setattr(http_session, "QUIET_S", 0.5)
    sent = 0

    async def generous(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await peer.send(bytes(MIB))
            sent += 1

    async with raw_server(generous) as server, contextlib.aclosing(HttpSession()) as http:
        response = await get(http, server)
        assert len(await response.block(MIB, 5.0)) == MIB
        await asyncio.sleep(1.5)
        assert sent < 32
        read_bytes = MIB
        while not response.at_end:
            read_bytes += len(await response.block(8 * MIB, 5.0))
        assert read_bytes == 64 * MIB


# Transfers that end early


async def test_a_cancelled_request_closes_its_connection(http: HttpSession) -> None:
    async def late(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.3)
        await peer.send(sized(b"late"))
        await asyncio.sleep(120)

    async with raw_server(late, responding(sized(b"2"))) as server:
        request = asyncio.create_task(get(http, server))
        await asyncio.sleep(0.1)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await asyncio.sleep(0.4)
        assert await download(http, server) == b"2"
        assert server.connections == 2


async def test_a_cancelled_read_closes_its_connection(http: HttpSession) -> None:
    async def late(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"late")[:-2])
        await asyncio.sleep(0.3)
        await peer.send(b"te")
        await asyncio.sleep(120)

    async with raw_server(late, responding(sized(b"2"))) as server:
        read = asyncio.create_task(download(http, server))
        await asyncio.sleep(0.1)
        read.cancel()
        with pytest.raises(asyncio.CancelledError):
            await read
        await asyncio.sleep(0.4)
        assert await download(http, server) == b"2"
        assert server.connections == 2


async def test_a_cancelled_upload_closes_its_connection(http: HttpSession) -> None:
    """The next request must not land in the middle of the body."""

    async def slow(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(120)

    async with raw_server(slow, responding(sized(b"2"))) as server:
        upload = asyncio.create_task(put(http, server, bytes(16 * MIB)))
        await asyncio.sleep(0.1)
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert await download(http, server) == b"2"
        assert server.connections == 2


async def test_a_closed_response_closes_its_connection(http: HttpSession) -> None:
    async with raw_server(responding(sized(BODY)[:-1]), responding(sized(b"2"))) as server:
        response = await get(http, server)
        response.close()
        response.close()
        with pytest.raises(HTTP_ERRORS):
            await response.block(MIB, 5.0)
        assert await download(http, server) == b"2"
        assert server.connections == 2


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("size_bytes", [50_000, 16 * MIB])
def test_an_answer_before_the_upload_has_ended(
    run: Run, secure: bool, size_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server would read the rest of the body as the next request, or the reverse."""
    tls = trusted(tmp_path, monkeypatch) if secure else None

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 3\r\n\r\n")
        await asyncio.sleep(120)

    async def refused() -> None:
        async with (
            raw_server(early, responding(sized(b"2")), tls=tls) as server,
            contextlib.aclosing(HttpSession()) as http,
        ):
            response = await put(http, server, bytes(size_bytes))
            assert (response.status, response.headers["Retry-After"]) == (503, "3")
            response.close()
            assert await download(http, server, within_s=1.0) == b"2"
            assert server.connections == 2

    run(refused())


async def test_closing_the_session_ends_a_request() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(120)

    async with raw_server(silent) as server:
        http = HttpSession()
        request = asyncio.create_task(get(http, server, within_s=30.0))
        await asyncio.sleep(0.1)
        await http.aclose()
        await asyncio.wait({request}, timeout=5.0)
        assert request.exception() is not None


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("closes", ["request", "session"])
def test_an_upload_that_is_given_up_ends_at_once(
    run: Run, secure: bool, closes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that closes would first send its rest, to a server that does not read."""
    tls = trusted(tmp_path, monkeypatch) if secure else None
    monkeypatch.setattr(http_session, "_CLOSE_S", 600.0)
    begun, lost = asyncio.Event(), asyncio.Event()

    class Recorder(http_session._Protocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            lost.set()
            super().connection_lost(exc)

    monkeypatch.setattr(http_session, "_Protocol", Recorder)

    async def not_reading(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        begun.set()
        await asyncio.Event().wait()

    async def given_up() -> None:
        async with raw_server(not_reading, tls=tls) as server:
            http = HttpSession()
            upload = asyncio.create_task(put(http, server, bytes(16 * MIB), 600.0))
            await begun.wait()
            await asyncio.sleep(0.2)
            if closes == "request":
                upload.cancel()
            else:
                await asyncio.wait_for(http.aclose(), 60.0)
            await asyncio.wait({upload}, timeout=60.0)
            assert upload.cancelled() or upload.exception() is not None
            await asyncio.wait_for(lost.wait(), 60.0)
            await http.aclose()

    run(given_up())


async def test_closing_the_session_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if a connection does not close."""
    monkeypatch.setattr(http_session, "_CLOSE_S", 0.1)
    monkeypatch.setattr(http_session._Protocol, "close", lambda _protocol: None)
    async with raw_server(responding(sized(b"1"))) as server:
        http = HttpSession()
        assert await download(http, server) == b"1"
        await asyncio.wait_for(http.aclose(), 60.0)


async def test_a_line_break_in_a_header_is_not_sent(http: HttpSession) -> None:
    async with raw_server(responding(sized(b"x"))) as server:
        with pytest.raises(ValueError, match="header"):
            await http.request("GET", server.url(), {"If-Match": "a\r\nX: y"}, within_s=5.0)
    assert server.requests == []


# Proxies and TLS


async def test_a_proxy_for_http() -> None:
    async with raw_server(responding(sized(b"from the proxy"))) as proxy:
        address = URL(f"http://me:secret@127.0.0.1:{proxy.origin[2]}")
        proxies = Proxies(http=address, direct=("127.0.0.1", "store.example"))
        async with contextlib.aclosing(HttpSession(proxies)) as http:
            url = URL("http://files.example/a%2Fb?sig=a%2Bb", encoded=True)
            response = await http.request("GET", url, {}, within_s=5.0)
            assert await response.block(MIB, 5.0) == b"from the proxy"
            async with raw_server(responding(sized(b"direct"))) as server:
                assert await download(http, server) == b"direct"
    head = proxy.requests[0]
    assert head.startswith(b"GET http://files.example/a%2Fb?sig=a%2Bb HTTP/1.1\r\n")
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in head
    assert len(proxy.requests) == 1


async def test_a_proxy_for_https_gets_no_more_than_the_host() -> None:
    async with raw_server(responding(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")) as proxy:
        proxies = Proxies(https=URL(f"http://127.0.0.1:{proxy.origin[2]}"))
        url = URL("https://files.example/a?sig=secret", encoded=True)
        async with contextlib.aclosing(HttpSession(proxies)) as http:
            with pytest.raises(HTTP_ERRORS):
                await http.request("GET", url, {}, within_s=5.0)
    assert proxy.requests[0].startswith(b"CONNECT files.example:443 HTTP/1.1\r\n")
    assert b"secret" not in b"".join(proxy.requests)


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's authorities are trusted; names and chains are checked; bytes pass whole."""
    files = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*files)
    async with raw_server(responding(sized(BODY * 10)), tls=tls) as server:
        async with contextlib.aclosing(HttpSession()) as http:
            with pytest.raises(ssl.SSLCertVerificationError):
                await get(http, server)
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        async with contextlib.aclosing(HttpSession()) as http:
            before = server.connections
            for _ in range(2):
                response = await get(http, server)
                assert await response.block(4 * MIB, 5.0) == BODY * 10
            assert server.connections == before + 1
            response = await put(http, server, bytes(3 * MIB))
            assert response.status == 200
            response.close()
            url = URL(f"https://127.0.0.1:{server.origin[2]}/")
            for method in ("GET", "HEAD"):
                with pytest.raises(ssl.SSLCertVerificationError):
                    await http.request(method, url, {}, within_s=5.0)
    async with (
        raw_server(responding(sized(b"")), tls=tls) as server,
        contextlib.aclosing(HttpSession()) as http,
    ):
        (await http.request("HEAD", server.url(), {}, within_s=5.0)).close()
        assert server.connections == 1


def trusted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context whose certificate every new session trusts."""
    files = certificate(directory)
    monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*files)
    return tls


def certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "cert.pem", directory / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
