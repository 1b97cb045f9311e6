"""Which addresses may be fetched, and what a cell of addresses and names says (specification §1).

An address is taken apart once, here, and put together again from its checked parts. What is
compared with the allow-list is the very URL object that is fetched, so no two parsers can
disagree about where it leads.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote, unquote

from yarl import URL

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import quoted

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HIGHEST_PORT: Final = 65_535
_LONGEST_HOST: Final = 253

_ADDRESS: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>(?:/[^?]*)?)(?:\?(?P<query>.*))?"
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_TREACHEROUS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# A `#` is encoded, not cut off: a blob's address has no fragment, its name may have a `#`.
_UNSAFE_IN_PATH: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")
# A query may be a signature: whatever can travel as it is does so, byte for byte.
_UNSAFE_IN_QUERY: Final = re.compile(r"[^!-\"$-~]")

Origin = tuple[str, str, int]


def origin(url: URL) -> Origin:
    """Give scheme, host (lower case, ASCII) and port: what the allow-list compares."""
    return url.scheme, url.raw_host or "", url.port or 0


@dataclass(frozen=True, slots=True)
class AllowList:
    """The scheme, host and port of every server whose files may be fetched."""

    origins: frozenset[Origin]

    @classmethod
    def from_hosts(cls, entries: Sequence[str]) -> "AllowList":
        """Read the entries of ROGO_SOURCE_HOSTS; ``host`` alone means https on 443.

        Raises ValueError that tells which entry is wrong; it quotes none, for an entry with
        user-info holds a secret.
        """
        if not entries:
            raise ValueError("the allow-list of source hosts is empty")
        origins: set[Origin] = set()
        for number, entry in enumerate(entries, start=1):
            try:
                origins.add(_origin_of_entry(entry.strip()))
            except ValueError as error:
                raise ValueError(f"source host {number}: {error}") from None
        return cls(frozenset(origins))

    def permit(self, url: str) -> URL:
        """Give the URL to fetch for an address of the row (rule 14).

        Existing %XX and the query stay as they are; what cannot travel is percent-encoded.

        Raises RowError source_not_allowed; its message tells scheme, host and port only.
        """
        try:
            parsed = _parse(url)
        except ValueError as error:
            raise RowError(FailureCode.SOURCE_NOT_ALLOWED, str(error)) from None
        found = origin(parsed)
        if found not in self.origins:
            scheme, host, port = found
            raise RowError(
                FailureCode.SOURCE_NOT_ALLOWED,
                f"{quoted(f'{scheme}://{_in_url(host)}:{port}')} is not on the allow-list",
            )
        return parsed


def name_in_url(url: str) -> str:
    """Give the last segment of an address's path, percent-decoded; empty when there is none."""
    address = _ADDRESS.fullmatch(url.strip())
    path = address["path"] if address else url.partition("?")[0]
    return unquote(path.rpartition("/")[2]).strip()


def _parse(text: str) -> URL:
    """Give a URL whose parts are checked. Raises ValueError, whose text quotes no secret part."""
    address = _taken_apart(text)
    scheme, host, port = _origin_of(address["scheme"], address["authority"])
    try:
        path = _encoded(_UNSAFE_IN_PATH, address["path"] or "/")
        query = _encoded(_UNSAFE_IN_QUERY, address["query"] or "")
    except UnicodeEncodeError:
        raise ValueError("the address is not valid Unicode") from None
    authority = _in_url(host)
    if port != _DEFAULT_PORTS[scheme]:
        authority = f"{authority}:{port}"
    tail = f"?{query}" if query else ""
    return URL(f"{scheme}://{authority}{path}{tail}", encoded=True)


def _taken_apart(text: str) -> re.Match[str]:
    trimmed = text.strip()
    if _TREACHEROUS.search(trimmed):
        raise ValueError("the address has a backslash or a control character in it")
    address = _ADDRESS.fullmatch(trimmed)
    if address is None:
        raise ValueError("the address is no URL of the form https://host/path")
    return address


def _origin_of_entry(entry: str) -> Origin:
    if not entry:
        raise ValueError("the entry is empty")
    address = _taken_apart(entry if "://" in entry else f"https://{entry}")
    if address["path"] or address["query"] is not None:
        raise ValueError("neither path nor query belongs here, only scheme, host and port")
    return _origin_of(address["scheme"], address["authority"])


def _origin_of(scheme: str, authority: str) -> Origin:
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise ValueError(f"scheme {quoted(scheme)} is neither http nor https")
    if "@" in authority:
        raise ValueError("the address contains a user name or password")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError("the address has no valid host and port")
    port = int(parts["port"] or _DEFAULT_PORTS[scheme])
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"port {port} does not exist")
    return scheme, _ascii_host(parts["host"]), port


def _ascii_host(host: str) -> str:
    """Give a host in lower case and ASCII (IDNA), an IPv6 address without its brackets."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]).compressed
        if not host.isascii() and len(host) <= _LONGEST_HOST:
            host = URL.build(scheme="https", host=host).raw_host or ""
    except ValueError:
        raise ValueError("the address has no valid host") from None
    host = host.lower()
    if len(host) > _LONGEST_HOST or not _HOST.fullmatch(host):
        raise ValueError("the address has no valid host")
    return host


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _encoded(unsafe: re.Pattern[str], text: str) -> str:
    return unsafe.sub(lambda match: quote(match[0], safe=""), text)
