"""The target: whether it answers, is the platform's, and lets a run write (SPEC §2, §5)."""

import ssl
from contextlib import AsyncExitStack
from typing import Final

from rogo_async.check.asking import Asking
from rogo_async.check.findings import Check, Findings, Verdict, fail, ok, verdict_of
from rogo_async.check.once import soon
from rogo_async.check.platform import Platform
from rogo_async.check.server import Server
from rogo_async.check.trial import Trial
from rogo_async.errors import DependencyFault, SetupError, SystemicFault
from rogo_async.settings import Settings
from rogo_async.target import Address, Connections

_NAME: Final = "rogo_async check"
_ADVICE: Final = "See that the server runs and that DATABASE_URL leads to it"
_PASSED: Final = {
    "target.reach": "the server answers",
    "target.tls": "the server's way of encrypting is as it should be",
    "target.login": "the login is taken",
}
_NO_ROOM: Final = "53300"


class Target:
    """All checks of the target."""

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._asking = Asking()
        self.server = Server(self._asking, settings, findings)

    async def execute(self) -> None:
        """Make them, on one connection."""
        async with AsyncExitStack() as stack:
            await self._open(stack)
            await self._findings.carry_out(
                [
                    *self.server.checks(),
                    *Platform(self._asking, self._settings).checks(),
                    *Trial(self._asking, self._settings).checks(),
                ]
            )

    async def _open(self, stack: AsyncExitStack) -> None:
        """Connect. Three findings tell how far that went; what it failed at is one of them."""
        findings, names = self._findings, list(_PASSED)
        if not findings.stands("settings.DATABASE_URL"):
            for name in names:
                findings.skip(name, "settings.DATABASE_URL")
            return
        try:
            address = Address(self._settings.target_dsn, self._settings.target_ssl, _NAME)
            self._asking.connections = await soon(lambda: Connections.open(address, 1))
        except SetupError as fault:
            findings.add("target.tls", verdict_of(fault, _ADVICE))
            for name in ("target.reach", "target.login"):
                findings.skip(name, "target.tls")
            return
        except DependencyFault as fault:
            at, verdict = _stage(fault)
            for name in names[: names.index(at)]:
                findings.add(name, ok(_PASSED[name]))
            findings.add(at, verdict)
            for name in names[names.index(at) + 1 :]:
                findings.skip(name, at)
            return
        stack.push_async_callback(self._asking.connections.aclose)
        findings.add("target.reach", ok(_PASSED["target.reach"]))
        await findings.carry_out([Check("target.tls", self.server.tls, (), _ADVICE)])
        findings.add("target.login", ok(_PASSED["target.login"]))


def _stage(fault: DependencyFault) -> tuple[str, Verdict]:
    """At what connecting failed, and how. The library's error, which the fault stands for, tells
    apart what a run has no need to.
    """
    verdict = verdict_of(fault, _ADVICE)
    cause = fault.__context__
    if getattr(cause, "sqlstate", None) == _NO_ROOM:
        return "target.login", fail(
            "the server has no connection left for this user",
            "End idle connections there, or raise max_connections or the limit of the role or the "
            "database",
        )
    if isinstance(cause, ssl.SSLError) or type(cause) is ConnectionError:
        return "target.tls", verdict
    if isinstance(fault, SystemicFault) and hasattr(cause, "sqlstate"):
        return "target.login", verdict
    return "target.reach", verdict
