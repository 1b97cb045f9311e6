"""HTTPS_PROXY, HTTP_PROXY and NO_PROXY: which proxy, if any, leads to a server.

All HTTP clients of this package ask here: aiohttp for the bytes, the Azure SDK for everything else.
Their own reading of the environment differs in NO_PROXY, and would send a login of ~/.netrc.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from rogo_async.common.errors import reason_of

_FORM: Final = "write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT with %XX in the password"
PROXY_AUTHENTICATION: Final = 407
_SCHEMES: Final = frozenset({"http", "https"})


class ProxyError(aiohttp.ClientError):
    """The proxy is unreachable or refuses. The text names the proxy, without its password."""

    def __init__(self, text: str, *, is_permanent: bool) -> None:
        super().__init__(text)
        self.is_permanent = is_permanent


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxy for URLs of each scheme, and the hosts that are reached directly."""

    https: URL | None = None
    http: URL | None = None
    direct: tuple[str, ...] = ()

    def proxy_for(self, url: URL) -> URL | None:
        """The proxy for a URL, with user name and password, or None."""
        proxy = self.https if url.scheme == "https" else self.http
        return None if proxy is None or is_excepted(url, self.direct) else proxy

    def route_to(self, url: URL) -> str:
        """How a server is reached, for messages: ``directly`` or ``through the proxy …``."""
        proxy = self.proxy_for(url)
        if proxy is not None:
            return f"through {self._name_for(url)}"
        has_proxy = (self.https if url.scheme == "https" else self.http) is not None
        return "directly (NO_PROXY)" if has_proxy else "directly"

    def error_of(self, url: URL, error: BaseException) -> BaseException:
        """The ProxyError for an error of a request for ``url`` that the proxy caused.

        Any other error is returned unchanged.
        """
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return self.refusal(url, error.status)
        if isinstance(error, aiohttp.ClientProxyConnectionError):
            return ProxyError(
                f"{self._name_for(url)} cannot be reached: {reason_of(error)}. Check that it is "
                f"running, or add {url.host} to NO_PROXY",
                is_permanent=False,
            )
        return error

    def refusal(self, url: URL, status: int) -> ProxyError:
        """The error for a proxy's own answer to a request for ``url``."""
        text = f"{self._name_for(url)} answered {status} to a request for {url.host}:{url.port}"
        if status == PROXY_AUTHENTICATION:
            text += ". Set the user name and password of the proxy in its URL"
        elif status < 500:
            text += f". Allow that host on the proxy, or add {url.host} to NO_PROXY"
        return ProxyError(text, is_permanent=status < 500)

    def _name_for(self, url: URL) -> str:
        proxy = self.proxy_for(url)
        return f"the proxy {shown(proxy) if proxy else ''} ({url.scheme.upper()}_PROXY)"


DIRECT: Final = Proxies()
"""No proxies."""


def shown(proxy: URL) -> str:
    """A proxy's URL without user name and password."""
    return str(proxy.with_user(None).origin())


def parse_proxy(text: str) -> URL:
    """Parse a proxy's URL. Raises ValueError, whose text has no user name and password."""
    try:
        url = URL(text)
        is_usable = url.scheme in _SCHEMES and bool(url.host) and bool(url.port)
        is_usable = is_usable and url.path in {"", "/"} and not url.query_string
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"{_without_login(text)} is not the URL of a proxy: {_FORM}")
    return url


def _without_login(text: str) -> str:
    """What can be shown of a text that is not a proxy's URL: scheme, host and port."""
    scheme, separator, rest = text.rpartition("://")
    rest = rest.rpartition("@")[2]
    if separator:
        rest = re.split("[/?#]", rest, maxsplit=1)[0]
    is_clear = rest.count(":") <= 1 or rest.startswith("[")
    return f"{scheme}{separator}{rest if is_clear else '…'}"


def is_excepted(url: URL, entries: Sequence[str]) -> bool:
    """Whether NO_PROXY names the host of a URL.

    An entry is ``*``, a host (its subdomains included, also as ``.host`` and ``*.host``), an
    address, or a network such as ``10.0.0.0/8``. Each may have a port.
    """
    host = (url.host or "").lower().rstrip(".")
    return any(_matches(host, url.port, entry) for entry in entries)


def _matches(host: str, port: int | None, entry: str) -> bool:
    entry = entry.lower()
    if entry == "*":
        return True
    network = _network(entry)
    if network is None:
        name, colon, number = entry.rpartition(":")
        if colon and number.isdigit():
            if int(number) != port:
                return False
            entry = name
        network = _network(entry.strip("[]"))
    if network is not None:
        try:
            return ipaddress.ip_address(host) in network
        except ValueError:
            return False
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
