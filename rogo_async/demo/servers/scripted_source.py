"""An HTTP source with configurable responses and failures."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Self

from aiohttp import web

from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.demo.servers.process import require_free_port

SHUTDOWN_TIMEOUT_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a path.

    ``location`` sets the header of that name (with status 301, 302, 307 …). ``delay_s`` is the
    delay before the response. With ``truncate_at`` the response declares its full length, sends
    that many bytes, and closes the connection. With ``times``, that many requests (HEAD or GET)
    get this response and later ones get ``then``.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    location: str | None = None
    truncate_at: int | None = None
    delay_s: float = 0.0
    times: int | None = None
    then: "Answer | None" = None

    def __post_init__(self) -> None:
        if (self.times is None) != (self.then is None):
            raise ValueError("times and then belong together")

    def after(self, answered: int) -> "Answer":
        """The response to the next request after ``answered`` requests."""
        if self.times is None or self.then is None or answered < self.times:
            return self
        return self.then.after(answered - self.times)


NOT_FOUND: Final = Answer(status=404)
FORBIDDEN: Final = Answer(status=403)


class ScriptedSource:
    """An HTTP server on 127.0.0.1 in this process; ``routes`` may change at any time.

    Paths are percent-encoded and without the query. A path without a route gets status 404.
    ``requests`` has method and path of every request in order of arrival, ``queries`` the query
    of each. With ``port`` 0, the first start uses a free port and keeps it.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.routes: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        self.queries: list[str] = []
        self.accepted_query: str | None = None
        """If set, a request with another query gets status 403."""
        self._asked: dict[str, tuple[Answer, int]] = {}
        self._held: frozenset[str] = frozenset()
        self._released = asyncio.Event()
        self._released.set()
        self._runner: web.ServerRunner | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, as in ROGO_SOURCE_HOSTS."""
        return f"http://{LOOPBACK}:{self.port}"

    def url(self, path: str) -> str:
        """The URL of a path that begins with a slash."""
        return self.origin + path

    async def start(self) -> None:
        """Starts to listen. Raises ServerStartError when the port is in use."""
        if self.port:
            require_free_port(self.port)
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, LOOPBACK, self.port, reuse_address=True)
        await site.start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops the server if it is running, and aborts open requests."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def forget(self) -> None:
        """Clears the routes and the recorded requests."""
        self.routes.clear()
        self.requests.clear()
        self.queries.clear()
        self.accepted_query = None
        self._asked.clear()

    @contextmanager
    def held(self, *paths: str) -> Iterator[None]:
        """In this block the responses to these paths, or to all, wait for its end.

        The requests are recorded when they arrive.
        """
        self._held = frozenset(paths)
        self._released.clear()
        try:
            yield
        finally:
            self._released.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    def _due(self, path: str) -> Answer:
        scripted = self.routes.get(path, NOT_FOUND)
        known, answered = self._asked.get(path, (scripted, 0))
        if known is not scripted:
            answered = 0
        self._asked[path] = (scripted, answered + 1)
        return scripted.after(answered)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        self.requests.append((request.method, path))
        self.queries.append(query)
        allowed = self.accepted_query in {None, query}
        answer = self._due(path) if allowed else FORBIDDEN
        if not self._held or path in self._held:
            await self._released.wait()
        await asyncio.sleep(answer.delay_s)
        headers = dict(answer.headers)
        if answer.location is not None:
            headers["Location"] = answer.location
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = len(answer.body)
        await response.prepare(request)
        if request.method != "HEAD":
            await response.write(answer.body[: answer.truncate_at])
            if answer.truncate_at is not None and request.transport is not None:
                request.transport.close()
        return response
