"""The endpoint of the destination account, and how requests to it are authorized.

An account key signs each request (Shared Key). A SAS is part of each URL. An identity sends its
access token in each request: no user delegation SAS, which needs a right on the whole account.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from azure.core.credentials import AccessToken
from yarl import URL

from rogo_async.common.azure_storage import BEARER, IDENTITY_SCOPE
from rogo_async.common.entra import AccessTokens
from rogo_async.common.errors import Dependency, SetupError
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.shared_key import SharedKey

_SUFFIX: Final = "core.windows.net"
_CONNECTION_STRING: Final = "AZURE_STORAGE_CONNECTION_STRING"


class Credentials(ABC):
    """One kind of credentials. ``for_sdk`` is what the Azure SDK needs to use them."""

    for_sdk: Any

    @abstractmethod
    async def authorize(
        self, method: str, url: str, headers: Mapping[str, str], body_bytes: int
    ) -> tuple[URL, Mapping[str, str]]:
        """URL and headers of an authorized request. ``url`` is percent-encoded, without a query.

        Raises a DependencyError if an access token is needed and cannot be had.
        """

    def renew(self, _refused: str) -> bool:
        """Whether to repeat a request that the store refused, with other credentials.

        ``_refused`` is its Authorization header.
        """
        return False

    def current(self) -> str:
        """The Authorization header of the next request, if it is known beforehand."""
        return ""


class KeyCredentials(Credentials):
    """An account key. Raises SetupError if it is not base64."""

    def __init__(self, account: str, key: str) -> None:
        self.for_sdk = {"account_name": account, "account_key": key}
        try:
            self._shared_key = SharedKey(account, key)
        except ValueError:
            raise SetupError(
                "the storage account's key is not base64. Copy it again into "
                f"AZURE_STORAGE_ACCOUNT_KEY or {_CONNECTION_STRING}"
            ) from None

    async def authorize(
        self, method: str, url: str, headers: Mapping[str, str], body_bytes: int
    ) -> tuple[URL, Mapping[str, str]]:
        """Sign the request."""
        target = URL(url, encoded=True)
        return target, self._shared_key.signed(method, target.raw_path, headers, body_bytes)


class SasCredentials(Credentials):
    """A SAS of the container or of the account."""

    def __init__(self, sas: str) -> None:
        self.for_sdk = self._sas = sas.removeprefix("?")

    async def authorize(
        self,
        method: str,  # noqa: ARG002 - part of the interface
        url: str,
        headers: Mapping[str, str],
        body_bytes: int,  # noqa: ARG002 - part of the interface
    ) -> tuple[URL, Mapping[str, str]]:
        """Add the SAS to the URL."""
        return URL(f"{url}?{self._sas}", encoded=True), headers


class IdentityCredentials(Credentials):
    """A managed identity, a workload identity or a service principal."""

    def __init__(self, settings: Settings) -> None:
        self.for_sdk = self
        self._tokens = AccessTokens(
            Dependency.STORE, IDENTITY_SCOPE, settings.proxies, os.environ.get("AZURE_CLIENT_ID")
        )
        self._authorization = ""

    async def authorize(
        self,
        method: str,  # noqa: ARG002 - part of the interface
        url: str,
        headers: Mapping[str, str],
        body_bytes: int,  # noqa: ARG002 - part of the interface
    ) -> tuple[URL, Mapping[str, str]]:
        """Add the access token to the headers."""
        self._authorization = f"{BEARER}{await self._tokens.token()}"
        return URL(url, encoded=True), {**headers, "Authorization": self._authorization}

    def renew(self, refused: str) -> bool:
        """Forget the refused token, so that the next request uses a new one."""
        self._tokens.discard(refused.removeprefix(BEARER))
        return True

    def current(self) -> str:
        """The header with the token that was used last."""
        return self._authorization

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """The token for the SDK, which calls this before each request: it counts as expired."""
        self._authorization = f"{BEARER}{await self._tokens.token()}"
        return AccessToken(self._authorization.removeprefix(BEARER), 0)

    async def close(self) -> None:
        """Part of the SDK's interface."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Destination:
    """The URL of the blob service of an account, without a slash at the end, and credentials."""

    service_url: str
    credentials: Credentials

    @classmethod
    def of(cls, settings: Settings) -> "Destination":
        """Read the settings. Raises SetupError."""
        endpoint = settings.azure_storage_service_endpoint
        if settings.azure_storage_connection_string is not None:
            text = settings.azure_storage_connection_string.get_secret_value()
            return _of_connection_string(text, endpoint)
        account = settings.azure_storage_account_name or ""
        url = endpoint or f"https://{account}.blob.{_SUFFIX}"
        if settings.azure_storage_account_key is not None:
            key = settings.azure_storage_account_key.get_secret_value()
            return cls(url, KeyCredentials(account, key))
        if not url.startswith("https://"):
            raise SetupError(
                "AZURE_STORAGE_SERVICE_ENDPOINT: an identity needs https. Use an https endpoint, "
                "or set AZURE_STORAGE_ACCOUNT_KEY"
            )
        return cls(url, IdentityCredentials(settings))


def _of_connection_string(text: str, endpoint: str | None) -> Destination:
    parts = [part.partition("=") for part in text.split(";") if part.strip()]
    fields = {name.strip().lower(): value.strip() for name, _, value in parts}
    account = fields.get("accountname")
    protocol = fields.get("defaultendpointsprotocol", "https")
    url = endpoint or fields.get("blobendpoint", "").partition("?")[0].rstrip("/")
    if not url and account:
        url = f"{protocol}://{account}.blob.{fields.get('endpointsuffix', _SUFFIX)}"
    if not url or not all(equals for _, equals, _ in parts):
        raise SetupError(
            f"{_CONNECTION_STRING}: is not a storage account's connection string "
            "(AccountName=…;AccountKey=…;…)"
        )
    if account and fields.get("accountkey"):
        return Destination(url, KeyCredentials(account, fields["accountkey"]))
    if not fields.get("sharedaccesssignature"):
        raise SetupError(f"{_CONNECTION_STRING}: has neither AccountKey nor SharedAccessSignature")
    return Destination(url, SasCredentials(fields["sharedaccesssignature"]))
