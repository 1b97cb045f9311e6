"""Access tokens from Microsoft Entra ID.

The environment names the identity, in this order: a service principal (AZURE_TENANT_ID,
AZURE_CLIENT_ID and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH), a workload identity
(AZURE_FEDERATED_TOKEN_FILE), the managed identity of this machine. AZURE_TOKEN_CREDENTIALS leaves
the choice to azure-identity.
"""

import asyncio
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from yarl import URL

from rogo_async.common import error_classes
from rogo_async.common.errors import Dependency, DependencyError, SystemicError, TransientError
from rogo_async.common.http_session import request_error
from rogo_async.common.proxies import Proxies

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError, ClientAuthenticationError

TOKEN_S: Final = 15.0
"""Limit for one request for a token: less than for a request to the store, which may need one."""
_LONGEST_MARGIN_S: Final = 300.0
"""A token is renewed this long before it expires, or after half of a shorter life."""
_RETRY_S: Final = 10.0
"""The wait after a failed renewal, while the token is still valid."""
_AUTHORITY: Final = "login.microsoftonline.com"
_ERROR_NUMBER: Final = re.compile(r"AADSTS\d+")
_SECRET_OR_CERTIFICATE: Final = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH")


@dataclass(frozen=True, slots=True)
class _Identity:
    """One of the kinds of identity: its name in messages, and what to check if it is refused."""

    name: str
    remedy: str
    is_certain: bool = True
    """Whether the environment shows that this identity exists."""


_SERVICE_PRINCIPAL: Final = _Identity(
    "service principal",
    "Check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret or certificate: it may have expired",
)
_WORKLOAD: Final = _Identity(
    "workload identity",
    "Check AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_FEDERATED_TOKEN_FILE and the federated "
    "credential of that identity",
)
_MANAGED: Final = _Identity(
    "managed identity",
    "Assign an identity to this machine; AZURE_CLIENT_ID, if set, must name one that is assigned",
)
_ANY: Final = _Identity(
    "identity",
    "Assign the machine a managed identity, or set AZURE_CLIENT_ID, AZURE_TENANT_ID and "
    "AZURE_CLIENT_SECRET",
    is_certain=False,
)


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    expires_on: float
    renew_at: float


