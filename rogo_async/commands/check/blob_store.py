"""The destination: credentials, container, and a blob that is written, read and deleted."""

import asyncio
import hashlib
import uuid
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog

from rogo_async.commands.check.probe import Once, answered, compared, soon
from rogo_async.commands.check.results import Check, Findings, Verdict, fail, ok, verdict_of
from rogo_async.common.errors import Dependency, DependencyError, SetupError, SystemicError
from rogo_async.common.http_session import HttpSession
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.blobs.store import Blob, Store

T = TypeVar("T")
PREFIX: Final = "LTI_Uploads/rogo_check_"
"""How the names of the blobs begin that a check writes."""
_SETTINGS: Final = (
    "settings.AZURE_STORAGE_CONNECTION_STRING",
    "settings.AZURE_STORAGE_ACCOUNT_NAME",
    "settings.AZURE_STORAGE_ACCOUNT_KEY",
    "settings.ROGO_CONTAINER",
)
_OPENING: Final = ("store.reach", "store.credentials", "store.container")
_ADVICE: Final = "See that the store runs and that the AZURE_STORAGE_… settings lead to it"
_GRANT: Final = "Give the credentials read, write, create, delete and list in the container"
_BODY: Final = b"Written by rogo_async check, and to be deleted by it.\n"
_MARK: Final = "rogocheck"
_TAKEN: Final = "the credentials are taken"
log = structlog.get_logger()


