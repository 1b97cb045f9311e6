"""What a Shared Key signature covers, written from the documentation alone.

Source: Azure Storage REST API, "Authorize with Shared Key", version 2015-02-21 and later.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

_STANDARD: Final = (
    *("Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type"),
    *("Date", "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range"),
)


def string_to_sign(method: str, url: URL, headers: Mapping[str, str], account: str) -> str:
    """The text that is signed. Names of ``headers`` may have any case."""
    lower = {name.lower(): re.sub(r"\s+", " ", value) for name, value in headers.items()}
    if lower.get("content-length") == "0":
        del lower["content-length"]
    if "x-ms-date" in lower:
        lower.pop("date", None)
    standard = [lower.get(name.lower(), "") for name in _STANDARD]
    canonical = [f"{name}:{lower[name]}" for name in sorted(lower) if name.startswith("x-ms-")]
    parameters = [
        f"{name.lower()}:{','.join(sorted(url.query.getall(name)))}"
        for name in sorted(set(url.query))
    ]
    return "\n".join([method, *standard, *canonical, f"/{account}{url.raw_path}", *parameters])


def shared_key_header(text: str, account: str, key: str) -> str:
    """The Authorization header for this text."""
    digest = hmac.new(base64.b64decode(key), text.encode("utf-8"), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(digest).decode()}"
