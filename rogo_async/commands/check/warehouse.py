"""The warehouse: driver, login, tables, and that it can be read (SPEC §1, §4)."""

import re
import sys
from contextlib import AsyncExitStack
from typing import Final

from rogo_async.commands.check.probe import soon
from rogo_async.commands.check.results import (
    Check,
    Findings,
    Verdict,
    fail,
    ok,
    verdict_of,
    warning,
)
from rogo_async.common.errors import DependencyError, SetupError, SystemicError, TransientError
from rogo_async.common.settings import Settings
from rogo_async.sources.warehouse.connection_string import Route, route_of
from rogo_async.sources.warehouse.drivers import Driver, Kind
from rogo_async.sources.warehouse.errors import DriverMissing
from rogo_async.sources.warehouse.inspection import Inspection

_SETTING: Final = "DATA_WAREHOUSE_CONNECTION_STRING"
_ADVICE: Final = f"See that the server runs and that {_SETTING} leads to it"
_GRANT: Final = f"Check the database in {_SETTING} and grant SELECT"
_OPENING: Final = ("warehouse.driver", "warehouse.reach", "warehouse.login")
_OLDEST: Final = {Kind.MICROSOFT: 17, Kind.FREETDS: 1}
_NAMED_VERSION: Final = re.compile(r"ODBC Driver (\d+) for SQL Server|libmsodbcsql-(\d+)")


class WarehouseChecks:
    """All checks of the warehouse, on one connection."""

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._inspection: Inspection

    async def execute(self) -> None:
        """Make them."""
        login = ("warehouse.login",)
        async with AsyncExitStack() as stack:
            await self._open(stack)
            await self._findings.carry_out(
                [
                    Check("warehouse.tables", self._tables, login, _ADVICE),
                    Check("warehouse.read", self._read, ("warehouse.tables",), _ADVICE),
                    Check("warehouse.rights", self._rights, ("warehouse.tables",), _ADVICE),
                ]
            )

    async def _open(self, stack: AsyncExitStack) -> None:
        """Find the driver, reach the server, log in: what that failed at is one of three."""
        findings = self._findings
        if not findings.stands(f"settings.{_SETTING}"):
            for name in _OPENING:
                findings.skip(name, f"settings.{_SETTING}")
            return
        route: Route | None = None
        try:
            route = route_of(self._settings.data_warehouse_connection_string.get_secret_value())
            self._inspection = await soon(lambda: Inspection.open(route))
        except (SetupError, DependencyError) as fault:
            self._not_opened(fault, route)
            return
        stack.push_async_callback(self._inspection.aclose)
        await findings.carry_out(
            [Check("warehouse.driver", lambda: self._driver(route), (), _ADVICE)]
        )
        findings.add("warehouse.reach", ok("the server answers"))
        findings.add("warehouse.login", ok("the login is taken"))

    def _not_opened(self, fault: SetupError | DependencyError, route: Route | None) -> None:
        if isinstance(fault, SetupError | DriverMissing):
            at = 0
        else:
            at = 1 if isinstance(fault, TransientError) else 2
        if at > 0 and route is not None:
            self._findings.add("warehouse.driver", _aged(route.driver, "", route.driver.name))
        if at > 1:
            self._findings.add("warehouse.reach", ok("the server answers"))
        self._findings.add(_OPENING[at], verdict_of(fault, _ADVICE))
        for name in _OPENING[at + 1 :]:
            self._findings.skip(name, _OPENING[at])

    async def _driver(self, route: Route) -> Verdict:
        facts = await self._inspection.facts()
        shown = (
            f"{facts.driver} {facts.driver_version} ({route.driver.chosen}); "
            f"the server is {facts.server} {facts.server_version}"
        )
        return _aged(route.driver, facts.driver_version, shown)

    async def _tables(self) -> Verdict:
        faults = await self._inspection.faults()
        if faults.absent:
            return fail(
                f"there is no table {', '.join(faults.absent)}, or no right to see it", _GRANT
            )
        if faults.lacking:
            text = "; ".join(
                f"{table} has no column {', '.join(columns)}"
                for table, columns in faults.lacking.items()
            )
            return fail(text, "Have the warehouse's owner add it, or correct the database's name")
        return ok("both tables with their columns")

    async def _read(self) -> Verdict:
        try:
            empty = await self._inspection.empty()
        except ValueError:
            return fail("a row's AttemptId is no whole number", "Have it corrected")
        if empty:
            return warning(
                f"no row in {' and in '.join(empty)}", "See whether the warehouse has been filled"
            )
        return ok("both tables can be read (one row of each was)")

    async def _rights(self) -> Verdict:
        try:
            tables = await self._inspection.writable()
        except SystemicError:
            return ok("the server does not tell what this login may do besides reading")
        if tables:
            return warning(
                f"this login may change {' and '.join(tables)}; a run only reads",
                "Give it SELECT alone",
            )
        return ok("this login may only read")


def _aged(driver: Driver, version: str, shown: str) -> Verdict:
    """What is to be said of a driver's age."""
    if _version(driver, version) < _OLDEST.get(driver.kind, 0):
        return warning(
            f"an old driver: {shown}",
            "Install Microsoft's msodbcsql18, or pip install 'rogo-async[mssql]'",
        )
    return ok(shown)


def _version(driver: Driver, told: str) -> int:
    """The version that a driver's name tells, else the one that it gives itself; one that nobody
    tells is taken for the newest.
    """
    if named := _NAMED_VERSION.search(driver.name):
        return int(named[1] or named[2])
    found = re.match(r"\d+", told)
    return int(found[0]) if found else sys.maxsize
