"""Checks the target's schema and rights, and loads its reference data (specification §1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rogo_async.common.errors import SetupError
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.schema import READ_TABLES, WRITTEN_TABLES
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import Assessment, MalpracticeLevel, Section


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """Loaded once per run: data for matching, and the user who applies malpractice rules."""

    matching: Reference
    applied_by: str


@dataclass(frozen=True, slots=True)
class SchemaDifferences:
    """Differences between the target's tables and the expected ones.

    Missing tables, and by table: missing columns, and columns that require a value which this
    version does not write.
    """

    missing_tables: Sequence[str] = ()
    missing_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unfilled_columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def read_reference_data(connections: Connections, user_id: str | None) -> ReferenceData:
    """Check tables, columns and rights, then load the reference data.

    Raises one SetupError with all problems, or a DependencyError.
    """
    async with connections.session("reference") as session:
        problems = [*await _missing_columns(session)]
        if not problems:
            problems = [*await _missing_rights(session)]
        if problems:
            raise SetupError(*problems)
        return ReferenceData(
            matching=Reference(
                [
                    Assessment(
                        row["id"],
                        row["name"] or "",
                        row["code"] or "",
                        str(row["is_active"] or "").strip().casefold() == "true",
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


async def compare_schema(session: Session) -> SchemaDifferences:
    """Compare the target's tables with those that this version reads and writes."""
    required = {**READ_TABLES, **WRITTEN_TABLES}
    rows = {
        row["table_name"]: row for row in await session.rows("columns", {"tables": list(required)})
    }
    missing_tables: list[str] = []
    missing_columns: dict[str, Sequence[str]] = {}
    unfilled_columns: dict[str, Sequence[str]] = {}
    for table, columns in required.items():
        found = rows[table]["column_names"] or ()
        missing = [column for column in columns if column not in found]
        unfilled = set(rows[table]["unfilled_columns"] or ()) - set(columns)
        if table in WRITTEN_TABLES and unfilled:
            unfilled_columns[table] = sorted(unfilled)
        if not found:
            missing_tables.append(table)
        elif missing:
            missing_columns[table] = missing
    return SchemaDifferences(missing_tables, missing_columns, unfilled_columns)


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
