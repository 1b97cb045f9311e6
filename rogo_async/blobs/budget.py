"""A bound on the bytes of files that are in memory at one time, over all consumers."""

import asyncio
from collections import deque
from typing import Final

IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024


class ByteBudget:
    """Hands out bytes in the order of asking. Nobody may hold one share while asking another."""

    def __init__(self, limit_bytes: int = IN_FLIGHT_BYTES) -> None:
        self._free = limit_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def share(self, size_bytes: int) -> "Share":
        """Hold ``size_bytes`` (at most BLOCK_BYTES) for the length of an async with block."""
        return Share(self, size_bytes)

    async def take(self, size_bytes: int) -> None:
        """Return when so many bytes are free, and hold them."""
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
            elif entry in self._waiting:  # _hand_out passes over one that is cancelled
                self._waiting.remove(entry)
            self._hand_out()
            raise

    def give_back(self, size_bytes: int) -> None:
        """Let go of bytes that were taken."""
        self._free += size_bytes
        self._hand_out()

    def _hand_out(self) -> None:
        while self._waiting and self._free >= self._waiting[0][0]:
            size_bytes, turn = self._waiting.popleft()
            if not turn.done():
                self._free -= size_bytes
                turn.set_result(None)


class Share:
    """Bytes that are held for the length of an async with block.

    No ``asynccontextmanager``: the loop would register a generator for each file.
    """

    __slots__ = ("_budget", "_size_bytes")

    def __init__(self, budget: ByteBudget, size_bytes: int) -> None:
        self._budget = budget
        self._size_bytes = size_bytes

    async def __aenter__(self) -> None:
        await self._budget.take(self._size_bytes)

    async def __aexit__(self, *_: object) -> None:
        self._budget.give_back(self._size_bytes)
