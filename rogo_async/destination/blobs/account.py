"""The destination account: its credentials, and the signatures of requests to it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import quote

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from yarl import URL

from rogo_async.common import error_classes
from rogo_async.common.error_classes import seconds_of
from rogo_async.common.errors import (
    Dependency,
    DependencyError,
    SetupError,
    SystemicError,
    TransientError,
)
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.shared_key import SharedKey

T = TypeVar("T")

CALL_S: Final = 20.0
_SLOWEST_BYTES_PER_S: Final = 64 * 1024
SAS_LIFE: Final = timedelta(hours=6)
_CLOCK_SLACK: Final = timedelta(minutes=15)
_CONNECTION_STRING: Final = "AZURE_STORAGE_CONNECTION_STRING"
_NO_RETRIES: Final[dict[str, Any]] = {
    "retry_total": 0,
    "retry_connect": 0,
    "retry_read": 0,
    "retry_status": 0,
    "connection_timeout": 10,
    "read_timeout": 90,
}


@dataclass(slots=True)
class _Signature:
    """A container SAS, and the time when it must be renewed."""

    query: str
    renew_at: datetime


class Account:
    """Credentials and control plane of the destination. Call ``aclose`` after use."""

    def __init__(self, settings: Settings) -> None:
        self._container_name = settings.rogo_container
        self._given_sas: str | None = None
        self._credential: Any = None
        self._signature: _Signature | None = None
        self._signing = asyncio.Lock()
        self._service = self._service_client(settings)
        self._shared_key = self._shared_key_of_service()
        self.container: ContainerClient = self._service.get_container_client(self._container_name)
        self.container_url = (
            f"{self._service.url.partition('?')[0].rstrip('/')}/{self._container_name}"
        )
        self._container_path = URL(self.container_url, encoded=True).raw_path

    async def aclose(self) -> None:
        """Close the SDK's clients."""
        await self.container.close()
        await self._service.close()
        if hasattr(self._credential, "close"):
            await self._credential.close()

    async def check(self) -> None:
        """Check that the container exists and the credentials work.

        Raises TransientError when the store is unreachable and SystemicError when it refuses.
        """
        await self.call("container", self.container.get_container_properties)

    async def signed(
        self, method: str, blob_name: str, headers: Mapping[str, str], body_bytes: int = 0
    ) -> tuple[URL, Mapping[str, str]]:
        """URL and headers of a signed request for a blob of the container.

        With an account key each request is signed. Otherwise the URL has a SAS. Raises a
        DependencyError if the SAS needs a user delegation key and cannot get one.
        """
        name = quote(blob_name)
        url = f"{self.container_url}/{name}"
        if self._shared_key is not None:
            path = f"{self._container_path}/{name}"
            signed = self._shared_key.signed(method, path, headers, body_bytes)
            return URL(url, encoded=True), signed
        return URL(f"{url}?{await self._sas()}", encoded=True), headers

    async def call(
        self, operation: str, request: Callable[[], Awaitable[T]], size_bytes: int = 0
    ) -> T:
        """Make one request through the SDK, with a deadline for sending ``size_bytes``.

        Raises a DependencyError instead of the SDK's errors.
        """
        try:
            async with asyncio.timeout(deadline_s(size_bytes)):
                return await request()
        except TimeoutError:
            raise TransientError(Dependency.STORE, operation, "no answer in time") from None
        except AzureError as error:
            raise error_of(operation, error) from None

    async def _sas(self) -> str:
        """The configured SAS, or one from a user delegation key, renewed after half its life."""
        if self._given_sas is not None:
            return self._given_sas
        if self._signature is None or datetime.now(UTC) >= self._signature.renew_at:
            async with self._signing:
                if self._signature is None or datetime.now(UTC) >= self._signature.renew_at:
                    self._signature = await self._delegated()
        return self._signature.query

    async def _delegated(self) -> _Signature:
        now = datetime.now(UTC)
        start, expiry = now - _CLOCK_SLACK, now + SAS_LIFE
        key = await self.call(
            "delegation_key", lambda: self._service.get_user_delegation_key(start, expiry)
        )
        query = generate_container_sas(
            account_name=str(self._service.account_name),
            container_name=self._container_name,
            permission=ContainerSasPermissions(read=True, write=True, create=True, delete=True),
            start=start,
            expiry=expiry,
            user_delegation_key=key,
        )
        return _Signature(query, now + SAS_LIFE / 2)

    def _shared_key_of_service(self) -> SharedKey | None:
        """None without an account key, that is, with an identity or a SAS."""
        if self._credential is not None or self._given_sas is not None:
            return None
        credential = self._service.credential
        try:
            return SharedKey(credential.account_name, credential.account_key)
        except ValueError:
            raise SetupError(
                "the storage account's key is not base64. Copy it again into "
                f"AZURE_STORAGE_ACCOUNT_KEY or {_CONNECTION_STRING}"
            ) from None

    def _service_client(self, settings: Settings) -> BlobServiceClient:
        if settings.azure_storage_connection_string is not None:
            text = settings.azure_storage_connection_string.get_secret_value()
            try:
                client = BlobServiceClient.from_connection_string(text, **_NO_RETRIES)
            except (ValueError, AttributeError, KeyError):
                raise SetupError(
                    f"{_CONNECTION_STRING}: is not a storage account's connection string "
                    "(AccountName=…;AccountKey=…;…)"
                ) from None
            if client.credential is None:
                self._given_sas = _shared_access_signature(text)
            return client
        url = f"https://{settings.azure_storage_account_name}.blob.core.windows.net"
        if settings.azure_storage_account_key is not None:
            key = settings.azure_storage_account_key.get_secret_value()
            return BlobServiceClient(url, credential=key, **_NO_RETRIES)
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - slow to import, rarely needed

        self._credential = DefaultAzureCredential()
        return BlobServiceClient(url, credential=self._credential, **_NO_RETRIES)


def deadline_s(size_bytes: int) -> float:
    """The deadline, in seconds, of a request that sends this number of bytes."""
    return CALL_S + size_bytes / _SLOWEST_BYTES_PER_S


def _shared_access_signature(text: str) -> str:
    for part in text.split(";"):
        key, _, value = part.strip().partition("=")
        if key.lower() == "sharedaccesssignature" and value:
            return value.lstrip("?")
    raise SetupError(f"{_CONNECTION_STRING}: has neither AccountKey nor SharedAccessSignature")


_MEANING: Final = {
    400: "malformed request. Check ROGO_CONTAINER and the account",
    401: "credentials refused. Check the AZURE_STORAGE_… settings",
    403: "credentials refused, or a permission is missing. Check the AZURE_STORAGE_… settings",
    404: "no such container. Create it or correct ROGO_CONTAINER",
}


def error_of(operation: str, error: AzureError) -> DependencyError:
    """The DependencyError for an error of the SDK, without the server's text."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return error_of_status(operation, error.status_code, None)
    if isinstance(error, ClientAuthenticationError):
        return SystemicError(
            Dependency.STORE,
            operation,
            "no credentials: this machine has no managed identity. Set "
            "AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_CONNECTION_STRING",
        )
    return TransientError(Dependency.STORE, operation, "the connection failed")


def error_of_status(operation: str, status: int, retry_after: str | None) -> DependencyError:
    """The DependencyError for an HTTP status of the destination."""
    reason = f"status {status}"
    if error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT:
        return TransientError(Dependency.STORE, operation, reason, seconds_of(retry_after))
    if status in _MEANING:
        reason += f": {_MEANING[status]}"
    return SystemicError(Dependency.STORE, operation, reason)
