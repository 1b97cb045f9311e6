"""The destination account: its control plane, and authorized requests for the bytes of blobs."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob.aio import BlobServiceClient, ContainerClient
from yarl import URL

from rogo_async.common import error_classes
from rogo_async.common.error_classes import code_of, is_token_refused, seconds_of
from rogo_async.common.errors import Dependency, DependencyError, SystemicError, TransientError
from rogo_async.common.http_session import HttpSession, Response, request_error
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.credentials import Destination

T = TypeVar("T")

CALL_S: Final = 20.0
DAMAGED: Final = "the bytes were damaged in transit"
_DIGEST_REFUSED: Final = frozenset({"Md5Mismatch", "InvalidMd5"})
_SLOWEST_BYTES_PER_S: Final = 64 * 1024
_ABSENT_BLOB: Final = "rogo_async_absent"
"""A blob that does not exist: a request for it tests the credentials and the container."""
_NO_CONTAINER: Final = "ContainerNotFound"
_OPTIONS: Final[dict[str, Any]] = {
    "retry_total": 0,
    "retry_connect": 0,
    "retry_read": 0,
    "retry_status": 0,
    "connection_timeout": 10,
    "read_timeout": 90,
    "use_env_settings": False,
}


class Account:
    """Credentials and control plane of the destination. Call ``aclose`` after use."""

    def __init__(self, settings: Settings) -> None:
        destination = Destination.of(settings)
        self._credentials = destination.credentials
        self._url = URL(destination.service_url)
        self._proxies = settings.proxies
        proxy = self._proxies.proxy_for(self._url)
        self._service = BlobServiceClient(
            destination.service_url,
            credential=self._credentials.for_sdk,
            proxies=None if proxy is None else {self._url.scheme: str(proxy)},
            **_OPTIONS,
        )
        self.container: ContainerClient = self._service.get_container_client(
            settings.rogo_container
        )
        self.container_url = f"{destination.service_url}/{settings.rogo_container}"

    async def aclose(self) -> None:
        """Close the SDK's clients."""
        await self.container.close()
        await self._service.close()

    def url_of(self, blob_name: str) -> str:
        """The URL of a blob, without a SAS."""
        return f"{self.container_url}/{blob_name}"

    @property
    def route(self) -> str:
        """How the store is reached: directly, or through a proxy."""
        return self._proxies.route_to(self._url)

    async def check(self) -> None:
        """Check that the container exists and the credentials work.

        Raises TransientError when the store is unreachable and SystemicError when it refuses.
        """
        await self.server_time()

    async def server_time(self) -> datetime | None:
        """The time on the store's clock; None if it does not say. Raises as ``check`` does.

        A SAS of the container does not allow a request for the container's properties, so this
        requests those of a blob that does not exist. That needs the permission to read.
        """
        blob = self.container.get_blob_client(_ABSENT_BLOB)
        headers: Mapping[str, str] = {}

        async def request() -> None:
            nonlocal headers
            try:
                await blob.get_blob_properties()
            except HttpResponseError as error:
                headers = headers_of(error)
                if code_of(headers) != "BlobNotFound":
                    raise

        await self.call("container", request)
        try:
            return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
        except (KeyError, ValueError):
            return None

    async def send(
        self,
        http: HttpSession,
        method: str,
        blob_name: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        within_s: float,
    ) -> Response:
        """Send an authorized request for a blob of the container, and return the response.

        An access token that the store refuses is renewed once. Raises one of HTTP_ERRORS, or a
        DependencyError if an access token cannot be had.
        """
        url = f"{self.container_url}/{quote(blob_name)}"

        async def once() -> tuple[Response, str]:
            async with asyncio.timeout(within_s):  # for an access token
                target, sent = await self._credentials.authorize(method, url, headers, len(body))
            response = await http.request(method, target, sent, body, within_s=within_s)
            return response, sent.get("Authorization", "")

        response, authorization = await once()
        is_refused = is_token_refused(response.status, code_of(response.headers))
        if is_refused and self._credentials.renew(authorization):
            response.close()
            response, _ = await once()
        return response

    async def authorize(self) -> None:
        """Test that a request can be authorized. Raises a DependencyError."""
        await self._credentials.authorize("GET", self.container_url, {}, 0)

    async def call(
        self, operation: str, request: Callable[[], Awaitable[T]], size_bytes: int = 0
    ) -> T:
        """Make one request through the SDK, with a deadline for sending ``size_bytes``.

        An access token that the store refuses is renewed once. Raises a DependencyError instead
        of the SDK's errors.
        """
        try:
            async with asyncio.timeout(deadline_s(size_bytes)):
                try:
                    return await request()
                except HttpResponseError as error:
                    is_refused = is_token_refused(
                        error.status_code or 0, code_of(headers_of(error))
                    )
                    if not is_refused or not self._credentials.renew(self._credentials.current()):
                        raise
                return await request()
        except TimeoutError:
            raise TransientError(Dependency.STORE, operation, "no answer in time") from None
        except AzureError as error:
            raise self._error_of(operation, error) from None

    def _error_of(self, operation: str, error: AzureError) -> DependencyError:
        """The DependencyError for an error of the SDK, without the server's text."""
        if isinstance(error, HttpResponseError) and error.status_code is not None:
            headers = headers_of(error)
            retry_after = headers.get("Retry-After")
            return error_of_status(operation, error.status_code, retry_after, code_of(headers))
        cause = self._proxies.error_of(self._url, error.inner_exception or error)
        return request_error(Dependency.STORE, operation, cause)


