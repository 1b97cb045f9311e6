"""Checks of the destination: credentials, container, and write, read and delete a test blob."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog

from rogo_async.commands.check.probe import (
    NoRetry,
    compare_clocks,
    with_brief_retry,
    with_timeout,
)
from rogo_async.commands.check.results import (
    Check,
    CheckReport,
    CheckResult,
    fail,
    ok,
    result_of_error,
)
from rogo_async.common.errors import Dependency, DependencyError, SetupError, SystemicError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.blobs.store import Blob, Store

T = TypeVar("T")
PREFIX: Final = "LTI_Uploads/rogo_check_"
"""The start of the names of test blobs."""
_SETTINGS: Final = (
    "settings.AZURE_STORAGE_CONNECTION_STRING",
    "settings.AZURE_STORAGE_ACCOUNT_NAME",
    "settings.AZURE_STORAGE_ACCOUNT_KEY",
    "settings.AZURE_STORAGE_SERVICE_ENDPOINT",
    "settings.HTTPS_PROXY",
    "settings.HTTP_PROXY",
    "settings.ROGO_CONTAINER",
)
_CONNECTION: Final = ("store.reach", "store.credentials", "store.container")
_CHECK_STORE: Final = (
    "Check that the store is running and that the AZURE_STORAGE_… settings point to it"
)
_GRANT: Final = "Grant read, write, create, delete and list on the container"
_BODY: Final = b"Written by rogo_async check, which deletes it again.\n"
_METADATA_KEY: Final = "rogocheck"
_LOGIN_ACCEPTED: Final = "login accepted"
log = structlog.get_logger()


class BlobStoreChecks:
    """All checks of the destination. The test blob is deleted, even after an interruption."""

    def __init__(self, settings: Settings, report: CheckReport) -> None:
        self._settings = settings
        self._report = report
        self._account: Account
        self._store: Store
        self._inventory: Inventory
        self._id = uuid.uuid4().hex
        self._blob = Blob(f"{PREFIX}{self._id}", "text/plain", {_METADATA_KEY: self._id})
        self._md5 = hashlib.md5(_BODY, usedforsecurity=False).digest()
        self._may_exist = False
        self._times: tuple[datetime, datetime, datetime] | None = None

    async def execute(self) -> None:
        """Run the checks."""
        signed, written = ("store.signature",), ("store.write",)
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            stack.push_async_callback(self._clean_up)
            await self._report.run(
                [
                    Check("clock.store", self._clock, ("store.reach",), _CHECK_STORE),
                    Check("store.signature", self._signature, ("store.container",), _CHECK_STORE),
                    Check("store.write", self._write, signed, _CHECK_STORE),
                    Check("store.read", self._read, written, _CHECK_STORE),
                    Check("store.list", self._list, signed, _CHECK_STORE),
                    Check("store.delete", self._delete, written, _CHECK_STORE),
                ]
            )

    async def _connect(self, stack: AsyncExitStack) -> None:
        """Reach the store, log in, find the container."""
        report = self._report
        invalid = next((name for name in _SETTINGS if not report.passed(name)), None)
        if invalid is not None:
            for name in _CONNECTION:
                report.skip(name, invalid)
            return
        try:
            self._account = Account(self._settings)
        except SetupError as error:
            report.add("store.credentials", result_of_error(error, _CHECK_STORE))
            for name in ("store.reach", "store.container"):
                report.skip(name, "store.credentials")
            return
        stack.push_async_callback(self._account.aclose)
        http = HttpSession(self._settings.proxies)
        stack.push_async_callback(http.aclose)
        breaker = NoRetry(Dependency.STORE)
        self._store = Store(self._account, http, breaker)
        self._inventory = Inventory(self._account, http, breaker)
        await report.run([Check("store.reach", self._reach, (), _CHECK_STORE)])
        if report.passed("store.reach"):
            await self._log_in()
        else:
            for name in _CONNECTION[1:]:
                report.skip(name, "store.reach")

    async def _reach(self) -> CheckResult:
        """Send a request without credentials: the store rejects credentials if clocks differ."""
        await with_timeout(Dependency.STORE, lambda: with_brief_retry(self._read_time))
        return ok(f"store reachable {self._account.route}")

    async def _read_time(self) -> None:
        before = datetime.now(UTC)
        server_time = await self._inventory.anonymous_time()
        self._times = None if server_time is None else (server_time, before, datetime.now(UTC))

    async def _log_in(self) -> None:
        """Request the container: the answer covers the credentials and the container."""
        report = self._report
        try:
            await with_timeout(Dependency.STORE, lambda: with_brief_retry(self._account.check))
        except DependencyError as error:
            result = result_of_error(error, _CHECK_STORE)
            if getattr(error.__context__, "status_code", None) == HTTPStatus.NOT_FOUND:
                report.add("store.credentials", ok(_LOGIN_ACCEPTED))
                report.add("store.container", result)
            else:
                report.add("store.credentials", result)
                report.skip("store.container", "store.credentials")
            return
        report.add("store.credentials", ok(_LOGIN_ACCEPTED))
        report.add("store.container", ok("container exists"))

    async def _clock(self) -> CheckResult:
        if self._times is None:
            return ok("the store does not report its time")
        return compare_clocks(*self._times, "the store")

    async def _signature(self) -> CheckResult:
        await with_timeout(Dependency.STORE, lambda: with_brief_retry(self._sign))
        return ok("requests can be signed")

    async def _sign(self) -> None:
        await self._account.authorize()

    async def _write(self) -> CheckResult:
        self._may_exist = True
        await _request("write", lambda: self._store.put(self._blob, _BODY, self._md5))
        return ok("test blob written, MD5 verified by the store")

    async def _read(self) -> CheckResult:
        found = await _request("read", lambda: self._inventory.read(self._blob.name, whole=True))
        if found is None:
            return fail("test blob not found after the write", _CHECK_STORE)
        if found.md5 != self._md5 or found.stated_md5 != self._md5:
            return fail("test blob has a different MD5 when read back", _CHECK_STORE)
        if found.metadata.get(_METADATA_KEY) != self._id:
            return fail("test blob lost its metadata, which sweep needs", _CHECK_STORE)
        return ok("test blob read back, with its MD5 and metadata")

    async def _list(self) -> CheckResult:
        names: list[str] = []

        async def list_all() -> None:
            async for page in self._inventory.pages(PREFIX):
                names.extend(blob.name for blob in page)

        await _request("list", list_all)
        if self._report.passed("store.write") and self._blob.name not in names:
            return fail("the list of blobs does not contain the test blob", _CHECK_STORE)
        return ok("blobs can be listed")

    async def _delete(self) -> CheckResult:
        try:
            await _request("delete", lambda: self._store.delete(self._blob.name))
        except SystemicError as error:
            # A second attempt would be refused too.
            self._may_exist = False
            return fail(
                f"{error.reason.partition('. ')[0]}; {self._blob.name} is left in the container",
                f"{_GRANT}, and delete that blob",
            )
        self._may_exist = False
        return ok("test blob deleted")

    async def _clean_up(self) -> None:
        """Delete the test blob if it may exist."""
        if self._may_exist:
            await delete_test_blob(self._store, self._blob.name)


async def delete_test_blob(store: Store, name: str) -> None:
    """Delete a test blob. A cancellation waits for this, up to a deadline."""

    async def delete() -> None:
        try:
            await _request("delete", lambda: store.delete(name))
        except DependencyError as error:
            log.warning("test blob may be left behind", blob=name, reason=str(error))

    deletion = asyncio.create_task(delete(), name="delete-test-blob")
    cancellation: asyncio.CancelledError | None = None
    while not deletion.done():
        try:
            await asyncio.wait({deletion})
        except asyncio.CancelledError as cancelled:
            cancellation = cancelled
    if cancellation is not None:
        raise cancellation


async def _request(operation: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The result of ``work``. The error of a refused request names the missing permission."""
    try:
        return await with_timeout(Dependency.STORE, lambda: with_brief_retry(work))
    except SystemicError as error:
        reason = f"no permission to {operation} ({error.reason.partition(':')[0]}). {_GRANT}"
        raise SystemicError(error.dependency, error.operation, reason) from None
