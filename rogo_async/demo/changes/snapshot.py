"""All rows of the target at one moment, with the transaction that wrote each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import asyncpg

from rogo_async.demo.checks.check_postgres import READ_TIMEOUT_S

SUBMISSIONS: Final = "assignment_submissions"
RULES: Final = "malpractice_enforcements"
LAUNCHES: Final = "lti_launch_sessions"
RECORDS: Final = "lti_session_records"
_BY_LAUNCH_ID: Final = (LAUNCHES, RECORDS)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the target. ``text`` is to_jsonb as text, ``written_by`` is its xmin."""

    table: str
    values: Mapping[str, object]
    text: str
    written_by: str

    @property
    def id(self) -> str:
        return str(self.values["id"])


@dataclass(frozen=True)
class TargetSnapshot:
    """The rows by table and id."""

    tables: Mapping[str, Mapping[str, StoredRow]]

    @cached_property
    def submission_ids(self) -> Mapping[int, str]:
        """The ids of the migrated submissions by attempt."""
        parts = {
            row.id: str(row.values["lti_launch_id"]).split("_", 2)
            for row in self.tables[SUBMISSIONS].values()
        }
        return {
            int(marks[1]): submission_id
            for submission_id, marks in parts.items()
            if len(marks) == 3 and marks[0] == "rogo" and marks[1].isdecimal()
        }

    @cached_property
    def _by_owner(self) -> Mapping[str, list[StoredRow]]:
        by_launch = {
            row.values["lti_launch_id"]: row.id for row in self.tables[SUBMISSIONS].values()
        }
        found: dict[str, list[StoredRow]] = {}
        for row in self.rows():
            if row.table == SUBMISSIONS:
                found.setdefault(row.id, []).append(row)
            elif row.table in _BY_LAUNCH_ID:
                found.setdefault(by_launch.get(row.values["launch_id"], ""), []).append(row)
            elif row.table != RULES and "submission_id" in row.values:
                found.setdefault(str(row.values["submission_id"]), []).append(row)
        return found

    def rows(self) -> Iterator[StoredRow]:
        """All rows."""
        for rows in self.tables.values():
            yield from rows.values()

    def rows_of(self, submission_id: str) -> list[StoredRow]:
        """All rows of a submission; a malpractice rule is not one of them."""
        return self._by_owner.get(submission_id, [])

    def rules(self) -> list[StoredRow]:
        """The malpractice rules."""
        return [*self.tables[RULES].values()]


async def read_target(dsn: str) -> TargetSnapshot:
    """A snapshot over a connection of its own."""
    connection = await asyncpg.connect(dsn)
    try:
        return await take_snapshot(connection)
    finally:
        await connection.close()


async def take_snapshot(connection: asyncpg.Connection) -> TargetSnapshot:
    """Read all tables in one transaction."""
    tables: dict[str, dict[str, StoredRow]] = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        names = await connection.fetch(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        for (name,) in names:
            columns = "t.*, t.xmin::text AS written_by, to_jsonb(t)::text AS row_text"
            statement = f'SELECT {columns} FROM "{name}" t'  # noqa: S608 - a name of the catalogue
            rows = await connection.fetch(statement, timeout=READ_TIMEOUT_S)
            stored = (_stored(name, dict(row)) for row in rows)
            tables[name] = {row.id: row for row in stored}
    return TargetSnapshot(tables)


def _stored(table: str, values: dict[str, object]) -> StoredRow:
    written_by, text = str(values.pop("written_by")), str(values.pop("row_text"))
    return StoredRow(table, values, text, written_by)
