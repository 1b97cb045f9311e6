"""A proxy before Azurite that answers the batch request, which Azurite does not implement.

It sends each part of a batch to Azurite as a request of its own, and passes on all else. So
conditions and statuses are Azurite's. Source: Azure Storage REST API, "Blob Batch".
"""

import email
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
from aiohttp import web

from tests.support.store_proxy import StoreProxy

_BOUNDARY: Final = "batchresponse_1"


async def _nothing() -> None:
    """Before a batch."""


class BatchProxy(StoreProxy):
    """``change`` may replace the statuses in the answer to a batch; None: the answer is lost."""

    def __init__(self, azurite: str, session: aiohttp.ClientSession) -> None:
        super().__init__(azurite, session)
        self.batches: list[int] = []
        """The number of parts of each batch request."""
        self.before_batch: Callable[[], Awaitable[None]] = _nothing
        self.change: Callable[[list[int]], list[int] | None] = lambda statuses: statuses

    @property
    def singles(self) -> int:
        """DELETE requests outside of batches."""
        return sum(request.operation == "DELETE" for request in self.requests)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a request of the SDK."""
        if request.query.get("comp") != "batch":
            return await super().answer(request)
        answer = await self._batch(request.headers["Content-Type"], await request.read())
        if answer is None and request.transport is not None:
            request.transport.abort()
        return answer or web.Response(status=500)

    async def _batch(self, content_type: str, body: bytes) -> web.Response | None:
        await self.before_batch()
        boundary = b"--" + content_type.partition("boundary=")[2].strip('"').encode()
        # Each part has headers of its own, a blank line, and a request.
        parts = [part.partition(b"\r\n\r\n")[2] for part in body.split(boundary)[1:-1]]
        self.batches.append(len(parts))
        statuses = [await self._part(part) for part in parts]
        changed = self.change(statuses)
        if changed is None:
            return None
        text = "".join(
            f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
            f"HTTP/1.1 {status} Status\r\nx-ms-request-id: {number}\r\n\r\n\r\n"
            for number, status in enumerate(changed)
        )
        return web.Response(
            status=202,
            headers={"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"},
            body=f"{text}--{_BOUNDARY}--\r\n".encode(),
        )

    async def _part(self, payload: bytes) -> int:
        line, _, rest = payload.partition(b"\r\n")
        method, path, _version = line.decode().split(" ")
        headers = dict(email.message_from_bytes(rest).items())
        status, _headers, _body = await self.send(method, path, headers, b"")
        return status
