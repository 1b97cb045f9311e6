"""Files over HTTP: their headers, and how they are resumed after a broken connection."""

import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator

import pytest

from rogo_async.common.call_stats import CallStats
from rogo_async.common.errors import Dependency, FailureCode, RowError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.retry import CircuitBreaker, Probe
from rogo_async.common.shutdown import StopSignal
from rogo_async.common.urls import AllowList
from rogo_async.sources import http_files
from rogo_async.sources.answers import FileInfo
from rogo_async.sources.http_files import Restart, SourceFile, Sources
from tests.support.raw_server import Peer, RawServer, Script, raw_server, responding


@pytest.mark.parametrize(
    ("head", "continues"),
    [
        (b"206 OK\r\nContent-Range: bytes 5-9/10\r\nETag: e", True),
        (b"206 OK\r\nContent-Range: bytes 5-9/*", True),
        (b"206 OK\r\nContent-Range: bytes 5-9/10\r\nContent-Encoding: gzip", True),
        (b"206 OK\r\nContent-Range: bytes 5-9/10\r\nETag: f", False),
        (b"206 OK\r\nContent-Range: bytes 0-9/10\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-8/10\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-8/*\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-10/*\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-10/11\r\nETag: e", False),
        (b"206 OK\r\nContent-Range: bytes 5-9/10\r\nContent-Encoding: br", False),
        (b"206 OK\r\nETag: e", False),
        (b"200 OK\r\nContent-Range: bytes 5-9/10\r\nETag: e", False),
    ],
)
async def test_the_rest_of_a_file(head: bytes, *, continues: bool) -> None:
    """Bytes of another file, or other bytes of this file, are not appended."""
    answer = b"HTTP/1.1 " + head + b"\r\nContent-Length: 5\r\n\r\n56789"
    async with (
        raw_server(responding(answer)) as server,
        contextlib.aclosing(HttpSession()) as http,
    ):
        response = await http.request("GET", server.url(), {}, within_s=5.0)
        response.close()
        info = FileInfo(10, None, "e", content_encoding="gzip")
        assert info.is_continued_by(response, 5) is continues


def cut_after(*parts: bytes) -> Script:
    """Answers with these bytes, then resets the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*parts)
        await peer.reader.read(1)  # the client has closed the connection: it has read what it needs

    return script


BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n%s\r\n01234567"
REST = b"HTTP/1.1 206 OK\r\nContent-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789"


def sources_of(server: RawServer, http: HttpSession) -> Sources:
    def breaker_for(probe: Probe, host: str) -> CircuitBreaker:
        return CircuitBreaker(Dependency.SOURCE, probe, StopSignal(), CallStats(), 9.0, host=host)

    return Sources(http, AllowList(frozenset({server.origin})), {}, breaker_for)


@contextlib.asynccontextmanager
async def begun(server: RawServer) -> AsyncIterator[SourceFile]:
    """A file of ten bytes whose first five have been read; its connection is lost then."""
    async with contextlib.aclosing(HttpSession()) as http:
        file = sources_of(server, http).file(server.url())
        await file.begin()
        assert await file.block() == b"01234"
        file.close()
        yield file
        file.close()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_files, "BLOCK_BYTES", 5)


async def test_the_rest_is_requested_of_the_same_version_of_the_file() -> None:
    first = cut_after(BEGUN % b'ETag: "e"\r\n')
    async with raw_server(first, responding(REST)) as server, begun(server) as file:
        assert await file.block() == b"56789"
        assert file.at_end()
        whole, rest = server.requests
    assert b"Range:" not in whole
    assert b"If-Match:" not in whole
    assert b"\r\nRange: bytes=5-\r\n" in rest
    assert b'\r\nIf-Match: "e"\r\n' in rest


@pytest.mark.parametrize("status", [b"412 Changed", b"416 Shorter", b"200 OK"])
async def test_a_file_that_has_changed_is_read_from_its_start(status: bytes) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\nabcde"
    first = cut_after(BEGUN % b'ETag: "e"\r\n')
    async with raw_server(first, responding(answer)) as server, begun(server) as file:
        with pytest.raises(Restart):
            await file.block()


async def test_a_file_without_a_version_is_read_from_its_start() -> None:
    async with raw_server(cut_after(BEGUN % b"")) as server, begun(server) as file:
        with pytest.raises(Restart):
            await file.block()
        assert len(server.requests) == 1


async def test_a_part_that_was_not_requested_is_not_the_file() -> None:
    async with raw_server(responding(REST)) as server, contextlib.aclosing(HttpSession()) as http:
        file = sources_of(server, http).file(server.url())
        with pytest.raises(RowError) as found:
            await file.begin()
    assert found.value.code is FailureCode.SOURCE_REFUSED


MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="


@pytest.mark.parametrize(
    ("headers", "info"),
    [
        (f'Content-MD5: {MD5}\r\nETag: "e"', FileInfo(5, b64decode(MD5), '"e"')),
        ("Content-MD5: AAAA", FileInfo(5)),
        (f"Content-MD5: {MD5}AAAA", FileInfo(5)),
        ("Content-MD5: no MD5", FileInfo(5)),
        ("Content-Encoding: GZIP, identity", FileInfo(5, content_encoding="gzip")),
        (
            "Content-Encoding: br\r\nContent-Encoding: gzip",
            FileInfo(5, content_encoding="br, gzip"),
        ),
        ("Content-Encoding: identity", FileInfo(5)),
        ("Content-Language:  en-GB, cy ", FileInfo(5, content_language="en-GB, cy")),
        ("Content-Language: what is this?", FileInfo(5)),
    ],
)
async def test_the_headers_of_a_file(headers: str, info: FileInfo) -> None:
    """An MD5 that is none would refuse every file of its host."""
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{headers}\r\n\r\n"
    async with (
        raw_server(responding(head.encode() + b"01234")) as server,
        contextlib.aclosing(HttpSession()) as http,
    ):
        file = sources_of(server, http).file(server.url())
        await file.begin()
        assert file.info == info
        file.close()


@pytest.mark.parametrize("encoding", ["no encoding", "a, b, c, d, e, f"])
async def test_a_file_of_unknown_encoding_is_refused(encoding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: {encoding}\r\n\r\n"
    async with (
        raw_server(responding(head.encode() + b"01234")) as server,
        contextlib.aclosing(HttpSession()) as http,
    ):
        with pytest.raises(RowError) as found:
            await sources_of(server, http).file(server.url()).begin()
    assert found.value.code is FailureCode.SOURCE_REFUSED