def headers_of(error: HttpResponseError) -> Mapping[str, str]:
    """The headers of an answer that the SDK raises."""
    return getattr(error.response, "headers", {})


def deadline_s(size_bytes: int) -> float:
    """The deadline, in seconds, of a request that sends this number of bytes."""
    return CALL_S + size_bytes / _SLOWEST_BYTES_PER_S


_CREDENTIALS: Final = "Check the AZURE_STORAGE_… settings"
_PERMISSION: Final = (
    "a permission is missing. An identity needs the role Storage Blob Data Contributor on the "
    "container, a SAS the permissions read, write, create, delete and list"
)
_MEANING_OF_CODE: Final[Mapping[str | None, str]] = {
    "AuthorizationPermissionMismatch": _PERMISSION,
    "InsufficientAccountPermissions": _PERMISSION,
    "AuthorizationResourceTypeMismatch": "the SAS is not valid for blobs. Issue one with srt=co",
    "AuthorizationServiceMismatch": "the SAS is not valid for blobs. Issue one with ss=b",
    "AuthorizationProtocolMismatch": "the SAS is valid for https only. Use an https endpoint",
    "AuthorizationSourceIPMismatch": "the SAS is not valid for the address of this machine. "
    "Issue one for it",
    "AuthorizationFailure": "credentials refused, or the firewall of the account refuses this "
    "machine. Check the AZURE_STORAGE_… settings, and the networks that the account allows",
    "AuthenticationFailed": "credentials refused: the key, SAS or token is wrong or has expired. "
    "Renew it in the AZURE_STORAGE_… settings, and check the clock of this machine",
    "KeyBasedAuthenticationNotPermitted": "the account does not accept keys. Use an identity: set "
    "AZURE_STORAGE_ACCOUNT_NAME without a key",
    "AccountIsDisabled": "the account is disabled. Enable it, or correct the account's name",
}
_MEANING: Final = {
    400: "malformed request. Check ROGO_CONTAINER and the account",
    401: f"credentials refused. {_CREDENTIALS}",
    403: f"credentials refused, or a permission is missing. {_CREDENTIALS}",
    404: "no such container. Create it or correct ROGO_CONTAINER",
}


def error_of_status(
    operation: str, status: int, retry_after: str | None, code: str | None
) -> DependencyError:
    """The DependencyError for an HTTP status of the destination and its x-ms-error-code."""
    if code in _DIGEST_REFUSED:
        return TransientError(Dependency.STORE, operation, DAMAGED)
    reason = f"status {status} ({code})" if code and code != _NO_CONTAINER else f"status {status}"
    if error_classes.of_http(status) is error_classes.ErrorClass.TRANSIENT:
        return TransientError(Dependency.STORE, operation, reason, seconds_of(retry_after))
    meaning = _MEANING_OF_CODE.get(code) or _MEANING.get(status)
    if meaning is not None:
        reason += f": {meaning}"
    return SystemicError(Dependency.STORE, operation, reason)


def error_of_response(operation: str, response: Response) -> DependencyError:
    """The DependencyError for a response of the destination that is not a success."""
    headers = response.headers
    return error_of_status(operation, response.status, headers.get("Retry-After"), code_of(headers))
