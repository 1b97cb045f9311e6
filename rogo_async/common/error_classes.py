"""Classifies the errors of all servers (docs/architecture.md).

Modules that use a client library pass plain values (SQLSTATE, error number, HTTP status) and
raise the exception for the class. Sources: PostgreSQL's appendix of error codes, Microsoft's list
of transient errors of Azure SQL, Azure Storage's REST status codes.
"""

from collections.abc import Collection
from enum import Enum, auto
from typing import Final


class ErrorClass(Enum):
    """The class of an error. It decides whether the call is retried."""

    TRANSIENT = auto()
    SYSTEMIC = auto()
    CONTENT = auto()
    """The server rejects the content of the row, permanently."""
    CONFLICT = auto()
    """The row violates a unique or foreign key."""


_PG_TRANSIENT: Final = frozenset(
    {"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57014", "25006"}
)
_PG_CONTENT: Final = frozenset({"23502", "23514", "54000", "54001", "P0001"})
_PG_CONFLICT: Final = frozenset({"23503", "23505", "23P01"})

THROTTLED_WAIT_S: Final = 10.0
_MSSQL_THROTTLED: Final = frozenset({40501, 49918, 49919, 49920, 10928, 10929, 10936})
_MSSQL_TRANSIENT: Final = _MSSQL_THROTTLED | frozenset(
    {1204, 1205, 1222, 233, 997, 4060, 4221, 10060, 40143, 40197, 40540, 40613}
    | {42108, 42109, 20, 64, 121, 10053, 10054}
    # The server is starting, stopping, failing over or short of memory.
    | {596, 615, 701, 921, 976, 983, 6005, 8628, 8645, 8651, 40020, 40166, 40648, 40671}
)
_FREETDS_TRANSIENT: Final = frozenset({20002, 20003, 20004, 20006, 20009, 20017, 20047})
"""Error numbers of FreeTDS: the connection failed, timed out or was lost."""
_ODBC_TRANSIENT: Final = frozenset(
    {"08S01", "08001", "08003", "08004", "08007", "HYT00", "HYT01"}
    # A general driver error: all that FreeTDS reports for a lost connection.
    | {"HY000"}
)

_HTTP_TRANSIENT: Final = frozenset({408, 429, 500, 502, 503, 504})


def of_postgres(sqlstate: str | None) -> ErrorClass:
    """Class of a PostgreSQL error; ``None``: the connection was lost without an error."""
    if sqlstate is None or sqlstate in _PG_TRANSIENT or sqlstate.startswith("08"):
        return ErrorClass.TRANSIENT
    if sqlstate in _PG_CONFLICT:
        return ErrorClass.CONFLICT
    if sqlstate in _PG_CONTENT or sqlstate.startswith("22"):
        return ErrorClass.CONTENT
    return ErrorClass.SYSTEMIC


def of_odbc(sqlstate: str, numbers: Collection[int]) -> tuple[ErrorClass, float]:
    """Class of an ODBC error, and the minimum wait in seconds.

    ``numbers`` are the error numbers of SQL Server and FreeTDS. One transient number makes the
    whole error transient: during a failover the server also reports a failed login.
    """
    found = frozenset(numbers)
    if found & _MSSQL_TRANSIENT:
        return ErrorClass.TRANSIENT, THROTTLED_WAIT_S if found & _MSSQL_THROTTLED else 0.0
    if sqlstate in {"HYT00", "HYT01", "08S01", "40001"}:
        return ErrorClass.TRANSIENT, 0.0
    if found - _FREETDS_TRANSIENT:
        return ErrorClass.SYSTEMIC, 0.0
    if found or sqlstate in _ODBC_TRANSIENT or sqlstate in _PG_TRANSIENT:
        return ErrorClass.TRANSIENT, 0.0
    return ErrorClass.SYSTEMIC, 0.0


def of_http(status: int) -> ErrorClass:
    """Class of an HTTP error status that the caller does not handle itself."""
    return ErrorClass.TRANSIENT if status in _HTTP_TRANSIENT else ErrorClass.SYSTEMIC


def seconds_of(retry_after: str | None) -> float:
    """The seconds of a Retry-After header; 0 if it is missing or a date."""
    return (
        float(retry_after)
        if retry_after and retry_after.isascii() and retry_after.isdigit()
        else 0.0
    )