class AccessTokens:
    """Source of tokens for one scope: cached, and renewed before they expire.

    ``client_id`` names a user-assigned managed identity.
    """

    def __init__(
        self, dependency: Dependency, scope: str, proxies: Proxies, client_id: str | None
    ) -> None:
        self._dependency = dependency
        self._scope = scope
        self._proxies = proxies
        self._client_id = client_id
        self._token: _Token | None = None
        self._has_succeeded = False
        self._renewing = asyncio.Lock()

    async def token(self) -> str:
        """Return a valid token. Raises TransientError or SystemicError."""
        token = self._token
        if token is not None and (time.time() < token.renew_at or self._is_usable(token)):
            return token.value
        async with self._renewing:
            token = self._token
            if token is None or time.time() >= token.renew_at:
                token = self._token = await self._renewed(token)
        return token.value

    def _is_usable(self, token: _Token) -> bool:
        """Whether a token is still valid and another caller is renewing it already."""
        return self._renewing.locked() and time.time() < token.expires_on

    def discard(self, token: str) -> None:
        """Forget a token that a server has refused; the next call requests a new one."""
        if self._token is not None and self._token.value == token:
            self._token = None

    async def _renewed(self, old: _Token | None) -> _Token:
        """A new token, or the old one while it is valid and no new one can be had."""
        try:
            token = await self._request()
        except DependencyError:
            now = time.time()
            if old is None or now >= old.expires_on:
                raise
            return _Token(old.value, old.expires_on, min(now + _RETRY_S, old.expires_on))
        self._has_succeeded = True
        return token

    async def _request(self) -> _Token:
        # These imports take a third of a second, and few installations need them.
        from azure.core.exceptions import (  # noqa: PLC0415 - loads slowly
            AzureError,
            ClientAuthenticationError,
        )

        identity = _identity()
        try:
            # A credential of azure-identity returns its cached token for up to 30 s although it
            # is about to expire, so each request has its own.
            async with asyncio.timeout(TOKEN_S), self._credential(identity) as credential:
                found = await credential.get_token(self._scope)
        except TimeoutError:
            reason = f"no token for the {identity.name} within {TOKEN_S:g} s"
            raise TransientError(self._dependency, "token", reason) from None
        except ClientAuthenticationError as error:
            raise self._refused(identity, error) from None
        except AzureError as error:
            raise self._unreachable(identity, error) from None
        except (ValueError, OSError) as error:
            cause = getattr(error, "strerror", None) or "an AZURE_… variable is not valid"
            raise self._systemic(f"no token for the {identity.name} ({cause})", identity) from None
        now = time.time()
        margin_s = min(_LONGEST_MARGIN_S, (found.expires_on - now) / 2)
        return _Token(found.token, found.expires_on, found.expires_on - margin_s)

    def _credential(self, identity: _Identity) -> "AsyncTokenCredential":
        from azure.identity import aio  # noqa: PLC0415 - loads slowly

        proxy = self._proxies.proxy_for(_authority())
        # Endpoints of managed identities belong to the machine and use http: never by a proxy.
        options: dict[str, Any] = {
            "use_env_settings": False,
            "proxies": None if proxy is None else {"https": str(proxy)},
        }
        if identity is _ANY:
            return aio.DefaultAzureCredential(managed_identity_client_id=self._client_id, **options)
        options["retry_total"] = 0
        if identity is _SERVICE_PRINCIPAL:
            return aio.EnvironmentCredential(**options)
        if identity is _WORKLOAD:
            return aio.WorkloadIdentityCredential(client_id=self._client_id, **options)
        return aio.ManagedIdentityCredential(client_id=self._client_id, **options)

    def _refused(self, identity: _Identity, error: "ClientAuthenticationError") -> DependencyError:
        """The error for an answer without a token, or for no identity at all."""
        status, number = error.status_code, _ERROR_NUMBER.search(str(error.message))
        cause = number[0] if number else "" if status is None else f"status {status}"
        text = _problem(identity) + (f" ({cause})" if cause else "")
        is_transient = (
            status is not None
            and error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT
        )
        # The chain of azure-identity hides the cause. The identity exists if it had a token before.
        if is_transient or (not identity.is_certain and self._has_succeeded):
            return TransientError(self._dependency, "token", text)
        return self._systemic(text, identity)

    def _unreachable(self, identity: _Identity, error: "AzureError") -> DependencyError:
        found = self._proxies.error_of(_authority(), error.inner_exception or error)
        cause = request_error(self._dependency, "token", found)
        return type(cause)(
            self._dependency, "token", f"no token for the {identity.name}: {cause.reason}"
        )

    def _systemic(self, text: str, identity: _Identity) -> SystemicError:
        return SystemicError(self._dependency, "token", f"{text}. {identity.remedy}")


def _problem(identity: _Identity) -> str:
    if not identity.is_certain:
        return "no identity for an access token"
    return f"no token for the {identity.name}"


def _authority() -> URL:
    """The login host of Microsoft Entra ID. Raises ValueError."""
    host = os.environ.get("AZURE_AUTHORITY_HOST") or _AUTHORITY
    return URL(f"https://{host.removeprefix('https://').strip('/')}")


def _identity() -> _Identity:
    """The identity that the environment names."""

    def has(*names: str) -> bool:
        return all(os.environ.get(name) for name in names)

    if has("AZURE_TOKEN_CREDENTIALS"):
        return _ANY
    if has("AZURE_TENANT_ID", "AZURE_CLIENT_ID") and any(map(has, _SECRET_OR_CERTIFICATE)):
        return _SERVICE_PRINCIPAL
    if has("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        return _WORKLOAD
    if has("IDENTITY_ENDPOINT") or has("MSI_ENDPOINT"):
        return _MANAGED
    return _ANY
