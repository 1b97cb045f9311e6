"""What an ODBC driver's error stands for (docs/architecture.md).

An error holds one or several records such as ``[42000] [Microsoft][ODBC Driver 18 for SQL Server]
[SQL Server]… (40613)``. The number is the server's own where the record is tagged so; FreeTDS tags
its client library's numbers (20000 and more) in the same way.
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
_LOGIN: Final = f"the login was refused. Check user and password in {VARIABLE}"
_DATABASE: Final = f"the database cannot be opened. Check its name and the user in {VARIABLE}"
_FIREWALL: Final = "the server's firewall refuses this machine. Add its address there"
_PERMISSION: Final = "a permission is missing. Grant SELECT on {table}"
_CERTIFICATE: Final = (
    "the server's certificate is not trusted. Install its authority's certificate, or say "
    f"TrustServerCertificate=yes in {VARIABLE} to do without the check"
)
_DRIVER: Final = f"the driver or data source named in {VARIABLE} is not installed"
_NO_NUMBER: Final = "{table} holds an AttemptId that is no number. Have it corrected"
_MEANING: Final = {
    "18456": _LOGIN,
    "18452": _LOGIN,
    "18470": "the login is disabled. Have it enabled, or use another",
    "18486": "the login is locked. Have it unlocked",
    "18487": "the password has expired. Have it changed",
    "18488": "the password must be changed first. Have it changed",
    "20014": _LOGIN,
    "4060": _DATABASE,
    "4064": _DATABASE,
    "916": _DATABASE,
    "40532": _LOGIN,
    "40615": _FIREWALL,
    "40914": _FIREWALL,
    "47073": "the server admits nobody from public networks. Use its private address",
    "208": "there is no table {table}, or no right to see it",
    "207": "{table} has lost a column",
    "229": _PERMISSION,
    "230": _PERMISSION,
    "245": _NO_NUMBER,
    "8114": _NO_NUMBER,
    "28000": _LOGIN,
    "42501": _PERMISSION,
    "42S02": "there is no table {table}, or no right to see it",
    "certificate": _CERTIFICATE,
    "driver manager": _DRIVER,
    "IM002": _DRIVER,
    "login": f"the login was refused. Check user, password and database in {VARIABLE}",
}


class DatabaseNotOpened(TransientError):
    """Error 4060: a database that is moving, or a wrong name. Only time tells."""


class DriverMissing(SystemicError):
    """The driver or data source that is asked for cannot be loaded."""


def translate_error(
    operation: str, error: Exception, table: str = "the two tables"
) -> DependencyError:
    """The fault that a pyodbc error stands for. The server's own text is left out of it."""
    state = str(error.args[0]) if error.args else ""
    text = str(error.args[1]) if len(error.args) > 1 else ""
    numbers = _numbers(text)
    told = _told_by_the_driver(state, text)
    if told is not None:
        verdict, wait_s = error_classes.ErrorClass.SYSTEMIC, 0.0
    else:
        verdict, wait_s = error_classes.of_odbc(state, numbers)
    reason = f"SQLSTATE {state}" + "".join(f", error {number}" for number in numbers)
    keys = [told] if told is not None else [*map(str, numbers), state]
    meaning = next((_MEANING[key] for key in keys if key in _MEANING), None)
    if verdict is error_classes.ErrorClass.TRANSIENT:
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
    """The fault of a call that overran its deadline."""
    return TransientError(Dependency.WAREHOUSE, operation, f"no answer within {seconds:g} s")


def unreadable(operation: str, error: Exception) -> TransientError:
    """The fault of an answer that holds something which is no value of its type."""
    reason = f"the answer cannot be read ({type(error).__name__})"
    return TransientError(Dependency.WAREHOUSE, operation, reason)


def _numbers(text: str) -> list[int]:
    """The server's or FreeTDS's error numbers, each once, the first one first."""
    found = (
        int(record["number"])
        for record in _RECORD.finditer(text)
        if "[SQL Server]" in record["text"] or "[FreeTDS]" in record["text"]
    )
    return [number for number in dict.fromkeys(found) if number > 0]


def _told_by_the_driver(state: str, text: str) -> str | None:
    """What only the text of a driver's own error tells; all of it is no passing matter."""
    if state == "08001" and _PG_LOGIN.search(text):
        return "login"
    if "[Driver Manager]" in text and "[SQL Server]" not in text:
        return "driver manager"
    if "SSL Provider" in text and re.search(r"certificate|principal name", text, re.IGNORECASE):
        return "certificate"
    return None
