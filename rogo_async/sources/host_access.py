"""What authorizes requests to a source host: a SAS or the access token of the identity (rule 14).

A token is worth more than a SAS: it opens every account on which the identity has a role. So it is
sent only to the hosts that ROGO_SOURCE_IDENTITY_HOSTS names.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from rogo_async.common.azure_storage import API_VERSION, BEARER, IDENTITY_SCOPE
from rogo_async.common.entra import AccessTokens
from rogo_async.common.errors import Dependency
from rogo_async.common.settings import Settings
from rogo_async.common.urls import Origin
from rogo_async.sources.signed_urls import has_signature, signed

GRANT_ROLE: Final = (
    "Give the identity the role Storage Blob Data Reader on the containers with the files"
)


class HostAccess(ABC):
    """The credentials for one host, besides a SAS inside a URL."""

    replaces_sas: bool
    """Whether a request whose SAS inside the URL was refused is repeated with these."""
    needs_https: bool
    """Whether these are never sent over http, also not to the destination's service."""
    if_refused: str
    """What was refused besides the SAS inside the URL, for messages."""
    remedy: str
    """What to do if the host refuses every file."""

    @abstractmethod
    async def authorize(self, url: URL) -> tuple[URL, Mapping[str, str]]:
        """The URL, which may then have a SAS, and the headers of a request for it.

        Raises a DependencyError if an access token is needed and cannot be had.
        """

    async def authorization(self) -> str:
        """The Authorization header of a request, empty if it needs none. Raises as above."""
        return ""

    def renew(self, _refused: Mapping[str, str]) -> bool:
        """Whether to repeat a request whose headers the host refused, with others."""
        return False


class SasAccess(HostAccess):
    """The SAS of ROGO_SOURCE_SAS_TOKEN for this host; None: its files can be read without one."""

    needs_https = False
    remedy = "Renew ROGO_SOURCE_SAS_TOKEN or grant access"

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self.replaces_sas = token is not None
        self.if_refused = (
            "ROGO_SOURCE_SAS_TOKEN has no SAS for this host"
            if token is None
            else "the SAS of ROGO_SOURCE_SAS_TOKEN was refused, too"
        )

    async def authorize(self, url: URL) -> tuple[URL, Mapping[str, str]]:
        """Add the SAS to the URL."""
        return signed(url, self._token), {}


class IdentityAccess(HostAccess):
    """The identity that AZURE_… variables name, as for the destination."""

    replaces_sas = True
    needs_https = True
    if_refused = "the access token of the identity was refused, too"
    remedy = GRANT_ROLE

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    async def authorize(self, url: URL) -> tuple[URL, Mapping[str, str]]:
        """Send the access token."""
        headers = {"Authorization": await self.authorization(), "x-ms-version": API_VERSION}
        return url, headers

    async def authorization(self) -> str:
        """The header with a valid token."""
        return f"{BEARER}{await self._tokens.token()}"

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Forget the token, so that the next request has a new one."""
        self._tokens.discard(refused["Authorization"].removeprefix(BEARER))
        return True


@dataclass(frozen=True, slots=True)
class ReadableUrl:
    """A URL that reads a file with ``authorization``. It may have a SAS: then it is a secret."""

    url: URL = field(repr=False)
    access: HostAccess

    async def authorization(self) -> str:
        """The Authorization header, empty if it needs none: a secret. Raises a DependencyError."""
        return "" if has_signature(self.url) else await self.access.authorization()


def accesses_of(settings: Settings) -> dict[Origin, HostAccess]:
    """The credentials of each source host."""
    client_id = os.environ.get("AZURE_CLIENT_ID")
    identity = IdentityAccess(
        AccessTokens(Dependency.SOURCE, IDENTITY_SCOPE, settings.proxies, client_id)
    )
    return {
        place: identity
        if place in settings.identity_sources
        else SasAccess(settings.source_sas.get(place))
        for place in settings.allow_list.origins
    }
