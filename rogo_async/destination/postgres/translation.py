"""Translates the errors of asyncpg to the errors of this package (rule 15)."""

import asyncio
import re
import ssl
from typing import Final

import asyncpg

from rogo_async.common import error_classes
from rogo_async.common.error_classes import ErrorClass
from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    DependencyError,
    FailureCode,
    RefusedError,
    RowError,
    SystemicError,
    TransientError,
    reason_of,
)
from rogo_async.destination.postgres.connector import ConnectOptions, is_without_tls
from rogo_async.destination.postgres.queries import inserted_tables
from rogo_async.destination.postgres.tls import reason_of_tls_error

_MEANING: Final = {
    "28P01": "login failed. Check user and password in DATABASE_URL",
    "28000": (
        "login failed. Check user and sslmode in DATABASE_URL, and sslcert and sslkey if the "
        "server asks for a client certificate"
    ),
    "3D000": "the database does not exist. Check its name in DATABASE_URL",
    "42501": "permission denied. Grant the user of DATABASE_URL its rights on the tables",
    "25006": "the server is read-only. Use the primary server in DATABASE_URL, and set "
    "default_transaction_read_only = off for this role and database",
    "42P01": "a table does not exist. Check the database and the search path in DATABASE_URL",
    "53100": "the server's disk is full",
    "42704": "unknown parameter in DATABASE_URL, or unknown type in the schema",
}


_UNDECODABLE_STATE: Final = "22021"
UNDECODABLE: Final = (
    "a text is not valid UTF-8, which a database with the encoding SQL_ASCII allows. Ask the "
    "platform team to convert it"
)


def translate_connect_error(
    operation: str, error: BaseException, options: ConnectOptions
) -> Exception:
    """Translate a connection error to a DependencyError.

    No row is involved, so an unusable value comes from DATABASE_URL.
    """
    if isinstance(error.__cause__, ssl.SSLError):
        # With TLS 1.3 a server rejects the client's certificate after the handshake.
        error = error.__cause__
    if isinstance(error, ValueError) and not isinstance(error, ssl.SSLError):
        reason = "invalid host or parameter in DATABASE_URL"
        return SystemicError(Dependency.TARGET, operation, reason)
    if isinstance(error, asyncpg.PostgresError):
        if error.sqlstate == _PROTOCOL_VIOLATION:
            return SystemicError(Dependency.TARGET, operation, _POOLER)
        if rejected := _rejected_parameter(error, options):
            reason = (
                f"SQLSTATE {error.sqlstate}: the server rejects the parameter {rejected} in "
                "DATABASE_URL. Correct or remove it"
            )
            return SystemicError(Dependency.TARGET, operation, reason)
    translated = translate_error(operation, error)
    if isinstance(translated, DependencyError):
        return translated
    reason = "the server rejects a parameter in DATABASE_URL"
    return SystemicError(Dependency.TARGET, operation, reason)


_PROTOCOL_VIOLATION: Final = "08P01"
_POOLER: Final = (
    "SQLSTATE 08P01: DATABASE_URL names a connection pooler such as PgBouncer, which refuses the "
    "session. Name the PostgreSQL server itself: a pooler does not keep the lock against a second "
    "run"
)


def _rejected_parameter(error: asyncpg.PostgresError, options: ConnectOptions) -> str | None:
    """The parameter of DATABASE_URL that the error quotes, as itself or within ``options``."""
    quoted = re.findall(r'"([^"]*)"', str(error))
    for name, value in options.url.server_settings.items():
        if name in quoted or (name == "options" and any(each in value for each in quoted)):
            return name
    return None


_INSERTED: Final = re.compile(r"rogo_async inserted \{([\d,]+)\} of \{([\d,]+)\}")
"""The text that ``insert_submission`` casts to a number when rows are missing."""


class RowsMissing(RowError):
    """A trigger, rule or policy of the target dropped rows of the submission; none are written."""

    def __init__(self, table: str, inserted: int, expected: int) -> None:
        self.table = table
        super().__init__(
            FailureCode.TARGET_REFUSED,
            f"{table}: the target stored {inserted} of {expected} rows and reported no error. "
            "Ask the platform team for the trigger, rule or policy that drops rows of this table",
        )


class TableConflict(Exception):
    """A unique or foreign key rejects the row. Keeps the names of table and constraint only."""

    def __init__(self, table: str, constraint: str) -> None:
        super().__init__(table)
        self.table = table
        self.constraint = constraint


def translate_error(operation: str, error: BaseException, *, writing: bool = False) -> Exception:
    """Translate an asyncpg error, without the server's own text, which may quote values.

    While ``writing`` rows, it returns RowError target_refused for rejected content, and
    TableConflict for a violated key (rule 15); a lost reply is an AmbiguousError, since the commit
    may have succeeded. Every other error is another DependencyError.
    """
    if isinstance(error, asyncpg.PostgresError):
        return _of_sqlstate(operation, error, writing=writing)
    lasting = None if writing else _lasting_reason(error)
    if lasting is not None:
        return SystemicError(Dependency.TARGET, operation, lasting)
    if isinstance(error, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return TransientError(Dependency.TARGET, operation, "no host accepts writes")
    kind: type[DependencyError] = AmbiguousError if writing else TransientError
    reason = reason_of(error)
    if isinstance(error, UnicodeDecodeError):
        kind, reason = RefusedError, UNDECODABLE
    return kind(Dependency.TARGET, operation, reason)


def _lasting_reason(error: BaseException) -> str | None:
    """Why connecting fails until somebody changes something; None if it may succeed later."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None
    if isinstance(error, ssl.SSLError):
        return reason_of_tls_error(error)
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return "invalid parameter in DATABASE_URL"
    if is_without_tls(error):
        return (
            "the server does not offer TLS. Enable TLS on the server, or set sslmode=disable in "
            "DATABASE_URL if the network is trusted"
        )
    return None


def _of_sqlstate(operation: str, error: asyncpg.PostgresError, *, writing: bool) -> Exception:
    state = error.sqlstate or ""
    reason = f"SQLSTATE {state}"
    found = error_classes.of_postgres(state or None)
    if found is ErrorClass.TRANSIENT:
        if writing and (state.startswith("08") or state in {"57P01", "57P02", "57P03"}):
            return AmbiguousError(Dependency.TARGET, operation, reason)
        return TransientError(Dependency.TARGET, operation, reason)
    if writing and found is ErrorClass.CONTENT:
        return rows_missing(error) or RowError(
            FailureCode.TARGET_REFUSED,
            f"the target rejected the content ({reason}, {type(error).__name__})",
        )
    if writing and found is ErrorClass.CONFLICT:
        return TableConflict(error.table_name or "?", error.constraint_name or "?")
    if state == _UNDECODABLE_STATE:
        reason = UNDECODABLE
    elif meaning := _MEANING.get(state):
        reason = f"{reason}: {meaning}"
    kind = SystemicError if found is ErrorClass.SYSTEMIC else RefusedError
    return kind(Dependency.TARGET, operation, reason)


def rows_missing(error: asyncpg.PostgresError) -> RowsMissing | None:
    """The table that lacks rows, if ``error`` is the failed cast of ``insert_submission``."""
    found = _INSERTED.search(str(error))
    if found is None:
        return None
    inserted, expected = ([int(n) for n in text.split(",")] for text in found.groups())
    tables = inserted_tables("insert_submission")
    return next(
        RowsMissing(table, some, all_)
        for table, some, all_ in zip(tables, inserted, expected, strict=True)
        if some != all_
    )


LIBRARY_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    UnicodeDecodeError,
)
