"""The target as the marking platform: tables, keys, rights, reference data (SPEC §1, §2)."""

from collections.abc import Mapping, Sequence
from typing import Final

from rogo_async.check.asking import Asking
from rogo_async.check.findings import Check, Verdict, fail, ok, warning
from rogo_async.settings import Settings
from rogo_async.target import (
    READ_TABLES,
    WRITTEN_TABLES,
    TableFaults,
    applied_by,
    missing_rights,
    table_faults,
)

_KEYED: Final = ("lti_launch_sessions", "lti_session_records")
_GRANT: Final = "Grant it to the user of DATABASE_URL"
_MOVED_ON: Final = "The platform's schema is not the one that this version writes: get one that is"
_NAME_ONE: Final = "Name a user of the platform in it, or leave it out"
_COUNT: Final = len(READ_TABLES) + len(WRITTEN_TABLES)


class Platform:
    """Looks at the schema and at what a run loads from it once."""

    def __init__(self, asking: Asking, settings: Settings) -> None:
        self._asking = asking
        self._settings = settings
        self._faults = TableFaults()

    def checks(self) -> list[Check]:
        """Each once the tables are there."""
        tables = ("target.tables",)
        readable = ("target.columns", "target.rights")
        return [
            Check("target.tables", self._tables, ("target.login",)),
            Check("target.columns", self._columns, tables),
            Check("target.keys", self._keys, tables),
            Check("target.rights", self._rights, tables),
            Check("target.user", self._user, readable, _NAME_ONE),
            Check("target.reference", self._reference, readable),
        ]

    async def _tables(self) -> Verdict:
        async with self._asking.connections.session("tables") as session:
            self._faults = await table_faults(session)
        if self._faults.absent:
            return fail(
                f"there is no table {', '.join(self._faults.absent)}",
                "Check database and search path in DATABASE_URL",
            )
        return ok(f"all {_COUNT} tables are there")

    async def _columns(self) -> Verdict:
        found = [
            *_each(self._faults.lacking, "{table} has no column {columns}"),
            *_each(
                self._faults.demanding,
                "{table} wants a value in {columns}, which this version does not write",
            ),
        ]
        if found:
            return fail("; ".join(found), _MOVED_ON)
        return ok(f"{_COUNT} tables with their columns")

    async def _keys(self) -> Verdict:
        rows = await self._asking.rows("tables_without_key", tables=list(_KEYED))
        if rows:
            names = " and ".join(row["table_name"] for row in rows)
            return fail(
                f"{names}: no unique key on launch_id, so that nothing keeps an attempt from "
                "being migrated twice",
                "Have the platform's owner add a unique constraint on launch_id",
            )
        return ok("launch ids are unique")

    async def _rights(self) -> Verdict:
        async with self._asking.connections.session("rights") as session:
            missing = await missing_rights(session)
        if missing:
            return fail(f"no right to {_rights_text(missing)}", _GRANT)
        written = list(WRITTEN_TABLES)
        rows = await self._asking.rows(
            "table_privileges", tables=written, privileges=["DELETE"] * len(written)
        )
        if rows:
            pairs = [(row["table_name"], row["privilege"]) for row in rows]
            return warning(
                f"no right to {_rights_text(pairs)}: a run can do without, a rollback cannot",
                _GRANT,
            )
        return ok("all rights on the tables")

    async def _user(self) -> Verdict:
        async with self._asking.connections.session("user") as session:
            await applied_by(session, self._settings.rogo_migration_user_id)
        return ok("there is a user on whose behalf malpractice rules are applied")

    async def _reference(self) -> Verdict:
        counts = await self._asking.row("reference_counts")
        levels = len(await self._asking.rows("levels"))
        remedy = "Check that DATABASE_URL names the platform's own database, and have them set up"
        if not counts["assessments"]:
            return fail("there are no assessments", remedy)
        shown = (
            f"{counts['assessments']:,} assessments ({counts['active']:,} active), "
            f"{counts['sections']:,} sections, {levels:,} active malpractice levels"
        )
        if not (counts["active"] and counts["sections"] and levels):
            return warning(shown, remedy)
        return ok(shown)


def _each(faults: Mapping[str, Sequence[str]], text: str) -> list[str]:
    return [text.format(table=table, columns=", ".join(names)) for table, names in faults.items()]


def _rights_text(pairs: Sequence[tuple[str, str]]) -> str:
    rights: dict[str, list[str]] = {}
    for table, privilege in pairs:
        rights.setdefault(privilege, []).append(table)
    return "; ".join(f"{right} on {', '.join(tables)}" for right, tables in rights.items())
