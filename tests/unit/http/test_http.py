"""The HTTP client against servers that say odd things."""

import asyncio
import contextlib
import gc
import itertools
import ssl
import tracemalloc
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from rogo_async.common.http import client as client_module
from rogo_async.common.http.client import Client
from rogo_async.common.http.exchange import Exchange
from rogo_async.sources.stated import Stated
from tests.unit.http.wire import Peer, Server, Talk, talking

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LOOPS: list[Run] = [asyncio.run, uvloop.run]
BODY = bytes(range(256)) * 700
MIB = 1024 * 1024


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with contextlib.aclosing(Client()) as client:
        yield client


def answering(*parts: bytes, times: int = 1_000) -> Talk:
    async def talk(peer: Peer) -> None:
        for _ in range(times):
            await peer.request()
            await peer.say(*parts)

    return talk


def sized(body: bytes, *more: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *more, b"", body]
    return b"\r\n".join(lines)


def chunked(body: bytes, each: int) -> bytes:
    parts = [body[at : at + each] for at in range(0, len(body), each)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


async def get(client: Client, server: Server, quiet_s: float = 5.0) -> Exchange:
    return await client.request(
        "GET", server.workspace, "/f?sig=1", {"Accept": "*/*"}, quiet_s=quiet_s
    )


async def whole(client: Client, server: Server, quiet_s: float = 5.0) -> bytes:
    answer = await get(client, server, quiet_s)
    try:
        return await answer.block(MIB, 5.0)
    finally:
        answer.close()


async def test_a_request_as_it_travels(client: Client) -> None:
    async with talking([answering(sized(b"x"))]) as server:
        answer = await client.request(
            "PUT", server.workspace, "/c/b?sv=1", {"x-ms-version": "1"}, b"bytes", within_s=5.0
        )
        answer.close()
    port = server.workspace[2]
    assert server.asked == [
        b"PUT /c/b?sv=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: rogo_async\r\n"
        b"x-ms-version: 1\r\nContent-Length: 5\r\n\r\n" % port
    ]


async def test_status_headers_and_body(client: Client) -> None:
    async with talking([answering(sized(BODY, b"ETag: one", b"etag: two"))]) as server:
        answer = await get(client, server)
        assert answer.status == 200
        assert answer.header("ETAG") == "one"
        assert answer.header("Content-MD5") is None
        assert answer.length == len(BODY)
        assert await answer.block(100_000, 5.0) == BODY[:100_000]
        assert not answer.at_end
        assert await answer.block(100_000, 5.0) == BODY[100_000:]
        assert answer.at_end
        assert await answer.block(100_000, 5.0) == b""


@pytest.mark.parametrize("run", LOOPS)
@given(
    cuts=st.lists(st.integers(1, 3_000), max_size=12), form=st.sampled_from(["sized", "chunked"])
)
@settings(max_examples=60, deadline=None)
def test_an_answer_may_come_in_any_pieces(run: Run, cuts: list[int], form: str) -> None:
    body = BODY[:2_000]
    answer = sized(body, b"ETag: e") if form == "sized" else chunked(body, 300)
    edges = [0, *sorted({cut for cut in cuts if cut < len(answer)}), len(answer)]
    parts = [answer[a:b] for a, b in itertools.pairwise(edges)]

    async def twice() -> tuple[bytes, bytes, int]:
        async with talking([answering(*parts)]) as server, contextlib.aclosing(Client()) as client:
            first, second = await whole(client, server), await whole(client, server)
        return first, second, server.connections

    assert run(twice()) == (body, body, 1)


async def test_connections_are_kept_and_none_is_shared(client: Client) -> None:
    async with talking([answering(sized(BODY))]) as server:
        for _ in range(3):
            assert await whole(client, server) == BODY
        assert server.connections == 1
        found = await asyncio.gather(*[whole(client, server) for _ in range(20)])
        assert found == [BODY] * 20
        assert server.connections == 20


async def test_a_kept_connection_that_the_server_has_closed(client: Client) -> None:
    """Closed or reset between two requests, noticed or not: the second is asked anew."""

    async def once_and_cut(peer: Peer) -> None:
        await peer.request()
        await peer.say(sized(b"1"))
        await peer.request()
        peer.cut()

    talks = [answering(sized(b"1"), times=1), once_and_cut, answering(sized(b"1"))]
    async with talking(talks) as server:
        assert await whole(client, server) == b"1"
        await asyncio.sleep(0.05)
        assert await whole(client, server) == b"1"
        assert server.connections == 2
        assert await whole(client, server) == b"1"
        assert server.connections == 3


async def test_a_new_connection_that_is_lost_is_an_error(client: Client) -> None:
    async def cut(peer: Peer) -> None:
        await peer.request()
        peer.cut()

    async with talking([cut]) as server:
        with pytest.raises(ConnectionError):
            await get(client, server)
        assert server.connections == 1


async def test_a_kept_connection_lost_in_an_answer_is_an_error(client: Client) -> None:
    async def half(peer: Peer) -> None:
        await peer.request()
        await peer.say(sized(b"1"))
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nCont")
        peer.cut()

    async with talking([half]) as server:
        assert await whole(client, server) == b"1"
        with pytest.raises(ConnectionError):
            await get(client, server)
        assert server.connections == 1


@pytest.mark.parametrize("ending", ["closed", "reset"])
@pytest.mark.parametrize(
    "begun", [sized(BODY)[:-1], chunked(BODY, 1_000)[:-5], chunked(BODY, 1_000)[:-2]]
)
async def test_a_body_that_breaks_off_is_an_error(
    client: Client, ending: str, begun: bytes
) -> None:
    async def talk(peer: Peer) -> None:
        await peer.request()
        await peer.say(begun)
        if ending == "reset":
            peer.cut()

    async with talking([talk]) as server:
        with pytest.raises(ConnectionError):
            await whole(client, server)


async def test_a_body_without_a_length_ends_with_its_connection(client: Client) -> None:
    async with talking([answering(b"HTTP/1.1 200 OK\r\n\r\n" + BODY, times=1)]) as server:
        answer = await get(client, server)
        assert answer.length is None
        assert await answer.block(MIB, 5.0) == BODY
        assert answer.at_end
        assert await whole(client, server) == BODY
        assert server.connections == 2


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1",
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n1",
        sized(b"1") + b"HTTP/1.1 200 OK\r\n",
        sized(b"1") + b"what is this",
    ],
)
async def test_a_connection_is_not_used_again(client: Client, head: bytes) -> None:
    """Where the server says so, and where it said more than was asked."""
    async with talking([answering(head)]) as server:
        assert [await whole(client, server) for _ in range(2)] == [b"1", b"1"]
        assert server.connections == 2


