"""Files that are resumed after a broken connection."""

import contextlib

import pytest

from rogo_async.common.http_session import HttpSession
from rogo_async.sources.http_files import FileInfo
from tests.support.raw_server import raw_server, responding


@pytest.mark.parametrize(
    ("head", "continues"),
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
async def test_the_rest_of_a_file(head: bytes, *, continues: bool) -> None:
    """Bytes of another file, or other bytes of this file, are not appended."""
    answer = b"HTTP/1.1 " + head + b"\r\nContent-Length: 5\r\n\r\n56789"
    async with (
        raw_server(responding(answer)) as server,
        contextlib.aclosing(HttpSession()) as http,
    ):
        response = await http.request("GET", server.url(), {}, within_s=5.0)
        response.close()
        assert FileInfo(10, None, "e").is_continued_by(response, 5) is continues
