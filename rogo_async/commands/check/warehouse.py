"""The warehouse: driver, login, tables, and that it can be read (specification §1, §4)."""

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
from rogo_async.sources.warehouse.connection_string import OdbcSettings, odbc_settings
from rogo_async.sources.warehouse.drivers import Driver, DriverKind
from rogo_async.sources.warehouse.errors import DriverMissing
from rogo_async.sources.warehouse.inspection import Inspection
from rogo_async.sources.warehouse.tables import Catalogue

_SETTING: Final = "DATA_WAREHOUSE_CONNECTION_STRING"
_ADVICE: Final = f"See that the server runs and that {_SETTING} leads to it"
_GRANT: Final = f"Check the database in {_SETTING} and grant SELECT"
_OPENING: Final = ("warehouse.driver", "warehouse.reach", "warehouse.login")
_OLDEST: Final = {DriverKind.MICROSOFT: 17, DriverKind.FREETDS: 1}
_NAMED_VERSION: Final = re.compile(r"ODBC Driver (\d+) for SQL Server|libmsodbcsql-(\d+)")


class WarehouseChecks:
    """All checks of the warehouse, on one connection."""

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._inspection: Inspection
        self._catalogue: Catalogue

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
        odbc: OdbcSettings | None = None
        try:
            odbc = odbc_settings(self._settings.data_warehouse_connection_string.get_secret_value())
            self._inspection = await soon(lambda: Inspection.open(odbc))
        except (SetupError, DependencyError) as fault:
            self._not_opened(fault, odbc)
            return
        stack.push_async_callback(self._inspection.aclose)
        await findings.carry_out(
            [Check("warehouse.driver", lambda: self._driver(odbc), (), _ADVICE)]
        )
        findings.add("warehouse.reach", ok("the server answers"))
        findings.add("warehouse.login", ok("the login is taken"))

    def _not_opened(self, fault: SetupError | DependencyError, odbc: OdbcSettings | None) -> None:
        if isinstance(fault, SetupError | DriverMissing):
            at = 0
        else:
            at = 1 if isinstance(fault, TransientError) else 2
        if at > 0 and odbc is not None:
            self._findings.add("warehouse.driver", _aged(odbc.driver, "", odbc.driver.name))
        if at > 1:
            self._findings.add("warehouse.reach", ok("the server answers"))
        self._findings.add(_OPENING[at], verdict_of(fault, _ADVICE))
        for name in _OPENING[at + 1 :]:
            self._findings.skip(name, _OPENING[at])

    async def _driver(self, odbc: OdbcSettings) -> Verdict:
        server_info = await self._inspection.server_info()
        shown = (
            f"{server_info.driver} {server_info.driver_version} ({odbc.driver.chosen}); "
            f"the server is {server_info.server} {server_info.server_version}"
        )
        return _aged(odbc.driver, server_info.driver_version, shown)

    async def _tables(self) -> Verdict:
        self._catalogue = catalogue = await self._inspection.catalogue()
        if missing := catalogue.missing_tables():
            return fail(f"there is no table {', '.join(missing)}, or no right to see it", _GRANT)
        if columns := catalogue.missing_columns():
            text = "; ".join(
                f"{table} has no column {', '.join(names)}" for table, names in columns.items()
            )
            return fail(text, "Have the warehouse's owner add it, or correct the database's name")
        return ok("both tables with their columns")

    async def _read(self) -> Verdict:
        try:
            empty = await self._inspection.empty_tables(self._catalogue)
        except ValueError:
            return fail("a row's AttemptId is no whole number", "Have it corrected")
        if empty:
            return warning(
                f"no row in {' and in '.join(empty)}", "See whether the warehouse has been filled"
            )
        return ok("both tables can be read (one row of each was)")

    async def _rights(self) -> Verdict:
        try:
            tables = await self._inspection.writable_tables()
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
