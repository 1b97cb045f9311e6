"""The piece of a file that is in memory at one time."""

from typing import Final

BLOCK_BYTES: Final = 8 * 1024 * 1024
"""Files up to this size are held whole and stored in one request; larger ones pass through in
blocks of it, each a request, and two requests more.
"""

Block = bytes
