"""A bound on the bytes of files that are in memory at one time, over all consumers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024


class ByteBudget:
    """Hands out bytes in the order of asking. Nobody may hold one share while asking another."""

    def __init__(self, limit_bytes: int = IN_FLIGHT_BYTES) -> None:
        self._free = limit_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def share(self, size_bytes: int) -> AsyncIterator[None]:
        """Hold ``size_bytes`` (at most BLOCK_BYTES) for the length of the with block."""
        await self._take(size_bytes)
        try:
            yield
        finally:
            self._free += size_bytes
            self._hand_out()

    async def _take(self, size_bytes: int) -> None:
        if not self._waiting and self._free >= size_bytes:
            self._free -= size_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size_bytes, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free += size_bytes
            else:
                self._waiting.remove(entry)
            self._hand_out()
            raise

    def _hand_out(self) -> None:
        while self._waiting and self._free >= self._waiting[0][0]:
            size_bytes, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size_bytes
                turn.set_result(None)
