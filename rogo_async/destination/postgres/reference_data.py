"""The target's schema as this tool needs it, and its reference data (SPEC §1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rogo_async.common.errors import SetupError
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.schema import READ_TABLES, WRITTEN_TABLES
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import Assessment, MalpracticeLevel, Section


@dataclass(frozen=True, slots=True)
class TargetReference:
    """What is loaded once: the matching data, and on whose behalf malpractice rules apply."""

    matching: Reference
    applied_by: str


@dataclass(frozen=True, slots=True)
class TableFaults:
    """What is wrong with the target's tables: those that are absent, and by table the columns that
    are missing and those that want a value which this version does not write.
    """

    absent: Sequence[str] = ()
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    demanding: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def read_reference(connections: Connections, user_id: str | None) -> TargetReference:
    """Check tables, columns and rights, then load the reference data.

    Raises SetupError with every problem found, or a DependencyError.
    """
    async with connections.session("reference") as session:
        problems = [*await _missing_columns(session)]
        if not problems:
            problems = [*await _missing_rights(session)]
        if problems:
            raise SetupError(*problems)
        return TargetReference(
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


async def table_faults(session: Session) -> TableFaults:
    """Hold the tables against those that this version reads and writes."""
    wanted = {**READ_TABLES, **WRITTEN_TABLES}
    rows = {
        row["table_name"]: row for row in await session.rows("columns", {"tables": list(wanted)})
    }
    absent: list[str] = []
    lacking: dict[str, Sequence[str]] = {}
    demanding: dict[str, Sequence[str]] = {}
    for table, columns in wanted.items():
        found = rows[table]["column_names"] or ()
        missing = [column for column in columns if column not in found]
        demanded = set(rows[table]["demanding"] or ()) - set(columns)
        if table in WRITTEN_TABLES and demanded:
            demanding[table] = sorted(demanded)
        if not found:
            absent.append(table)
        elif missing:
            lacking[table] = missing
    return TableFaults(absent, lacking, demanding)


async def missing_rights(session: Session) -> list[tuple[str, str]]:
    """Table and privilege of each right that a run needs and has not even on one column."""
    pairs = [(table, "SELECT") for table in READ_TABLES]
    pairs += [(table, right) for table in WRITTEN_TABLES for right in ("SELECT", "INSERT")]
    pairs.append(("malpractice_enforcements", "UPDATE"))
    tables, privileges = zip(*pairs, strict=True)
    missing = await session.rows(
        "privileges", {"tables": list(tables), "privileges": list(privileges)}
    )
    return [(row["table_name"], row["privilege"]) for row in missing]


async def _missing_columns(session: Session) -> list[str]:
    faults = await table_faults(session)
    problems = []
    for table in (*READ_TABLES, *WRITTEN_TABLES):
        if table in faults.demanding:
            problems.append(
                f"target: table {table} wants a value in {', '.join(faults.demanding[table])}, "
                "which this version does not write. The platform's schema has moved on"
            )
        if table in faults.absent:
            problems.append(
                f"target: there is no table {table}. Check database and search path in DATABASE_URL"
            )
        elif table in faults.lacking:
            problems.append(
                f"target: table {table} has no column {', '.join(faults.lacking[table])}. "
                "The platform's schema is not the one that this version writes"
            )
    return problems


async def _missing_rights(session: Session) -> list[str]:
    return [
        f"target: no right to {privilege} on {table}. Grant it to the user of DATABASE_URL"
        for table, privilege in await missing_rights(session)
    ]


async def applied_by(session: Session, user_id: str | None) -> str:
    """The id of the user on whose behalf malpractice rules are applied. Raises SetupError."""
    if user_id is not None:
        found = await session.row("user_by_id", {"id": user_id})
        if found is None:
            raise SetupError("ROGO_MIGRATION_USER_ID: there is no such user in the target")
    else:
        found = await session.row("oldest_admin", {})
        if found is None:
            raise SetupError(
                "target: there is no user with role admin, on whose behalf malpractice rules are "
                "applied. Name one in ROGO_MIGRATION_USER_ID"
            )
    return str(found["id"])
