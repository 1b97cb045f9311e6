"""The piece of a file that is in memory at one time."""

from typing import Final

import aiohttp

BLOCK_BYTES: Final = 8 * 1024 * 1024
"""Files up to this size are held whole and stored in one request; larger ones pass through in
blocks of it, each a request, and two requests more.
"""

Block = bytes | bytearray


async def next_block(content: aiohttp.StreamReader) -> Block:
    """The next BLOCK_BYTES of a body, fewer at its end; a small one is handed on as it came."""
    first = await content.read(BLOCK_BYTES)
    if not first or len(first) == BLOCK_BYTES or content.at_eof():
        return first
    block = bytearray(first)
    while len(block) < BLOCK_BYTES and (part := await content.read(BLOCK_BYTES - len(block))):
        block += part
    return block
