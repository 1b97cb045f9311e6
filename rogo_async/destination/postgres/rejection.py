"""Explains why the target rejects a test submission: with table, column and remedy.

A rejection is general if it will meet every submission: the server refuses the statement, a trigger
drops rows, or a constraint covers only columns with constant values. Other constraints and triggers
may reject just the values of the test submission.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from rogo_async.common import error_classes
from rogo_async.common.error_classes import ErrorClass
from rogo_async.destination.postgres.connections import Session
from rogo_async.destination.postgres.queries import place_in_insert, query
from rogo_async.destination.postgres.schema import CONSTANT_COLUMNS, WRITTEN_TABLES, parameter_of
from rogo_async.destination.postgres.translation import RowsMissing, rows_missing, translate_error

_READ_ONLY: Final = "25006"
_TOO_LONG: Final = "22001"
_NULL: Final = "23502"
_OF_SERVER: Final = ("0A", "25", "3F", "42", "55")
"""Classes in which PostgreSQL itself refuses a statement. Triggers raise errors of others."""
_REMEDY: Final = (
    "Grant the user in DATABASE_URL its permissions on whole tables, and compare the platform's "
    "schema with the one that this version expects"
)
_WRITABLE: Final = (
    "Use the primary server in DATABASE_URL, and set default_transaction_read_only = off for this "
    "role and database"
)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a test submission is rejected. ``is_replica``: the server is a read-only replica."""

    text: str
    remedy: str
    is_general: bool
    is_replica: bool = False


def explain_missing_rows(missing: RowsMissing) -> Rejection:
    """The rejection by a trigger, rule or policy that drops rows."""
    text, _, remedy = missing.message.partition(". ")
    return Rejection(f"test submission rejected: {text}", remedy, is_general=True)


async def explain_error(
    session: Session,
    error: asyncpg.PostgresError,
    statement: str,
    values: Mapping[str, object],
    *,
    has_values: bool,
) -> Rejection:
    """The rejection by an error of a named statement, outside of its transaction.

    ``has_values``: the server had the values when it rejected the statement. Raises a
    DependencyError if the server is not able to work.
    """
    missing = rows_missing(error)
    if missing is not None:
        return explain_missing_rows(missing)
    state = error.sqlstate or ""
    if error_classes.of_postgres(state) in {ErrorClass.TRANSIENT, ErrorClass.SYSTEMIC}:
        raise translate_error("trial", error) from None
    if state == _READ_ONLY:
        facts = await session.row("server_facts", {})
        text = (
            "the server is a read-only replica" if facts["standby"] else "the server is read-only"
        )
        return Rejection(text, _WRITABLE, is_general=True, is_replica=facts["standby"])
    table, column = _place(error, statement)
    is_general = not has_values or state == _NULL or state.startswith(_OF_SERVER)
    # These messages quote names of the schema only. Others may quote values.
    message = f": {error.message}" if is_general and state != _NULL else ""
    if not is_general and state == _TOO_LONG:
        short = await _short_column(session, values)
        is_general = short is not None
        table, column = short or (table, column)
    elif not is_general and error.constraint_name:
        is_general = await _covers_only_constants(session, error)
    facts = [
        f"SQLSTATE {state}",
        type(error).__name__,
        *(f"{kind} {name}" for kind, name in (("table", table), ("column", column)) if name),
        *([f"constraint {error.constraint_name}"] if error.constraint_name else ()),
    ]
    return Rejection(f"test submission rejected ({', '.join(facts)}){message}", _REMEDY, is_general)


def _place(error: asyncpg.PostgresError, statement: str) -> tuple[str | None, str | None]:
    """Table and column, from the error's fields or from its position in the statement."""
    table, column = None, None
    if error.position and error.position.isdigit():
        table, column = place_in_insert(query(statement).sql, int(error.position) - 1)
    return error.table_name or table, error.column_name or column


async def _short_column(session: Session, values: Mapping[str, object]) -> tuple[str, str] | None:
    """A column that is too short for the value that every submission has in it, or None."""
    for row in await session.rows("length_limits", {"tables": list(WRITTEN_TABLES)}):
        parameter = parameter_of(row["column_name"])
        value = None if parameter is None else values[parameter]
        if isinstance(value, str) and len(value) > row["length"]:
            return row["table_name"], row["column_name"]
    return None


async def _covers_only_constants(session: Session, error: Any) -> bool:
    """Whether a constraint covers only columns that have the same values in every submission."""
    rows = await session.rows(
        "constraint_columns",
        {
            "tables": list(WRITTEN_TABLES),
            "schema": error.schema_name,
            "table": error.table_name,
            "domain": error.data_type_name,
            "constraint": error.constraint_name,
        },
    )
    columns = {row["column_name"] for row in rows}
    return bool(columns) and columns <= CONSTANT_COLUMNS
