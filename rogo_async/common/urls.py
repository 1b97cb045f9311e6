"""URLs of source files, and the allow-list of their hosts (rule 14).

A URL is parsed once, here, and rebuilt from its validated parts. The same object is compared with
the allow-list and requested, so two parsers cannot disagree about its host.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import quote, unquote

from yarl import URL

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import quoted

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65_535
_MAX_HOST_LENGTH: Final = 253

_ADDRESS: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)"
    r"(?P<path>(?:/[^?]*)?)(?:\?(?P<query>.*))?"
)
_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{0,5}))?")
_HOST: Final = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
_FORBIDDEN_CHARACTERS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
# `#` is encoded, not cut off: the URL of a blob has no fragment, but its name may contain `#`.
_UNSAFE_IN_PATH: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")
# A query may be a signature, so its characters are kept unchanged where possible.
_UNSAFE_IN_QUERY: Final = re.compile(r"[^!-\"$-~]")

Origin = tuple[str, str, int]


def origin(url: URL) -> Origin:
    """Scheme, host (lower case, ASCII) and port of a URL, as the allow-list compares them."""
    return url.scheme, url.raw_host or "", url.port or 0


@dataclass(frozen=True, slots=True)
class AllowList:
    """The scheme, host and port of each server from which files may be downloaded."""

    origins: frozenset[Origin]

    @classmethod
    def from_hosts(cls, entries: Sequence[str]) -> "AllowList":
        """Parse the entries of ROGO_SOURCE_HOSTS; ``host`` alone means https on port 443.

        Raises ValueError with the number of the invalid entry. It does not quote the entry,
        which may contain a password.
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
        """The URL to request for an address of a row (rule 14).

        Keeps existing %XX and the query; percent-encodes characters that a URL cannot contain.

        Raises RowError source_not_allowed, whose message has scheme, host and port only.
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
                f"{quoted(f'{scheme}://{_bracketed(host)}:{port}')} is not on the allow-list",
            )
        return parsed


def parse_endpoint(text: str) -> str:
    """Parse the URL of a storage account's blob service; returns it without a slash at the end.

    Raises ValueError, whose text quotes no secret. http is allowed only for this machine: keys,
    tokens and people's files would be sent unencrypted.
    """
    form = "use the form https://ACCOUNT.blob.core.windows.net"
    try:
        url = _parse(text)
    except ValueError as error:
        raise ValueError(f"is not the URL of a blob service ({error}): {form}") from None
    if url.query_string or "#" in text:
        raise ValueError(f"is not the URL of a blob service (it has a query): {form}")
    if url.path.strip("/").count("/"):
        raise ValueError(f"is not the URL of a blob service (it has a container): {form}")
    if url.scheme == "http" and not is_loopback(url.host or ""):
        raise ValueError("uses http, which would send files and credentials unencrypted: use https")
    return str(url).rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def name_in_url(url: str) -> str:
    """The last segment of a URL's path, percent-decoded; empty if there is none."""
    address = _ADDRESS.fullmatch(url.strip())
    path = address["path"] if address else url.partition("?")[0]
    return unquote(path.rpartition("/")[2]).strip()


def _parse(text: str) -> URL:
    """A URL with validated parts. Raises ValueError, whose text quotes no secret."""
    address = _split(text)
    scheme, host, port = _origin_of(address["scheme"], address["authority"])
    try:
        path = _percent_encode(_UNSAFE_IN_PATH, address["path"] or "/")
        query = _percent_encode(_UNSAFE_IN_QUERY, address["query"] or "")
    except UnicodeEncodeError:
        raise ValueError("the address is not valid Unicode") from None
    authority = _bracketed(host)
    if port != _DEFAULT_PORTS[scheme]:
        authority = f"{authority}:{port}"
    tail = f"?{query}" if query else ""
    return URL(f"{scheme}://{authority}{path}{tail}", encoded=True)


def _split(text: str) -> re.Match[str]:
    trimmed = text.strip()
    if _FORBIDDEN_CHARACTERS.search(trimmed):
        raise ValueError("the address contains a backslash or a control character")
    address = _ADDRESS.fullmatch(trimmed)
    if address is None:
        raise ValueError("the address is not a URL of the form https://host/path")
    return address


def _origin_of_entry(entry: str) -> Origin:
    if not entry:
        raise ValueError("the entry is empty")
    address = _split(entry if "://" in entry else f"https://{entry}")
    if address["path"] or address["query"] is not None:
        raise ValueError("path and query are not allowed here, only scheme, host and port")
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
    if not 0 < port <= _MAX_PORT:
        raise ValueError(f"port {port} is not between 1 and {_MAX_PORT}")
    return scheme, _ascii_host(parts["host"]), port


def _ascii_host(host: str) -> str:
    """The host in lower case and ASCII (IDNA); an IPv6 address without brackets."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]).compressed
        if not host.isascii() and len(host) <= _MAX_HOST_LENGTH:
            host = URL.build(scheme="https", host=host).raw_host or ""
    except ValueError:
        raise ValueError("the address has no valid host") from None
    host = host.lower()
    if len(host) > _MAX_HOST_LENGTH or not _HOST.fullmatch(host):
        raise ValueError("the address has no valid host")
    return host


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _percent_encode(unsafe: re.Pattern[str], text: str) -> str:
    return unsafe.sub(lambda match: quote(match[0], safe=""), text)
