"""The SAS of a source file's URL: the host's own, or the one inside the URL."""

import re
from datetime import UTC, datetime
from typing import Final

from yarl import URL

_SAS_PARAMETERS: Final = frozenset(
    {"sv", "ss", "srt", "sp", "st", "se", "spr", "sip", "sig", "sr", "si", "sdd", "saoid"}
    | {"suoid", "scid", "ses", "skoid", "sktid", "skt", "ske", "sks", "skv"}
    | {"rscc", "rscd", "rsce", "rscl", "rsct"}
)
"""Microsoft: "Create a service SAS", "Create a user delegation SAS", "Create an account SAS"."""
_EXPIRY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9:.]{5,16}Z)?")


def has_signature(url: URL) -> bool:
    """Whether the URL contains a SAS."""
    return any(_name(part) == "sig" for part in url.raw_query_string.split("&"))


def signed(url: URL, token: str | None) -> URL:
    """The URL with the host's SAS. A URL that already has a signature is unchanged."""
    if token is None or has_signature(url):
        return url
    return URL(f"{url}{'&' if url.raw_query_string else '?'}{token}", encoded=True)


def without_signature(url: URL) -> URL:
    """The URL without the SAS that it contains; its other parameters stay."""
    address, _, query = str(url).partition("?")
    kept = [part for part in query.split("&") if part and _name(part) not in _SAS_PARAMETERS]
    return URL(f"{address}?{'&'.join(kept)}" if kept else address, encoded=True)


def expiry_text(url: URL, now: datetime) -> str:
    """What to say about the end of the SAS inside the URL: `` expired on 2025-01-31``, or empty."""
    text = url.query.get("se", "")
    if not _EXPIRY.fullmatch(text):
        return ""
    try:
        expiry = datetime.fromisoformat(text)
    except ValueError:
        return ""
    if expiry.tzinfo is None:
        expiry = expiry.replace(tzinfo=UTC)
    return f" expired on {text}" if expiry <= now else ""


def _name(part: str) -> str:
    return part.partition("=")[0].lower()
