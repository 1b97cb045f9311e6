"""Finds submissions whose rows are surely those that a migration would write now.

PostgreSQL compares the values, so no row is read. It compares their binary form after a cast to the
type of the column without its length; a value that such a type would cut or round counts as
different. ``reconciler`` compares the submissions that are not found here (specification §5,
``run --refresh``).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rogo_async.common.errors import RowError
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.existing_rows import FILES, LAUNCHES, MARKS, RULES, SUBMISSIONS
from rogo_async.destination.postgres.expected_rows import ExpectedQuery
from rogo_async.destination.postgres.parameters import (
    TargetConstants,
    malpractice_rule_values,
    predict_rejection,
    submission_values,
)
from rogo_async.destination.postgres.row_comparison import RULE, SUBMISSION
from rogo_async.rules.files import blob_name
from rogo_async.rules.identity import is_uuid, launch_id
from rogo_async.rules.records import Identity, PreparedSubmission, StoredFile

_SCAN_S: Final = 600.0
_NOT_COMPARED: Final = {
    SUBMISSIONS: ("total_file_size",),
    FILES: ("file_size",),
    MARKS: ("id",),
    RULES: ("id",),
}
"""Sizes count as right while those of the blobs are unknown."""
_KEYS: Final = {MARKS: "section_id", RULES: "submission_id", LAUNCHES: "launch_id"}
"""The column by which a row is found; ``id`` in the other tables."""
_CONDITIONS: Final = {MARKS: " AND t.id = ANY (p.mark_ids)"}
"""The warehouse has no order of scores, so a section mark may have the id of another one."""
_TABLE: Final = (
    "SELECT p.number, '{name}:' || v.{key} AS row "
    "FROM p CROSS JOIN LATERAL ({select}) AS v JOIN {name} t ON t.{key} = v.{key}{condition} "
    "WHERE record_image_eq(ROW({existing}), ROW({expected}))"
)
_NONE: Final = "SELECT 0, '' WHERE false"
_STATEMENT: Final = (
    "{submissions} SELECT number, count(*) AS rows FROM ({rows}) AS found GROUP BY 1"
)


@dataclass(frozen=True, slots=True)
class _Head:
    """A submission in the target; ``rows`` counts its rows in all tables."""

    launch_id: str
    submission_id: str
    rows: int


@dataclass(frozen=True, slots=True)
class _Insert:
    """The parameters of the inserts of a submission and its malpractice rule."""

    values: Mapping[str, object]
    rule: Mapping[str, object] | None

    @property
    def rows(self) -> int:
        return SUBMISSION.count_rows(self.values) + (self.rule is not None)


class Page:
    """Attempts whose submissions are found by one scan of the target, when they are needed."""

    def __init__(self, unchanged: "UnchangedRows", attempts: Sequence[int]) -> None:
        self._unchanged = unchanged
        self._attempts = attempts
        self._lock = asyncio.Lock()
        self._heads: Mapping[int, _Head] | None = None

    async def heads(self) -> Mapping[int, _Head]:
        """The submissions of this tool, by attempt. Raises RunStopped and DependencyErrors."""
        async with self._lock:
            if self._heads is None:
                self._heads = await self._unchanged.heads(self._attempts)
        return self._heads


class UnchangedRows:
    """Compares chunks of submissions. Raises RunStopped and DependencyErrors."""

    def __init__(
        self, connections: Connections, breaker: CircuitBreaker, constants: TargetConstants
    ) -> None:
        self._connections = connections
        self._breaker = breaker
        self._constants = constants
        self._types: Sequence[Any] | None = None

    async def heads(self, attempts: Sequence[int]) -> dict[int, _Head]:
        """The submissions of these attempts that this tool wrote."""
        ids = {launch_id(each, self._constants.lms.instance_id): each for each in attempts}

        async def read() -> list[Any]:
            async with self._connections.session("submission_heads") as session:
                return await session.rows("submission_heads", {"launch_ids": [*ids]}, _SCAN_S)

        found = await self._breaker.call("submission_heads", read)
        return {ids[head["launch_id"]]: _Head(**head) for head in found}

    async def find(
        self, prepared: Mapping[int, PreparedSubmission], heads: Mapping[int, _Head]
    ) -> set[int]:
        """The attempts whose rows are those that a migration would write now.

        An attempt that is not in the result may have changed, or not. None is in it whose blobs
        have other names than new ones would have, or whose malpractice has no rule of its own.
        """
        inserts = {
            attempt: found
            for attempt, each in prepared.items()
            if attempt in heads and (found := self._insert(each, heads[attempt])) is not None
        }
        rules = {attempt: each.rule for attempt, each in inserts.items() if each.rule is not None}
        try:
            rows = await self._count(SUBMISSION, {a: each.values for a, each in inserts.items()})
            rows += await self._count(RULE, rules)
        except RowError:  # the target would refuse a value of one of them
            return set()
        return {
            attempt
            for attempt, each in inserts.items()
            if rows[attempt] == each.rows and rows[attempt] == heads[attempt].rows
        }

    async def _count(
        self, query: ExpectedQuery, inserts: Mapping[int, Mapping[str, object]]
    ) -> Counter[int]:
        """How many rows exist as the insert would write them, by attempt."""
        if not inserts:
            return Counter()
        attempts = [*inserts]

        async def count() -> list[Any]:
            async with self._connections.session("unchanged_rows") as session:
                if self._types is None:
                    tables = [*SUBMISSION.tables, *RULE.tables]
                    self._types = await session.rows("column_types", {"tables": tables})
                sql = _statement(query, self._types)
                argument = query.argument([*inserts.values()])
                found: list[Any] = await session.raw.fetch(sql, argument, timeout=_SCAN_S)
                return found

        found = await self._breaker.call("unchanged_rows", count)
        return Counter({attempts[row["number"]]: row["rows"] for row in found})

    def _insert(self, prepared: PreparedSubmission, head: _Head) -> _Insert | None:
        """The parameters of the inserts; None if the target would refuse them."""
        if not is_uuid(head.submission_id):
            return None
        constants = self._constants
        identity = Identity(prepared.attempt, head.launch_id, head.submission_id)
        names = [blob_name(prepared.attempt, head.submission_id, ref) for ref in prepared.files]
        files = [
            StoredFile(ref, name, constants.url_of(name), 0, b"")
            for ref, name in zip(prepared.files, names, strict=True)
        ]
        try:
            values = submission_values(
                prepared, files, identity, constants.lms, constants.container
            )
        except RowError:
            return None
        rule = None
        if prepared.malpractice is not None:
            rule = malpractice_rule_values(prepared, identity, constants.lms, constants.applied_by)
        if predict_rejection({**values, **(rule or {})}):
            return None
        return _Insert(values, rule)


def _statement(query: ExpectedQuery, types: Sequence[Any]) -> str:
    """Counts, for each submission, the rows that exist as the insert would write them."""
    type_of = {(row["table_name"], row["column_name"]): row["type_name"] for row in types}
    parts = []
    for table in query.tables.values():
        columns = [each for each in table.columns if each not in _NOT_COMPARED.get(table.name, ())]
        kinds = [type_of.get((table.name, column)) for column in columns]
        if None in kinds:
            parts.append(_NONE)
            continue
        pairs = zip(columns, kinds, strict=True)
        parts.append(
            _TABLE.format(
                name=table.name,
                key=_KEYS.get(table.name, "id"),
                condition=_CONDITIONS.get(table.name, ""),
                select=query.select(table),
                existing=", ".join(f"t.{column}" for column in columns),
                expected=", ".join(f"v.{column}::{kind}" for column, kind in pairs),
            )
        )
    return _STATEMENT.format(submissions=query.submissions, rows=" UNION ".join(parts))
