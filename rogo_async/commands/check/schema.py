"""Checks of the target's schema, permissions and reference data."""

from collections.abc import Mapping, Sequence
from typing import Final

from rogo_async.commands.check.probe import QueryRunner
from rogo_async.commands.check.results import Check, CheckResult, fail, ok, warning
from rogo_async.common.errors import RefusedError
from rogo_async.common.settings import Settings
from rogo_async.common.text import plural
from rogo_async.destination.postgres.reference_data import (
    SHOW_ALL_ROWS,
    SchemaDifferences,
    applied_by,
    compare_schema,
    missing_rights,
    tables_with_hidden_rows,
)
from rogo_async.destination.postgres.row_writer import missing_refresh_rights
from rogo_async.destination.postgres.schema import READ_TABLES, WRITTEN_TABLES

_KEYS: Final = {
    "lti_launch_sessions": "key_of_launch_sessions",
    "lti_session_records": "key_of_session_records",
}
_NO_KEY: Final = "42P10"
_GRANT: Final = "Grant it to the user in DATABASE_URL"
_WRONG_SCHEMA: Final = (
    "The schema differs from what this version expects: install a matching version"
)
_SET_USER: Final = "Set it to the id of an existing user, or remove it"
_TABLE_COUNT: Final = len(READ_TABLES) + len(WRITTEN_TABLES)


class SchemaChecks:
    """Checks of the platform's schema, permissions and reference data."""

    def __init__(self, queries: QueryRunner, settings: Settings) -> None:
        self._queries = queries
        self._settings = settings
        self._differences = SchemaDifferences()

    def checks(self) -> list[Check]:
        """The checks that need the tables."""
        tables = ("target.tables",)
        readable = ("target.columns", "target.rights")
        return [
            Check("target.tables", self._tables, ("target.login",)),
            Check("target.columns", self._columns, tables),
            Check("target.keys", self._keys, tables),
            Check("target.rights", self._rights, tables),
            Check("target.user", self._user, readable, _SET_USER),
            Check("target.reference", self._reference, readable),
        ]

    async def _tables(self) -> CheckResult:
        async with self._queries.connections.session("tables") as session:
            self._differences = await compare_schema(session)
        if self._differences.missing_tables:
            return fail(
                f"missing tables: {', '.join(self._differences.missing_tables)}",
                "Check the database name and search path in DATABASE_URL",
            )
        return ok(f"all {_TABLE_COUNT} tables exist")

    async def _columns(self) -> CheckResult:
        problems = [
            *_each(self._differences.missing_columns, "{table} has no column {columns}"),
            *_each(
                self._differences.unfilled_columns,
                "{table} requires a value in {columns}, which this version does not write",
            ),
            *_each(
                self._differences.unsuitable_columns,
                "{table} cannot store the values of {columns} as they are",
            ),
        ]
        if problems:
            return fail("; ".join(problems), _WRONG_SCHEMA)
        return ok(f"all required columns of {_TABLE_COUNT} tables exist")

    async def _keys(self) -> CheckResult:
        missing: list[str] = []
        unknown: list[str] = []
        for table, name in _KEYS.items():
            try:
                await self._queries.rows(name)
            except RefusedError as error:
                (missing if _NO_KEY in error.reason else unknown).append(table)
        if missing:
            return fail(
                f"{' and '.join(missing)}: no unique key on launch_id, so an attempt could be "
                "migrated twice",
                "Ask the platform team to add a unique constraint on launch_id",
            )
        if unknown:
            return warning(
                f"{' and '.join(unknown)}: cannot test whether launch_id is unique",
                "Ask the platform team whether it is",
            )
        return ok("launch_id is unique")

    async def _rights(self) -> CheckResult:
        async with self._queries.connections.session("rights") as session:
            missing = await missing_rights(session)
            hidden = await tables_with_hidden_rows(session)
            for_refresh = await missing_refresh_rights(session)
        if missing:
            return fail(f"missing permissions: {_rights_text(missing)}", _GRANT)
        if hidden:
            return fail(
                f"row level security may hide rows of {', '.join(hidden)} from this user",
                SHOW_ALL_ROWS,
            )
        if for_refresh and self._settings.rogo_refresh:
            return fail(
                f"missing permissions: {_rights_text(for_refresh)} (ROGO_REFRESH needs them)",
                _GRANT,
            )
        written = list(WRITTEN_TABLES)
        rows = await self._queries.rows(
            "table_privileges", tables=written, privileges=["DELETE"] * len(written)
        )
        if rows:
            pairs = [(row["table_name"], row["privilege"]) for row in rows]
            return warning(
                f"missing permissions: {_rights_text(pairs)} (only rollback needs them)", _GRANT
            )
        return ok("all required table permissions granted")

    async def _user(self) -> CheckResult:
        async with self._queries.connections.session("user") as session:
            await applied_by(session, self._settings.rogo_migration_user_id)
        return ok("user for malpractice rules exists")

    async def _reference(self) -> CheckResult:
        counts = await self._queries.row("reference_counts")
        levels = len(await self._queries.rows("levels"))
        remedy = "Check that DATABASE_URL points to the platform's database, and complete its data"
        if not counts["assessments"]:
            return fail("no assessments", remedy)
        message = (
            f"{plural(counts['assessments'], 'assessment')} ({counts['active']:,} active), "
            f"{plural(counts['sections'], 'section')}, {plural(levels, 'active malpractice level')}"
        )
        if not (counts["active"] and counts["sections"] and levels):
            return warning(message, remedy)
        return ok(message)


def _each(columns_of: Mapping[str, Sequence[str]], text: str) -> list[str]:
    return [
        text.format(table=table, columns=", ".join(columns))
        for table, columns in columns_of.items()
    ]


def _rights_text(pairs: Sequence[tuple[str, str]]) -> str:
    tables_of: dict[str, list[str]] = {}
    for table, privilege in pairs:
        tables_of.setdefault(privilege, []).append(table)
    return "; ".join(f"{privilege} on {', '.join(names)}" for privilege, names in tables_of.items())
