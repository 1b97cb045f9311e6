"""Access tokens for Azure SQL from Microsoft Entra ID, for the identity of this machine."""

import asyncio
from typing import Final

from rogo_async.common.errors import Dependency, SystemicError, TransientError

TOKEN_S: Final = 30.0

_SCOPE: Final = "https://database.windows.net/.default"


class SqlTokens:
    """Source of access tokens, which the Azure credential caches until they expire.

    ``client_id`` names a user-assigned managed identity. Call ``aclose`` after use.
    """

    def __init__(self, dependency: Dependency, client_id: str | None) -> None:
        # This import takes a third of a second, and few installations need it.
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

        self._dependency = dependency
        self._credential = DefaultAzureCredential(managed_identity_client_id=client_id)

    async def token(self) -> str:
        """Return a valid token. Raises TransientError or SystemicError."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415

        try:
            async with asyncio.timeout(TOKEN_S):
                return (await self._credential.get_token(_SCOPE)).token
        except TimeoutError:
            reason = f"no response within {TOKEN_S:g} s"
        except ClientAuthenticationError:
            raise SystemicError(
                self._dependency,
                "token",
                "no identity for an access token. Assign the machine a managed identity, or set "
                "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
            ) from None
        except AzureError as error:
            reason = f"no access token ({type(error).__name__})"
        raise TransientError(self._dependency, "token", reason)

    async def aclose(self) -> None:
        """Close the credential's connections."""
        await self._credential.close()
