"""Translates the errors of ODBC drivers to this tool's errors.

An error has one or several records such as ``[42000] [Microsoft][ODBC Driver 18 for SQL Server]
[SQL Server]… (40613)``. The number comes from the server if the record has the tag
``[SQL Server]``; FreeTDS uses that tag also for its client library (20000 and more).
"""

import re
from typing import Final

from rogo_async.common import error_classes
from rogo_async.common.errors import Dependency, DependencyError, SystemicError, TransientError
from rogo_async.sources.warehouse.drivers import VARIABLE

CANNOT_OPEN_DATABASE: Final = 4060

_RECORD: Final = re.compile(
    r"\[(?P<state>\w{5})\] (?P<text>.*?) ?\((?P<number>-?\d+)\)(?: \(\w+\))?(?=; \[|\Z)", re.DOTALL
)
_PG_LOGIN: Final = re.compile(
    r"FATAL:\s+(password authentication|database .* does not|role |no pg_hba)"
)
_LOGIN: Final = f"login failed. Check user and password in {VARIABLE}"
_DATABASE: Final = f"cannot open the database. Check its name and the user in {VARIABLE}"
_NO_DATABASE: Final = f"the database does not exist. Correct its name in {VARIABLE}"
_FIREWALL: Final = "the server's firewall blocks this machine. Add its address to the rules"
_PERMISSION: Final = "permission denied. Grant SELECT on {table}"
_CERTIFICATE: Final = (
    "the server's certificate is not trusted. Install the certificate of its authority, or set "
    f"TrustServerCertificate=yes in {VARIABLE} to skip certificate validation"
)
_DRIVER: Final = f"the driver or data source named in {VARIABLE} is not installed"
_NO_NUMBER: Final = (
    "{table} has an AttemptId that is not a number. Ask the owner of the warehouse to fix it"
)
_MEANING: Final = {
    "18456": _LOGIN,
    "18452": _LOGIN,
    "18470": "the login is disabled. Enable it, or use another one",
    "18486": "the login is locked. Unlock it",
    "18487": "the password has expired. Change it",
    "18488": "the password must be changed before the first login. Change it",
    "20014": _LOGIN,
    "4060": _DATABASE,
    "4064": _DATABASE,
    "911": _NO_DATABASE,
    "916": _DATABASE,
    "40532": _LOGIN,
    "40615": _FIREWALL,
    "40914": _FIREWALL,
    "47073": "the server does not accept connections from public networks. Use its private address",
    "208": "table {table} does not exist or is not visible",
    "207": "a column of {table} no longer exists",
    "229": _PERMISSION,
    "230": _PERMISSION,
    "245": _NO_NUMBER,
    "8114": _NO_NUMBER,
    "28000": _LOGIN,
    "42501": _PERMISSION,
    "42S02": "table {table} does not exist or is not visible",
    "certificate": _CERTIFICATE,
    "driver manager": _DRIVER,
    "IM002": _DRIVER,
    "login": f"login failed. Check user, password and database in {VARIABLE}",
}


class DatabaseNotOpened(TransientError):
    """Error 4060: the database is failing over, or its name is wrong."""


class DriverMissing(SystemicError):
    """The ODBC driver or data source of the connection string is not installed."""


def translate_error(
    operation: str, error: Exception, table: str = "the two tables"
) -> DependencyError:
    """Translate a pyodbc error, without the server's own text."""
    state = str(error.args[0]) if error.args else ""
    text = str(error.args[1]) if len(error.args) > 1 else ""
    numbers = _numbers(text)
    driver_error = _driver_error(state, text)
    if driver_error is not None:
        error_class, wait_s = error_classes.ErrorClass.SYSTEMIC, 0.0
    else:
        error_class, wait_s = error_classes.of_odbc(state, numbers)
    reason = f"SQLSTATE {state}" + "".join(f", error {number}" for number in numbers)
    keys = [driver_error] if driver_error is not None else [*map(str, numbers), state]
    meaning = next((_MEANING[key] for key in keys if key in _MEANING), None)
    if error_class is error_classes.ErrorClass.TRANSIENT:
        if CANNOT_OPEN_DATABASE in numbers:
            reason = f"{reason}: {_DATABASE}"
            return DatabaseNotOpened(Dependency.WAREHOUSE, operation, reason, wait_s)
        return TransientError(Dependency.WAREHOUSE, operation, reason, wait_s)
    if meaning is not None:
        reason = f"{reason}: {meaning.format(table=table)}"
    if meaning is _DRIVER:
        return DriverMissing(Dependency.WAREHOUSE, operation, reason)
    return SystemicError(Dependency.WAREHOUSE, operation, reason)


def timed_out(operation: str, seconds: float) -> TransientError:
    """The error of a call that exceeded its deadline."""
    return TransientError(Dependency.WAREHOUSE, operation, f"no response within {seconds:g} s")


def unreadable(operation: str, error: Exception) -> TransientError:
    """The error of a response with a value that does not fit its type."""
    reason = f"the response cannot be read ({type(error).__name__})"
    return TransientError(Dependency.WAREHOUSE, operation, reason)


def _numbers(text: str) -> list[int]:
    """The error numbers of the server or FreeTDS, without duplicates, in order."""
    found = (
        int(record["number"])
        for record in _RECORD.finditer(text)
        if "[SQL Server]" in record["text"] or "[FreeTDS]" in record["text"]
    )
    return [number for number in dict.fromkeys(found) if number > 0]


def _driver_error(state: str, text: str) -> str | None:
    """The key in _MEANING of a permanent error that only the driver's own text identifies."""
    if state == "08001" and _PG_LOGIN.search(text):
        return "login"
    if "[Driver Manager]" in text and "[SQL Server]" not in text:
        return "driver manager"
    if "SSL Provider" in text and re.search(r"certificate|principal name", text, re.IGNORECASE):
        return "certificate"
    return None