class StoreChecks:
    """All checks of the destination. What it writes it deletes, whatever happens meanwhile."""

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._account: Account
        self._store: Store
        self._inventory: Inventory
        self._mark = uuid.uuid4().hex
        self._blob = Blob(f"{PREFIX}{self._mark}", "text/plain", {_MARK: self._mark})
        self._md5 = hashlib.md5(_BODY, usedforsecurity=False).digest()
        self._may_stand = False
        self._times: tuple[datetime, datetime, datetime] | None = None

    async def execute(self) -> None:
        """Make them."""
        there, written = ("store.signature",), ("store.write",)
        async with AsyncExitStack() as stack:
            await self._open(stack)
            stack.push_async_callback(self._clear)
            await self._findings.carry_out(
                [
                    Check("clock.store", self._clock, ("store.reach",), _ADVICE),
                    Check("store.signature", self._signature, ("store.container",), _ADVICE),
                    Check("store.write", self._write, there, _ADVICE),
                    Check("store.read", self._read, written, _ADVICE),
                    Check("store.list", self._list, there, _ADVICE),
                    Check("store.delete", self._delete, written, _ADVICE),
                ]
            )

    async def _open(self, stack: AsyncExitStack) -> None:
        """Reach the store, log in, find the container."""
        findings = self._findings
        wrong = next((name for name in _SETTINGS if not findings.stands(name)), None)
        if wrong is not None:
            for name in _OPENING:
                findings.skip(name, wrong)
            return
        try:
            self._account = Account(self._settings)
        except SetupError as fault:
            findings.add("store.credentials", verdict_of(fault, _ADVICE))
            for name in ("store.reach", "store.container"):
                findings.skip(name, "store.credentials")
            return
        stack.push_async_callback(self._account.aclose)
        http = HttpSession()
        stack.push_async_callback(http.aclose)
        breaker = Once(Dependency.STORE)
        self._store = Store(self._account, http, breaker)
        self._inventory = Inventory(self._account, http, breaker)
        await findings.carry_out([Check("store.reach", self._reach, (), _ADVICE)])
        if findings.stands("store.reach"):
            await self._log_in()
        else:
            for name in _OPENING[1:]:
                findings.skip(name, "store.reach")

    async def _reach(self) -> Verdict:
        """Ask without credentials, which are refused where clocks differ."""
        await answered(Dependency.STORE, lambda: soon(self._ask_time))
        return ok("the store answers")

    async def _ask_time(self) -> None:
        before = datetime.now(UTC)
        there = await self._inventory.time_told()
        self._times = None if there is None else (there, before, datetime.now(UTC))

    async def _log_in(self) -> None:
        """Ask for the container; it tells of the credentials and of itself."""
        findings = self._findings
        try:
            await answered(Dependency.STORE, lambda: soon(self._account.check))
        except DependencyError as fault:
            verdict = verdict_of(fault, _ADVICE)
            if getattr(fault.__context__, "status_code", None) == HTTPStatus.NOT_FOUND:
                findings.add("store.credentials", ok(_TAKEN))
                findings.add("store.container", verdict)
            else:
                findings.add("store.credentials", verdict)
                findings.skip("store.container", "store.credentials")
            return
        findings.add("store.credentials", ok(_TAKEN))
        findings.add("store.container", ok("the container is there"))

    async def _clock(self) -> Verdict:
        if self._times is None:
            return ok("the store does not tell its time")
        return compared(*self._times, "the store's")

    async def _signature(self) -> Verdict:
        await answered(Dependency.STORE, lambda: soon(self._signed))
        return ok("requests can be signed")

    async def _signed(self) -> None:
        await self._account.signed("GET", "", {})

    async def _write(self) -> Verdict:
        self._may_stand = True
        await _permitted("write", lambda: self._store.put(self._blob, _BODY, self._md5))
        return ok("a blob can be written, its MD5 checked by the store")

    async def _read(self) -> Verdict:
        found = await _permitted("read", lambda: self._inventory.read(self._blob.name, whole=True))
        if found is None:
            return fail("a blob that was just written is not there", _ADVICE)
        if found.md5 != self._md5 or found.stated_md5 != self._md5:
            return fail("a blob was read with another MD5 than it was written with", _ADVICE)
        if found.metadata.get(_MARK) != self._mark:
            return fail("a blob has lost its metadata, by which sweep knows it", _ADVICE)
        return ok("it can be read back, with its MD5 and its metadata")

    async def _list(self) -> Verdict:
        names: list[str] = []

        async def all_of_it() -> None:
            async for page in self._inventory.pages(PREFIX):
                names.extend(blob.name for blob in page)

        await _permitted("list", all_of_it)
        if self._findings.stands("store.write") and self._blob.name not in names:
            return fail("the list of blobs lacks one that was just written", _ADVICE)
        return ok("blobs can be listed")

    async def _delete(self) -> Verdict:
        try:
            await _permitted("delete", lambda: self._store.delete(self._blob.name))
        except SystemicError as refused:
            # A second try would be refused as well.
            self._may_stand = False
            return fail(
                f"{refused.reason.partition('. ')[0]}; {self._blob.name} is left behind",
                f"{_GRANT}, and delete that blob",
            )
        self._may_stand = False
        return ok("it can be deleted, and was")

    async def _clear(self) -> None:
        """Delete what was, or may have been, written before the checks came to an end. Whoever is
        in a hurry waits for it: it has a deadline.
        """
        if not self._may_stand:
            return
        removing = asyncio.create_task(self._remove(), name="removing-what-a-check-wrote")
        hurried: asyncio.CancelledError | None = None
        while not removing.done():
            try:
                await asyncio.wait({removing})
            except asyncio.CancelledError as cancelled:
                hurried = cancelled
        if hurried is not None:
            raise hurried

    async def _remove(self) -> None:
        try:
            await _permitted("delete", lambda: self._store.delete(self._blob.name))
        except DependencyError as fault:
            log.warning("a blob of this check may be left", blob=self._blob.name, reason=str(fault))


async def _permitted(operation: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` gives; a refusal names the right that is missing."""
    try:
        return await answered(Dependency.STORE, lambda: soon(work))
    except SystemicError as fault:
        reason = f"the store refuses to {operation} ({fault.reason.partition(':')[0]}). {_GRANT}"
        raise SystemicError(fault.dependency, fault.operation, reason) from None
