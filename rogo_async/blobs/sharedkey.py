"""Requests signed one by one with an account's key (Azure Storage, Authorize with Shared Key)."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from email.utils import formatdate
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
"""The standard headers that a signature covers, in its order; it covers every ``x-ms-`` header."""


class SharedKey:
    """Signs with one account's key, which is base64. Raises ValueError where it is not."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key, validate=True)

    def signed(
        self, method: str, path: str, headers: Mapping[str, str], body_bytes: int
    ) -> dict[str, str]:
        """The headers with ``x-ms-date`` and ``Authorization``, good for a quarter of an hour.

        ``path`` is percent-encoded as it is sent, the account's own part of an emulator's included;
        it has no query. ``headers`` have ``x-ms-version`` 2015-02-21 or later among them.
        """
        dated = {**headers, "x-ms-date": formatdate(usegmt=True)}
        lower = {name.lower(): value.strip() for name, value in dated.items()}
        if body_bytes:
            lower["content-length"] = str(body_bytes)
        lines = [
            method,
            *(lower.get(name, "") for name in _SIGNED),
            *(f"{name}:{lower[name]}" for name in sorted(lower) if name.startswith("x-ms-")),
            f"/{self._account}{path}",
        ]
        digest = hmac.digest(self._key, "\n".join(lines).encode(), hashlib.sha256)
        signature = base64.b64encode(digest).decode()
        dated["Authorization"] = f"SharedKey {self._account}:{signature}"
        return dated
