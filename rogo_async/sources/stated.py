"""What a source says of a file before its bytes come."""

import binascii
import re
from dataclasses import dataclass
from typing import Final, Self

from rogo_async.common.http.exchange import Exchange

_RANGE: Final = re.compile(
    r"bytes (?P<first>[0-9]{1,19})-(?P<last>[0-9]{1,19})/(?P<total>[0-9]{1,19}|\*)"
)


@dataclass(frozen=True, slots=True)
class Stated:
    """What the source says of a file before its bytes come; None where it says nothing."""

    size_bytes: int | None = None
    md5: bytes | None = None
    etag: str | None = None

    @classmethod
    def by(cls, answer: Exchange) -> Self:
        """What an answer for the whole file states."""
        try:
            md5 = binascii.a2b_base64(answer.header("Content-MD5") or "", strict_mode=True)
        except ValueError:
            md5 = b""
        etag = answer.header("ETag")
        return cls(
            size_bytes=answer.length,
            md5=md5 if len(md5) == 16 else None,
            etag=etag if etag is not None and etag.isascii() else None,
        )

    def is_gone_on_with(self, answer: Exchange, offset: int) -> bool:
        """Whether an answer holds the rest of this very file, from ``offset`` to its end."""
        found = _RANGE.fullmatch(answer.header("Content-Range") or "")
        if answer.status != 206 or found is None or int(found["first"]) != offset:
            return False
        if answer.header("ETag") not in {None, self.etag}:
            return False
        if found["total"] == "*":
            return self.size_bytes in {None, int(found["last"]) + 1}
        total = int(found["total"])
        return int(found["last"]) == total - 1 and self.size_bytes in {None, total}
