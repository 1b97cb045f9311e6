"""Classifies the errors of all servers (docs/architecture.md).

Modules that use a client library pass plain values (SQLSTATE, error number, HTTP status) and
raise the exception for the class. Sources: PostgreSQL's appendix of error codes, Microsoft's list
of transient errors of Azure SQL, Azure Storage's REST status codes.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
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
    REFUSED = auto()
    """The server refuses the statement: its tables, their columns, a permission."""
    DECLINED = auto()
    """The server does not do this for a reason of its own; there is another way to do it."""


_PG_TRANSIENT: Final = frozenset(
    {"40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57014"}
    # The server ended a session that was idle for too long.
    | {"25P03", "25P04", "57P05"}
)
_PG_SYSTEMIC: Final = ("28", "3D", "53", "57", "58", "F0", "XX")
"""Classes of errors of the server as a whole: logins, resources, its files."""
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

_HTTP_TRANSIENT: Final = frozenset({408, 425, 429})
_HTTP_PERMANENT: Final = frozenset({501, 505})
"""Not implemented, HTTP version not supported. RFC 9110: treat every other 5xx as 500."""
_ACCESS_REFUSED: Final = frozenset({401, 403})
_ACCESS_REFUSED_CODES: Final = frozenset(
    {
        (400, "InvalidAuthenticationInfo"),
        (400, "InvalidQueryParameterValue"),
        (404, "ResourceNotFound"),
        (409, "PublicAccessNotPermitted"),
    }
)
"""Azure Storage's other answers to a wrong SAS, or to no SAS. A missing blob is BlobNotFound."""
_TOKEN_REFUSED: Final = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo"})
_BLOB_MAY_EXIST: Final = frozenset({(409, "BlobAlreadyExists"), (412, "ConditionNotMet")})
_LONGEST_CODE: Final = 64


def of_postgres(sqlstate: str | None) -> ErrorClass:
    """Class of a PostgreSQL error; ``None``: the connection was lost without an error."""
    if sqlstate is None or sqlstate in _PG_TRANSIENT or sqlstate.startswith("08"):
        return ErrorClass.TRANSIENT
    if sqlstate in _PG_CONFLICT:
        return ErrorClass.CONFLICT
    if sqlstate in _PG_CONTENT or sqlstate.startswith("22"):
        return ErrorClass.CONTENT
    return ErrorClass.SYSTEMIC if sqlstate.startswith(_PG_SYSTEMIC) else ErrorClass.REFUSED


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
    transient = status in _HTTP_TRANSIENT or (status >= 500 and status not in _HTTP_PERMANENT)
    return ErrorClass.TRANSIENT if transient else ErrorClass.SYSTEMIC


def of_copy(status: int, code: str | None) -> ErrorClass:
    """Class of an answer to Put Blob From URL other than success.

    CONFLICT: a blob with this name may exist. DECLINED also covers errors that the request for
    the bytes themselves reports better: of the source, and of the credentials.
    """
    if (status, code) in _BLOB_MAY_EXIST:
        return ErrorClass.CONFLICT
    if of_http(status) is ErrorClass.TRANSIENT and code != "CannotVerifyCopySource":
        return ErrorClass.TRANSIENT
    return ErrorClass.DECLINED


def are_blocks_discarded(code: str | None) -> bool:
    """Whether the store no longer has blocks that were sent: the blob was written meanwhile."""
    return code == "InvalidBlockList"


def is_access_refused(status: int, code: str | None) -> bool:
    """Whether a source refuses access: the credentials are wrong, unless it serves other files."""
    return status in _ACCESS_REFUSED or (status, code) in _ACCESS_REFUSED_CODES


def is_token_refused(status: int, code: str | None) -> bool:
    """Whether Azure Storage refuses the access token itself, rather than what it asks for."""
    return status == 401 or (status == 403 and code in _TOKEN_REFUSED)


def code_of(headers: Mapping[str, str]) -> str | None:
    """Azure Storage's own name of an error, if it is one: letters and digits."""
    code = headers.get("x-ms-error-code", "")
    return code if code.isascii() and code.isalnum() and len(code) <= _LONGEST_CODE else None


def seconds_of(retry_after: str | None, now: datetime | None = None) -> float:
    """The seconds of a Retry-After header, which has a number or a date (RFC 9110, 10.2.3).

    0 if it is missing or invalid.
    """
    if not retry_after:
        return 0.0
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return 0.0
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
