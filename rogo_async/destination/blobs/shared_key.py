"""Signs requests with an account key (Azure Storage, Authorize with Shared Key)."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Final

_SIGNED: Final = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)
"""The standard headers in a signature, in order. It also covers every ``x-ms-`` header."""


class SharedKey:
    """Signs with the key of one account. Raises ValueError if the key is not base64."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        # Copied for each request, so that the key is processed once. With a Python function the
        # library keeps two digests, which are faster to copy than OpenSSL's HMAC: 2.1 µs per
        # signature instead of 2.3 µs, and 3.3 µs without a copy.
        self._hmac = hmac.new(base64.b64decode(key, validate=True), digestmod=_sha256)

    def signed(
        self, method: str, path: str, headers: Mapping[str, str], body_bytes: int
    ) -> dict[str, str]:
        """The headers with ``x-ms-date`` and ``Authorization``, valid for 15 minutes.

        ``path`` is percent-encoded, as it is sent, and has no query. With an emulator it includes
        the account name. ``headers`` include ``x-ms-version`` 2015-02-21 or later; their values
        have no white space at the ends.
        """
        dated = {**headers, "x-ms-date": _date(int(time.time()))}
        lower = {name.lower(): value for name, value in dated.items()}
        if body_bytes:
            lower["content-length"] = str(body_bytes)
        lines = [
            method,
            *[lower.get(name, "") for name in _SIGNED],
            *[f"{name}:{value}" for name, value in sorted(lower.items()) if name[:5] == "x-ms-"],
            f"/{self._account}{path}",
        ]
        mac = self._hmac.copy()
        mac.update("\n".join(lines).encode())
        signature = base64.b64encode(mac.digest()).decode()
        dated["Authorization"] = f"SharedKey {self._account}:{signature}"
        return dated


def _sha256(data: bytes = b"") -> "hashlib._Hash":
    return hashlib.sha256(data)


@lru_cache(1)
def _date(second: int) -> str:
    """A Unix time in seconds as an HTTP date."""
    return formatdate(second, usegmt=True)
