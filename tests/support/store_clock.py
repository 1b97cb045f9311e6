"""A store whose clock differs from the clock of this machine: a proxy changes its Date headers."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final

from rogo_async.demo.servers.stack import Stack
from tests.support.tcp_proxy import TcpProxy

_DATE: Final = re.compile(rb"(?<=\r\nDate: )[^\r]+", re.IGNORECASE)
_STORE: Final = "AZURE_STORAGE_CONNECTION_STRING"


@asynccontextmanager
async def store_clock(
    stack: Stack, env: dict[str, str], ahead: timedelta | None
) -> AsyncIterator[dict[str, str]]:
    """The environment with a store whose clock is ``ahead``; None: it does not state its time.

    Only the headers change: the times of the blobs in listings stay.
    """

    def changed(found: re.Match[bytes]) -> bytes:
        if ahead is None:
            return b"?".ljust(len(found[0]))
        moment = parsedate_to_datetime(found[0].decode()) + ahead
        return format_datetime(moment, usegmt=True).encode()

    async with TcpProxy("127.0.0.1", stack.azurite.port) as proxy:
        proxy.on_reply = lambda chunk: _DATE.sub(changed, chunk)
        address = f":{stack.azurite.port}/", f":{proxy.port}/"
        yield {**env, _STORE: env[_STORE].replace(*address)}
