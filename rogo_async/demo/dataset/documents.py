"""Source files: their sizes, types and bytes.

The bytes are random: the migration copies files and never opens them.
"""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

CONTENT_TYPES = {
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "pdf": "application/pdf",
    "txt": "text/plain",
}
"""The content type that a migrated file must have, by file name extension."""

CHUNK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BlobSpec:
    """A file at the source. Its bytes are generated on demand and depend on ``seed`` only.

    ``path`` is percent-encoded and relative to the URL of the container. ``md5_is_wrong``: the
    store reports an MD5 that differs from that of the bytes.
    """

    path: str
    extension: str
    seed: int
    size_bytes: int
    md5_is_wrong: bool = False

    def chunks(self) -> Iterator[bytes]:
        """The bytes in chunks of at most CHUNK_BYTES, the same on every call."""
        rng = random.Random(self.seed)
        for start in range(0, self.size_bytes, CHUNK_BYTES):
            yield rng.randbytes(min(CHUNK_BYTES, self.size_bytes - start))

    def body(self) -> bytes:
        """All bytes at once."""
        return b"".join(self.chunks())

    def md5(self) -> bytes:
        """The MD5 of the bytes, computed on every call."""
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.chunks():
            digest.update(chunk)
        return digest.digest()