async def test_bytes_that_nobody_asked_for_end_a_kept_connection(client: Client) -> None:
    async def eager(peer: Peer) -> None:
        await peer.request()
        await peer.say(sized(b"1"))
        await asyncio.sleep(0.02)
        await peer.say(sized(b"of another"))
        await asyncio.sleep(5)

    async with talking([eager, answering(sized(b"2"))]) as server:
        assert await whole(client, server) == b"1"
        await asyncio.sleep(0.1)
        assert await whole(client, server) == b"2"


async def test_no_body_follows_where_none_can(client: Client) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with talking([answering(head)]) as server:
        for _ in range(2):
            answer = await client.request("HEAD", server.workspace, "/f", {}, quiet_s=5.0)
            assert (answer.length, answer.at_end) == (1_000, True)
            assert await answer.block(MIB, 5.0) == b""
        assert server.connections == 1
    async with talking([answering(b"HTTP/1.1 204 No\r\n\r\n")]) as server:
        assert [await whole(client, server) for _ in range(2)] == [b"", b""]
        assert server.connections == 1


async def test_a_word_before_the_answer_is_passed_over(client: Client) -> None:
    before = b"HTTP/1.1 100 Continue\r\nETag: not this\r\n\r\n"
    async with talking([answering(before + sized(b"1", b"ETag: this"))]) as server:
        answer = await get(client, server)
        assert (answer.status, answer.header("ETag")) == (200, "this")
        assert await answer.block(MIB, 5.0) == b"1"


