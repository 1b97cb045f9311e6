"""ROGO_NOTIFY_URL: who is told about a run, and in which form (specification §4)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from yarl import URL

_FORM: Final = (
    "write healthchecks+https://…, kuma+https://… or json+https://…, several with blanks between"
)
_SCHEMES: Final = frozenset({"http", "https"})


class NotifyKind(StrEnum):
    """The form of a notification; the value is the prefix of its URL."""

    HEALTHCHECKS = "healthchecks"
    KUMA = "kuma"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class NotifyUrl:
    """A receiver. Its URL is a secret; ``host`` can be shown."""

    kind: NotifyKind
    url: URL

    @property
    def host(self) -> str:
        """The host of the receiver."""
        return self.url.host or ""

    def __repr__(self) -> str:
        return f"NotifyUrl({self.kind}, {self.host})"


def parse_notify_urls(text: str) -> tuple[NotifyUrl, ...]:
    """The receivers in a value of ROGO_NOTIFY_URL. Raises ValueError, without the URL."""
    return tuple(_parsed(number, piece) for number, piece in enumerate(text.split(), 1))


def _parsed(number: int, text: str) -> NotifyUrl:
    prefix, plus, address = text.partition("+")
    if not plus or prefix not in tuple(NotifyKind):
        raise ValueError(f"URL {number} has no prefix that names its kind: {_FORM}")
    try:
        url = URL(address)
        is_usable = url.scheme in _SCHEMES and bool(url.host) and not url.fragment
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ValueError(f"URL {number} is not a URL of http or https: {_FORM}")
    return NotifyUrl(NotifyKind(prefix), url)
