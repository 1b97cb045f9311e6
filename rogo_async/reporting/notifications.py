"""Tells the receivers of ROGO_NOTIFY_URL how a run began and ended (specification §5).

The forms are those of the Pinging API of healthchecks.io, of the push monitor of Uptime Kuma, and
of incoming webhooks (``{"text": …}``). A receiver never fails a run, nor delays it for more than
``LIMIT_S``. Its URL is a secret: only its host is logged.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from signal import Signals
from typing import Any, Final

import aiohttp
import orjson
import structlog
from yarl import URL

from rogo_async.common.errors import reason_of
from rogo_async.common.notify_urls import NotifyKind, NotifyUrl
from rogo_async.common.proxies import PROXY_AUTHENTICATION, Proxies, ProxyError
from rogo_async.common.shutdown import received_signals

LIMIT_S: Final = 10.0
"""Limit for all notifications at the end of a run together, and for those at its start."""
_LONGEST_TEXT: Final = 1_000
_ANSWER_BYTES: Final = 200
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ping:
    """One request. ``body`` is None for GET."""

    url: URL
    body: bytes | None = None
    content_type: str = _TEXT


def ping_of_start(receiver: NotifyUrl) -> Ping | None:
    """The request at the start of a run; None if this kind of receiver knows only ends."""
    if receiver.kind is NotifyKind.HEALTHCHECKS:
        return Ping(_below(receiver.url, "start"), b"")
    return None


def ping_of_end(receiver: NotifyUrl, text: str, duration_s: float, *, is_success: bool) -> Ping:
    """The request at the end of a run."""
    text = text.encode(errors="replace").decode()
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    match receiver.kind:
        case NotifyKind.HEALTHCHECKS:
            url = receiver.url if is_success else _below(receiver.url, "fail")
            return Ping(url, text.encode())
        case NotifyKind.KUMA:
            status = "up" if is_success else "down"
            query = {"status": status, "msg": text, "ping": str(round(duration_s * 1000))}
            return Ping(receiver.url.update_query(query))
        case NotifyKind.JSON:
            body = orjson.dumps({"text": text})
            return Ping(receiver.url, body, _JSON)


def _below(url: URL, name: str) -> URL:
    return url.with_path(f"{url.raw_path.rstrip('/')}/{name}", encoded=True).with_query(url.query)


class Notifications:
    """The notifications of one run: ``began``, then ``ended``. Create it in a running loop."""

    def __init__(
        self, receivers: Sequence[NotifyUrl], proxies: Proxies, limit_s: float = LIMIT_S
    ) -> None:
        self._receivers = receivers
        self._proxies = proxies
        self._limit_s = limit_s
        self._began_s = time.monotonic()
        self._starts: dict[NotifyUrl, asyncio.Task[None]] = {}

    def began(self) -> None:
        """Send the pings of the start, in the background."""
        for receiver in self._receivers:
            if ping := ping_of_start(receiver):
                sending = self._send(receiver, ping)
                name = f"notifying {receiver.host} of the start"
                self._starts[receiver] = asyncio.create_task(sending, name=name)

    async def ended(self, text: str, *, is_success: bool) -> None:
        """Send the pings of the end. A signal ends the wait for the receivers."""
        if not self._receivers:
            return
        duration_s = time.monotonic() - self._began_s
        stopped = asyncio.Event()

        def stop(number: Signals) -> None:
            log.warning("not waiting for the receivers of notifications", signal=number.name)
            stopped.set()

        with received_signals(stop):
            tasks = [
                asyncio.create_task(
                    self._send_end(
                        receiver, ping_of_end(receiver, text, duration_s, is_success=is_success)
                    ),
                    name=f"notifying {receiver.host} of the end",
                )
                for receiver in self._receivers
            ]
            waiting = asyncio.create_task(stopped.wait(), name="waiting for a signal")
            sending: asyncio.Future[list[None]] = asyncio.gather(*tasks)
            either: set[asyncio.Future[Any]] = {sending, waiting}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for task in (*tasks, *self._starts.values(), waiting):
                task.cancel()
            await asyncio.gather(sending, waiting, return_exceptions=True)

    async def _send_end(self, receiver: NotifyUrl, ping: Ping) -> None:
        """Send the last ping, after the first one: a late start would count as a new run."""
        half_s = self._limit_s / 2
        if start := self._starts.get(receiver):
            await asyncio.wait({start}, timeout=half_s)
            start.cancel()
            await asyncio.wait({start})
        await self._send(receiver, ping, half_s if start else self._limit_s)

    async def _send(self, receiver: NotifyUrl, ping: Ping, limit_s: float | None = None) -> None:
        try:
            async with asyncio.timeout(limit_s or self._limit_s):
                reason = await self._refusal(receiver, ping)
        except ProxyError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a receiver never fails a run
            reason = reason_of(error)
        if reason is not None:
            log.warning(
                "a notification was not delivered",
                kind=receiver.kind.value,
                host=receiver.host,
                reason=reason,
                remedy="check ROGO_NOTIFY_URL and its receiver",
            )

    async def _refusal(self, receiver: NotifyUrl, ping: Ping) -> str | None:
        """Send a request. Returns why the receiver did not accept it, or None."""
        method = "GET" if ping.body is None else "POST"
        headers = {"User-Agent": "rogo_async"}
        if ping.body is not None:
            headers["Content-Type"] = ping.content_type
        try:
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.request(
                    method,
                    ping.url,
                    data=ping.body,
                    headers=headers,
                    proxy=self._proxies.proxy_for(ping.url),
                    allow_redirects=False,
                ) as response,
            ):
                if response.status == PROXY_AUTHENTICATION and self._proxies.proxy_for(ping.url):
                    raise self._proxies.refusal(ping.url, response.status)
                if not 200 <= response.status < 300:
                    return f"it answered {response.status}"
                answer = await response.content.read(_ANSWER_BYTES)
        except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
            raise self._proxies.error_of(ping.url, error) from None
        # healthchecks.io answers 200 also for a check that does not exist.
        if receiver.kind is NotifyKind.HEALTHCHECKS and b"not found" in answer:
            return "it knows no such check"
        return None