@pytest.mark.parametrize(
    "words",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_an_error(client: Client, words: bytes) -> None:
    async with talking([answering(words)]) as server:
        with pytest.raises(ConnectionError):
            await whole(client, server)


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
async def test_heads_and_trailers_have_an_end(client: Client, first: bytes, again: bytes) -> None:
    sent = 0

    async def endless(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(first)
        while True:
            await peer.say(again % sent)
            sent += 1

    async with talking([endless]) as server:
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(whole(client, server), 10.0)
    assert sent < 10_000


@pytest.mark.parametrize("run", LOOPS)
@given(words=st.binary(max_size=300), begins=st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_a_server_says_is_an_answer_or_an_error(
    run: Run, words: bytes, *, begins: bool
) -> None:
    said = (b"HTTP/1.1 200 OK\r\n" if begins else b"") + words

    async def once() -> None:
        async with (
            talking([answering(said, times=1)]) as server,
            contextlib.aclosing(Client()) as client,
        ):
            with contextlib.suppress(OSError):
                await asyncio.wait_for(whole(client, server), 5.0)

    run(once())


@pytest.mark.parametrize("after", [b"", b"HTTP/1.1 200 OK\r\n", sized(BODY)[:-1]])
async def test_silence_has_a_deadline(client: Client, after: bytes) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.say(after)
        await asyncio.sleep(30)

    async with talking([silent]) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await whole(client, server, quiet_s=0.3)
        assert asyncio.get_running_loop().time() - began < 5


async def test_a_drip_is_no_way_round_a_deadline(client: Client) -> None:
    async def dripping(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.say(b"x")
            await asyncio.sleep(0.05)

    async with talking([dripping]) as server:
        answer = await get(client, server)
        with pytest.raises(TimeoutError):
            await answer.block(MIB, 0.5)
        answer.close()
    async with talking([answering()]) as server:
        with pytest.raises(TimeoutError):
            await client.request("PUT", server.workspace, "/", {}, b"x", within_s=0.1)


async def test_a_reader_who_pauses_is_not_overrun(client: Client) -> None:
    """What nobody waits for stays with the server, and no deadline runs meanwhile."""
    sent = 0

    async def generous(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        for _ in range(64):
            await peer.say(bytes(MIB))
            sent += 1

    async with talking([generous]) as server:
        answer = await get(client, server, quiet_s=0.5)
        assert len(await answer.block(MIB, 5.0)) == MIB
        await asyncio.sleep(1.5)
        assert sent < 32
        read = MIB
        while not answer.at_end:
            read += len(await answer.block(8 * MIB, 5.0))
        assert read == 64 * MIB


async def test_a_cancelled_request_gives_its_connection_up(client: Client) -> None:
    async def late(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(0.3)
        await peer.say(sized(b"late"))
        await asyncio.sleep(5)

    async with talking([late, answering(sized(b"2"))]) as server:
        asking = asyncio.create_task(get(client, server))
        await asyncio.sleep(0.1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.sleep(0.4)
        assert await whole(client, server) == b"2"


async def test_a_closed_answer_gives_its_connection_up(client: Client) -> None:
    async with talking([answering(sized(BODY)[:-1]), answering(sized(b"2"))]) as server:
        answer = await get(client, server)
        answer.close()
        answer.close()
        with pytest.raises(ConnectionError):
            await answer.block(MIB, 5.0)
        assert await whole(client, server) == b"2"


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("secure", [False, True])
def test_an_answer_before_the_request_has_ended(
    run: Run, secure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the body would be taken for the next request, or for one of its own."""
    tls = trusted(tmp_path, monkeypatch) if secure else None

    async def early(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 3\r\n\r\n")
        await asyncio.sleep(30)

    async def refused() -> None:
        talks = [early, answering(sized(b"2"))]
        async with talking(talks, tls) as server, contextlib.aclosing(Client()) as client:
            answer = await client.request(
                "PUT", server.workspace, "/", {}, bytes(16 * MIB), within_s=5.0
            )
            assert (answer.status, answer.header("Retry-After")) == (503, "3")
            answer.close()
            assert await whole(client, server, quiet_s=1.0) == b"2"

    run(refused())


@pytest.mark.parametrize("run", LOOPS)
@pytest.mark.parametrize("size_bytes", [100_000, 300_000, 600_000])
def test_a_tail_that_waits_when_the_server_closes(
    run: Run, size_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for memory reads late; what the server sent before it closed is there then."""
    tls = trusted(tmp_path, monkeypatch)
    body = bytes(size_bytes)

    async def closing(peer: Peer) -> None:
        await peer.request()
        await peer.say(sized(body, b"Connection: close"))
        await asyncio.sleep(0.1)
        peer.cut()

    async def late() -> bytes:
        async with talking([closing], tls) as server, contextlib.aclosing(Client()) as client:
            answer = await get(client, server)
            await asyncio.sleep(0.3)
            try:
                return await answer.block(MIB, 5.0)
            finally:
                answer.close()

    assert run(late()) == body


async def test_a_body_behind_the_answer_to_head_is_no_file(client: Client) -> None:
    async def wrong(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        await peer.request()
        await peer.say(sized(b"EVIL"))

    async with talking([wrong, answering(sized(b"good"))]) as server:
        answer = await client.request("HEAD", server.workspace, "/f", {}, quiet_s=5.0)
        answer.close()
        assert await whole(client, server) == b"good"


async def test_a_word_after_the_answer_changes_nothing(client: Client) -> None:
    after = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with talking([answering(sized(b"1", b"ETag: this") + after)]) as server:
        answer = await get(client, server)
        assert (answer.status, answer.header("ETag"), answer.length) == (200, "this", 1)


async def test_a_length_of_thousands_of_digits(client: Client) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"0" * 5_000 + b"5\r\n\r\nhello"
    async with talking([answering(head)]) as server:
        answer = await get(client, server)
        assert (answer.length, await answer.block(MIB, 5.0)) == (None, b"hello")


async def test_chunks_of_two_bytes_take_no_more_memory_than_their_bytes(client: Client) -> None:
    async with talking([answering(chunked(BODY, 2))]) as server:
        answer = await get(client, server)
        tracemalloc.start()
        try:
            assert await answer.block(MIB, 5.0) == BODY
            assert tracemalloc.get_traced_memory()[1] < 8 * len(BODY)
        finally:
            tracemalloc.stop()


async def test_a_head_that_drips_has_a_deadline(client: Client) -> None:
    async def dripping(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await peer.say(b"y")
            await asyncio.sleep(0.05)

    async with talking([dripping]) as server:
        with pytest.raises(TimeoutError):
            await client.request("GET", server.workspace, "/", {}, within_s=0.5, quiet_s=5.0)


async def test_who_connects_while_all_is_closed(client: Client) -> None:
    async with talking([answering(sized(b"1"))]) as server:
        asking = asyncio.create_task(get(client, server))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(asking, 3.0)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(get(client, server), 3.0)


@pytest.mark.parametrize(
    ("head", "goes_on"),
    [
        (b"206 OK\r\nContent-Range: bytes 5-9/10\r\nETag: e", True),
        (b"206 OK\r\nContent-Range: bytes 5-9/*", True),
        (b"206 OK\r\nContent-Range: bytes 5-9/10\r\nETag: f", False),
        (b"206 OK\r\nContent-Range: bytes 0-9/10\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-8/10\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-10/11\r\nETag: e", False),
        (b"206 OK\r\nETag: e", False),
        (b"200 OK\r\nContent-Range: bytes 5-9/10\r\nETag: e", False),
    ],
)
async def test_the_rest_of_a_file(client: Client, head: bytes, *, goes_on: bool) -> None:
    """Another file's bytes, or others of this file, are not appended to what was read."""
    parts = b"HTTP/1.1 " + head + b"\r\nContent-Length: 5\r\n\r\n56789"
    async with talking([answering(parts)]) as server:
        answer = await get(client, server)
        assert Stated(10, None, "e").is_gone_on_with(answer, 5) is goes_on


@pytest.mark.parametrize("body", [b"", b"x" * 3_000])
async def test_an_answer_that_is_over_leaves_nothing_to_collect(
    client: Client, body: bytes
) -> None:
    async with talking([answering(sized(body))]) as server:
        answer = await get(client, server)
        assert await answer.block(MIB, 5.0) == body
        seen = weakref.ref(answer)
        answer.close()
        gc.disable()
        try:
            del answer
            assert seen() is None
        finally:
            gc.enable()


async def test_what_cannot_be_sent_is_not(client: Client) -> None:
    async with talking([answering(sized(b"x"))]) as server:
        for target, headers in (("/", {"If-Match": "a\r\nX: y"}), ("/\n", {}), ("/é", {})):
            with pytest.raises(ValueError):  # noqa: PT011 - of several kinds
                await client.request("GET", server.workspace, target, headers, quiet_s=5.0)
        with pytest.raises(ValueError, match="deadline"):
            await client.request("GET", server.workspace, "/", {})
    assert server.connections == 0


async def test_closing_ends_who_waits(client: Client) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(30)

    async with talking([silent]) as server:
        asking = asyncio.create_task(get(client, server, quiet_s=30))
        await asyncio.sleep(0.1)
        await client.aclose()
        with pytest.raises(ConnectionError):
            await asking


async def test_connecting_has_a_deadline(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_S", 0.3)
    async with talking([answering()]) as server:
        workspace = ("https", "127.0.0.1", server.workspace[2])
        with pytest.raises(TimeoutError):
            await client.request("GET", workspace, "/", {}, quiet_s=5.0)


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and chains are checked; bytes pass whole."""
    files = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*files)
    async with talking([answering(sized(BODY * 10))], tls) as server:
        async with contextlib.aclosing(Client()) as client:
            with pytest.raises(ssl.SSLCertVerificationError):
                await get(client, server)
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        async with contextlib.aclosing(Client()) as client:
            before = server.connections
            for _ in range(2):
                answer = await get(client, server)
                assert await answer.block(4 * MIB, 5.0) == BODY * 10
            assert server.connections == before + 1
            body = bytes(3 * MIB)
            answer = await client.request("PUT", server.workspace, "/", {}, body, within_s=5.0)
            assert answer.status == 200
            answer.close()
            port = server.workspace[2]
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.request("GET", ("https", "127.0.0.1", port), "/", {}, quiet_s=5.0)


def trusted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context whose certificate every new client trusts."""
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
