"""Checks the target's schema and rights, and loads its reference data (specification §1)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rogo_async.common.errors import RefusedError, SetupError
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.schema import (
    LOSSY_TYPES,
    READ_TABLES,
    WRITTEN_TABLES,
    kind_of,
)
from rogo_async.destination.postgres.translation import UNDECODABLE
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import Assessment, MalpracticeLevel, Section

SHOW_ALL_ROWS: Final = (
    "Give the user of DATABASE_URL the attribute BYPASSRLS, or a policy for SELECT USING (true)"
)


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """Loaded once per run: data for matching, and the user who applies malpractice rules."""

    matching: Reference
    applied_by: str


@dataclass(frozen=True, slots=True)
class SchemaDifferences:
    """Differences between the target's tables and the expected ones.

    Missing tables, and by table: missing columns, columns that require a value which this version
    does not write, and columns that cannot store what it writes, each with the reason.
    """

    missing_tables: Sequence[str] = ()
    missing_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unfilled_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unsuitable_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def read_reference_data(connections: Connections, user_id: str | None) -> ReferenceData:
    """Check tables, columns and rights, then load the reference data.

    Raises one SetupError with all problems, or a DependencyError.
    """
    try:
        return await _read(connections, user_id)
    except RefusedError as error:
        if error.reason != UNDECODABLE:
            raise
    columns = await _undecodable_columns(connections)
    raise SetupError(f"target: {', '.join(columns) or 'a table'}: {UNDECODABLE}")


async def _read(connections: Connections, user_id: str | None) -> ReferenceData:
    async with connections.session("reference") as session:
        problems = [*await _missing_columns(session)]
        if not problems:
            problems = [*await _missing_rights(session), *await _hidden_rows(session)]
        if problems:
            raise SetupError(*problems)
        return ReferenceData(
            matching=Reference(
                [
                    Assessment(
                        row["id"],
                        row["name"] or "",
                        row["code"] or "",
                        row["is_active"],
                    )
                    for row in await session.rows("assessments", {})
                ],
                [
                    Section(row["id"], row["assessment_id"] or "", row["question_text"] or "")
                    for row in await session.rows("sections", {})
                ],
                [
                    MalpracticeLevel(row["id"], row["level_text"] or "")
                    for row in await session.rows("levels", {})
                ],
            ),
            applied_by=await applied_by(session, user_id),
        )


async def _undecodable_columns(connections: Connections) -> list[str]:
    """The columns with reference data that have texts in another encoding."""
    found = []
    for table, columns in READ_TABLES.items():
        for column in columns:
            try:
                async with connections.session("encoding") as session:
                    asked = await session.row("text_of", {"table": table, "column": column})
                    await session.raw.fetch(asked["statement"])
            except RefusedError as error:
                if error.reason == UNDECODABLE:
                    found.append(f"{table}.{column}")
    return found


async def compare_schema(session: Session) -> SchemaDifferences:
    """Compare the target's tables with those that this version reads and writes."""
    required = {**READ_TABLES, **WRITTEN_TABLES}
    rows = {
        row["table_name"]: row for row in await session.rows("columns", {"tables": list(required)})
    }
    missing_tables: list[str] = []
    missing_columns: dict[str, Sequence[str]] = {}
    unfilled_columns: dict[str, Sequence[str]] = {}
    unsuitable_columns: dict[str, Sequence[str]] = {}
    for table, columns in required.items():
        found = rows[table]["column_names"] or ()
        missing = [column for column in columns if column not in found]
        unfilled = set(rows[table]["unfilled_columns"] or ()) - set(columns)
        if table in WRITTEN_TABLES and unfilled:
            unfilled_columns[table] = sorted(unfilled)
        if table in WRITTEN_TABLES and (unsuitable := _unsuitable(rows[table], columns)):
            unsuitable_columns[table] = unsuitable
        if not found:
            missing_tables.append(table)
        elif missing:
            missing_columns[table] = missing
    return SchemaDifferences(missing_tables, missing_columns, unfilled_columns, unsuitable_columns)


def _unsuitable(found: Any, columns: Collection[str]) -> list[str]:
    """The columns that accept no value, or would store another one without an error."""
    generated = found["generated_columns"] or ()
    types = zip(found["column_names"] or (), found["type_names"] or (), strict=True)
    return [f"{column} (generated)" for column in sorted(set(generated) & set(columns))] + [
        f"{column} ({type_name})"
        for column, type_name in sorted(types)
        if column in columns and type_name in LOSSY_TYPES.get(kind_of(column), ())
    ]


async def missing_rights(session: Session) -> list[tuple[str, str]]:
    """Table and privilege of each missing right that a run needs.

    A right on some columns of the table is sufficient here.
    """
    pairs = [(table, "SELECT") for table in READ_TABLES]
    pairs += [(table, right) for table in WRITTEN_TABLES for right in ("SELECT", "INSERT")]
    pairs.append(("malpractice_enforcements", "UPDATE"))
    tables, privileges = zip(*pairs, strict=True)
    missing = await session.rows(
        "privileges", {"tables": list(tables), "privileges": list(privileges)}
    )
    return [(row["table_name"], row["privilege"]) for row in missing]


async def _missing_columns(session: Session) -> list[str]:
    differences = await compare_schema(session)
    problems = []
    for table in (*READ_TABLES, *WRITTEN_TABLES):
        if columns := differences.unfilled_columns.get(table):
            problems.append(
                f"target: table {table} requires a value in {', '.join(columns)}, which this "
                "version does not write. Install a version that matches the platform's schema"
            )
        if columns := differences.unsuitable_columns.get(table):
            problems.append(
                f"target: table {table} cannot store the values of {', '.join(columns)} as they "
                "are. Install a version that matches the platform's schema"
            )
        if table in differences.missing_tables:
            problems.append(
                f"target: table {table} does not exist. Check the database and the search path in "
                "DATABASE_URL"
            )
        elif columns := differences.missing_columns.get(table):
            problems.append(
                f"target: table {table} has no column {', '.join(columns)}. "
                "Install a version that matches the platform's schema"
            )
    return problems


async def tables_with_hidden_rows(session: Session) -> list[str]:
    """The tables of which row level security may hide rows from this user."""
    tables = [*READ_TABLES, *WRITTEN_TABLES]
    rows = await session.rows("tables_with_hidden_rows", {"tables": tables})
    return [row["table_name"] for row in rows]


async def _hidden_rows(session: Session) -> list[str]:
    return [
        f"target: row level security may hide rows of {table} from this user. {SHOW_ALL_ROWS}"
        for table in await tables_with_hidden_rows(session)
    ]


async def _missing_rights(session: Session) -> list[str]:
    return [
        f"target: no {privilege} right on {table}. Grant it to the user of DATABASE_URL"
        for table, privilege in await missing_rights(session)
    ]


async def applied_by(session: Session, user_id: str | None) -> str:
    """The id of the user who applies malpractice rules. Raises SetupError."""
    if user_id is not None:
        found = await session.row("user_by_id", {"id": user_id})
        if found is None:
            raise SetupError("ROGO_MIGRATION_USER_ID: the target has no user with this id")
    else:
        found = await session.row("oldest_admin", {})
        if found is None:
            raise SetupError(
                "target: no user has the role admin, and malpractice rules need a user who applies "
                "them. Name one in ROGO_MIGRATION_USER_ID"
            )
    return str(found["id"])
