"""Changes, inserts and deletes single rows of the target's tables, within a transaction.

The statements are made from the target's own list of columns, so a row keeps the values of columns
that this tool does not know.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from rogo_async.common.errors import FailureCode, RowError, SetupError
from rogo_async.destination.postgres.connections import Session
from rogo_async.destination.postgres.existing_rows import MARKS, RULES, Row
from rogo_async.destination.postgres.row_comparison import is_same
from rogo_async.destination.postgres.schema import WRITTEN_TABLES

_SCAN_S: Final = 600.0
_DELETED_FROM: Final = (MARKS, RULES)
REFRESH_RIGHTS: Final = (
    *(("UPDATE", table) for table in WRITTEN_TABLES),
    *(("DELETE", table) for table in _DELETED_FROM),
)
"""Privilege and table of each right that a refresh needs besides those of a run."""
_OWN_KEYS: Final = ((MARKS, "submission_id"), (RULES, "submission_id"))


class RowIsReferenced(Exception):
    """A row of the platform refers to one that would be deleted. The text names its table."""


@dataclass(slots=True)
class RowWriter:
    """The statements for one target. Read them with ``open``."""

    _update: Mapping[str, str]
    _insert: Mapping[str, str]
    _delete: Mapping[str, str]
    _references: str
    rights_missing: Sequence[str] = field(default=())

    @classmethod
    async def open(cls, session: Session) -> Self:
        """Read the columns and foreign keys. Raises SetupError for missing rights."""
        tables = list(WRITTEN_TABLES)
        rows = await session.rows("write_statements", {"tables": tables})
        own_tables, own_columns = zip(*_OWN_KEYS, strict=True)
        keys = await session.rows(
            "foreign_keys",
            {
                "tables": list(_DELETED_FROM),
                "own_tables": own_tables,
                "own_columns": own_columns,
            },
        )
        problems = [
            f"target: no SELECT right on {row['table_name']}, which refers to rows that a refresh "
            "deletes"
            for row in keys
            if not row["readable"]
        ]
        problems += [
            f"target: no {privilege} right on {table}"
            for table, privilege in await missing_refresh_rights(session)
        ]
        if problems:
            raise SetupError(
                *(f"{each}. Grant it to the user of DATABASE_URL" for each in problems)
            )
        return cls(
            {row["table_name"]: row["update_row"] for row in rows},
            {row["table_name"]: row["insert_row"] for row in rows},
            {row["table_name"]: row["delete_rows"] for row in rows},
            " UNION ALL ".join(row["question"] for row in keys),
        )

    async def update(
        self, session: Session, table: str, row_id: str, values: Row, right: Row | None = None
    ) -> Row:
        """Set columns of a row and return the row. No values: only its transaction changes.

        ``right``: what other columns must have afterwards, since a trigger may change any column.
        Raises RowError target_refused if the target ignores or changes a value.
        """
        row = await self._write(session, self._update[table], table, values, row_id)
        if any(not is_same(row[column], value) for column, value in (right or {}).items()):
            raise _refused(table)
        return row

    async def insert(self, session: Session, table: str, values: Row) -> Row:
        """Insert a row with all its columns. Raises RowError target_refused as ``update`` does."""
        return await self._write(session, self._insert[table], table, values)

    async def delete(self, session: Session, table: str, ids: Collection[str]) -> None:
        """Delete rows. Raises RowIsReferenced, and RowError target_refused if one stays."""
        if not ids:
            return
        await self.check_references(session, ids)
        deleted = await session.raw.fetch(self._delete[table], list(ids))
        if len(deleted) != len(ids):
            raise _refused(table)

    async def check_references(self, session: Session, ids: Collection[str]) -> None:
        """Raise RowIsReferenced if a row of the platform refers to one of these rows."""
        if ids and self._references:
            found = await session.raw.fetchrow(self._references, list(ids), timeout=_SCAN_S)
            if found is not None:
                raise RowIsReferenced(f"{found['table_name']}: a row refers to the submission")

    async def _write(self, session: Session, sql: str, table: str, values: Row, *ids: str) -> Row:
        found: Any = await session.raw.fetchrow(sql, *ids, orjson.dumps(values).decode())
        if found is None:
            raise _refused(table)
        row: Row = orjson.loads(found["content"])
        if any(row[column] != value for column, value in values.items()):
            raise _refused(table)
        return row


async def missing_refresh_rights(session: Session) -> list[tuple[str, str]]:
    """Table and privilege of each right of ``REFRESH_RIGHTS`` that the user does not have."""
    privileges, tables = zip(*REFRESH_RIGHTS, strict=True)
    missing = await session.rows("missing_rights", {"tables": tables, "privileges": privileges})
    return [(row["name"], row["privilege"]) for row in missing]


def _refused(table: str) -> RowError:
    return RowError(
        FailureCode.TARGET_REFUSED,
        f"{table}: the target ignored or changed the new values of a row and reported no error. "
        "Ask the platform team for the trigger, rule or policy of this table",
    )
