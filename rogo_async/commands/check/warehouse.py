"""Checks of the warehouse: driver, login, tables, and a read of each table."""

import re
import sys
from contextlib import AsyncExitStack
from typing import Final

from rogo_async.commands.check.probe import with_brief_retry
from rogo_async.commands.check.results import (
    Check,
    CheckReport,
    CheckResult,
    fail,
    ok,
    result_of_error,
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
_CHECK_SERVER: Final = f"Check that the server is running and that {_SETTING} points to it"
_GRANT: Final = f"Check the database name in {_SETTING}, and grant SELECT"
_CONNECTION: Final = ("warehouse.driver", "warehouse.reach", "warehouse.login")
_OLDEST_DRIVER: Final = {DriverKind.MICROSOFT: 17, DriverKind.FREETDS: 1}
_VERSION_IN_NAME: Final = re.compile(r"ODBC Driver (\d+) for SQL Server|libmsodbcsql-(\d+)")


class WarehouseChecks:
    """All checks of the warehouse, on one connection."""

    def __init__(self, settings: Settings, report: CheckReport) -> None:
        self._settings = settings
        self._report = report
        self._inspection: Inspection
        self._catalogue: Catalogue

    async def execute(self) -> None:
        """Run the checks."""
        login = ("warehouse.login",)
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            await self._report.run(
                [
                    Check("warehouse.tables", self._tables, login, _CHECK_SERVER),
                    Check("warehouse.read", self._read, ("warehouse.tables",), _CHECK_SERVER),
                    Check("warehouse.rights", self._rights, ("warehouse.tables",), _CHECK_SERVER),
                ]
            )

    async def _connect(self, stack: AsyncExitStack) -> None:
        """Find the driver, reach the server, log in; report each of the three steps."""
        report = self._report
        if not report.passed(f"settings.{_SETTING}"):
            for name in _CONNECTION:
                report.skip(name, f"settings.{_SETTING}")
            return
        odbc: OdbcSettings | None = None
        try:
            odbc = odbc_settings(self._settings.data_warehouse_connection_string.get_secret_value())
            proxies = self._settings.proxies
            self._inspection = await with_brief_retry(lambda: Inspection.open(odbc, proxies))
        except (SetupError, DependencyError) as error:
            self._report_failed_step(error, odbc)
            return
        stack.push_async_callback(self._inspection.aclose)
        await report.run([Check("warehouse.driver", lambda: self._driver(odbc), (), _CHECK_SERVER)])
        report.add("warehouse.reach", ok("server reachable"))
        report.add("warehouse.login", ok("login accepted"))

    def _report_failed_step(
        self, error: SetupError | DependencyError, odbc: OdbcSettings | None
    ) -> None:
        if isinstance(error, SetupError | DriverMissing):
            failed = 0
        else:
            failed = 1 if isinstance(error, TransientError) else 2
        if failed > 0 and odbc is not None:
            self._report.add("warehouse.driver", _driver_result(odbc.driver, "", odbc.driver.name))
        if failed > 1:
            self._report.add("warehouse.reach", ok("server reachable"))
        self._report.add(_CONNECTION[failed], result_of_error(error, _CHECK_SERVER))
        for name in _CONNECTION[failed + 1 :]:
            self._report.skip(name, _CONNECTION[failed])

    async def _driver(self, odbc: OdbcSettings) -> CheckResult:
        server_info = await self._inspection.server_info()
        shown = (
            f"{server_info.driver} {server_info.driver_version} ({odbc.driver.chosen}); "
            f"the server is {server_info.server} {server_info.server_version}"
        )
        return _driver_result(odbc.driver, server_info.driver_version, shown)

    async def _tables(self) -> CheckResult:
        self._catalogue = catalogue = await self._inspection.catalogue()
        if missing := catalogue.missing_tables():
            return fail(
                f"missing tables, or no permission to see them: {', '.join(missing)}", _GRANT
            )
        if columns := catalogue.missing_columns():
            text = "; ".join(
                f"{table} has no column {', '.join(names)}" for table, names in columns.items()
            )
            return fail(text, "Ask the owner of the warehouse to add it, or fix the database name")
        return ok("both tables exist, with all required columns")

    async def _read(self) -> CheckResult:
        try:
            empty = await self._inspection.empty_tables(self._catalogue)
        except ValueError:
            return fail(
                "AttemptId of a row is not a whole number",
                "Ask the owner of the warehouse to fix it",
            )
        if empty:
            return warning(
                f"no rows in {' and '.join(empty)}", "Check that the warehouse has been loaded"
            )
        return ok("both tables readable (read one row of each)")

    async def _rights(self) -> CheckResult:
        try:
            tables = await self._inspection.writable_tables()
        except SystemicError:
            return ok("write permissions unknown: the server does not report them")
        if tables:
            return warning(
                f"login can change {' and '.join(tables)}; a run only reads",
                "Grant it SELECT only",
            )
        return ok("read-only login")


_USE_MICROSOFTS_DRIVER: Final = (
    "Use Microsoft's ODBC Driver 18 for SQL Server: install msodbcsql18, or the extra mssql of "
    "this package"
)


def _driver_result(driver: Driver, version: str, shown: str) -> CheckResult:
    """Ok, or a warning for a driver that is out of support, and for FreeTDS."""
    if driver.kind is DriverKind.FREETDS:
        return warning(
            f"{shown}. FreeTDS does not check the server's certificate, and its calls may never "
            "end when the server ends an encrypted session",
            _USE_MICROSOFTS_DRIVER,
        )
    if _version(driver, version) < _OLDEST_DRIVER.get(driver.kind, 0):
        return warning(
            f"driver is out of support: {shown}",
            _USE_MICROSOFTS_DRIVER,
        )
    return ok(shown)


def _version(driver: Driver, reported: str) -> int:
    """The major version in the driver's name, else the reported one; unknown counts as new."""
    if named := _VERSION_IN_NAME.search(driver.name):
        return int(named[1] or named[2])
    found = re.match(r"\d+", reported)
    return int(found[0]) if found else sys.maxsize
