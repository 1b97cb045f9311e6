"""Brings a migrated submission up to date in place: all its rows in one transaction, or nothing.

The transaction reads the rows again, and writes only if they are still those that a run wrote. It
rewrites every row of the submission, so they carry one transaction again. The former rows are in
the run's journal before it commits (specification §5, ``run --refresh``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import orjson

from rogo_async.common.errors import AmbiguousError
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.existing_rows import (
    GRADES,
    MARKS,
    RULES,
    ExistingRow,
    ExistingSubmission,
    Row,
    read_existing,
)
from rogo_async.destination.postgres.journal import Journals
from rogo_async.destination.postgres.malpractice_rules import RuleRestorer
from rogo_async.destination.postgres.reconciler import Compared
from rogo_async.destination.postgres.reconciliation import (
    STORED_COLUMNS,
    IsRestored,
    reconcile,
    touched_by_platform,
)
from rogo_async.destination.postgres.row_comparison import (
    SUBMISSION,
    Expected,
    compare_rule,
    is_same,
    pairs,
    run_mark_ids,
)
from rogo_async.destination.postgres.row_writer import RowIsReferenced, RowWriter
from rogo_async.destination.postgres.rule_restoration import DeleteRule, RemovalSkipped
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.transactions import locked_transaction
from rogo_async.destination.postgres.translation import TableConflict
from rogo_async.destination.postgres.writer import lock_key, write_rule
from rogo_async.rules.identity import child_id

_Pair = tuple[ExistingRow | None, Row | None]


class RefreshResult(Enum):
    """What a refresh found or did."""

    REFRESHED = auto()
    UP_TO_DATE = auto()
    """Another run has refreshed it."""
    CHANGED_ON_PLATFORM = auto()
    """Nothing was written."""


@dataclass(slots=True)
class _Tries:
    ambiguous: bool = False


class Refresher:
    """Refreshes submissions. ``prepare`` must be called before the first one."""

    def __init__(
        self,
        connections: Connections,
        breaker: CircuitBreaker,
        lock: RunLock,
        journals: Journals,
        restorer: RuleRestorer,
    ) -> None:
        self._connections = connections
        self._breaker = breaker
        self._lock = lock
        self._journals = journals
        self._restorer = restorer
        self._rows: RowWriter | None = None

    async def prepare(self) -> None:
        """Read the target's columns. Raises SetupError for missing rights, a DependencyError."""
        async with self._connections.session("prepare_refresh") as session:
            self._rows = await RowWriter.open(session)

    async def refresh(self, stale: Compared) -> RefreshResult:
        """Write what a migration would write now, under the ids of the existing submission.

        After a lost reply the retry finds the rows written or unchanged. Raises RowError
        target_refused, DataDirFull, RunStopped, or a DependencyError if the outcome is unknown.
        """
        tries = _Tries()

        async def work() -> RefreshResult:
            try:
                return await self._refresh(stale)
            except AmbiguousError:
                tries.ambiguous = True
                raise

        try:
            result = await self._breaker.call("refresh", work)
        except (TableConflict, RowIsReferenced, RemovalSkipped):
            return RefreshResult.CHANGED_ON_PLATFORM
        if result is RefreshResult.UP_TO_DATE and tries.ambiguous:
            return RefreshResult.REFRESHED
        return result

    async def _refresh(self, stale: Compared) -> RefreshResult:
        expected, launch_id = stale.expected, stale.existing.launch_id
        if expected is None or self._rows is None:
            raise ValueError("nothing to write, or not prepared")
        async with (
            self._connections.session("refresh", writing=True) as session,
            locked_transaction(session, _keys(stale)) as transaction,
        ):
            await self._lock.verify_held(self._connections.newest_s)
            existing = (await read_existing(session, [launch_id])).get(launch_id)
            result = _result_of(existing, stale, self._journals.is_restored)
            if existing is None or result is not RefreshResult.REFRESHED:
                transaction.roll_back()
                return result
            rules_before = {rule.id: rule.content for rule in existing.rules}
            if stale.rule_values is not None:  # the key may be another one now
                rows = await session.rows("existing_malpractice_rules", stale.rule_values)
                rules_before |= {row["id"]: orjson.loads(row["before"]) for row in rows}
            after = await _write_rows(session, self._rows, existing, expected)
            rules = await self._write_rules(session, self._rows, existing, stale)
            await self._journals.record_refresh(
                {
                    "attempt": stale.attempt,
                    "launch_id": launch_id,
                    "submission": existing.submission_id,
                    "before": {table: [r.content for r in existing.of(table)] for table in after},
                    "after": after,
                    "rules_before": rules_before,
                    "rules_after": await read_rules(session, {*rules_before, *rules}),
                }
            )
        return RefreshResult.REFRESHED

    async def _write_rules(
        self, session: Session, rows: RowWriter, existing: ExistingSubmission, stale: Compared
    ) -> set[str]:
        """Apply rule 13 as if the new grade had been the first.

        Returns the ids of the rules that the submission may have now. Raises RemovalSkipped.
        """
        named, expected = existing.named_rules(), stale.expected
        own = child_id(existing.submission_id or "", "enforcement")
        if expected is None or (not named and expected.rule is None):
            return set()
        if not any(compare_rule(existing, expected)):
            for each in named:
                await rows.update(session, RULES, each.id, {})
            return {own}
        values = {"submission_id": existing.submission_id, **rule_key(existing.submission or {})}
        changes = await self._restorer.changes(session, values, existing.written_by)
        deleted = [rule.id for rule, change in changes if isinstance(change, DeleteRule)]
        await rows.check_references(session, deleted)
        for rule, change in changes:
            await self._restorer.apply(session, stale.attempt, rule, change)
        if stale.rule_values is not None:
            # Another submission may have taken over the row that this one inserted.
            number = 0
            while await read_rules(session, [own]):
                number += 1
                own = child_id(existing.submission_id or "", "enforcement", number)
            rule_values = {**stale.rule_values, "enforcement_id": own}
            await write_rule(session, rule_values, self._journals.own)
            return {own} | {
                row["id"]
                for row in await session.rows("existing_malpractice_rules", stale.rule_values)
            }
        return {own}


async def _write_rows(
    session: Session, rows: RowWriter, existing: ExistingSubmission, expected: Expected
) -> dict[str, list[Row]]:
    """Update, delete and insert the rows of all tables; return them as they are now."""
    after: dict[str, list[Row]] = {}
    for table, definition in SUBMISSION.tables.items():
        wanted_rows = expected.rows[table]
        found = list(pairs(table, existing.of(table), wanted_rows, existing.written_by))
        if table == MARKS:
            found = _with_mark_ids(found, run_mark_ids(existing)[: len(wanted_rows)])
        gone = [row.id for row, wanted in found if row is not None and wanted is None]
        await rows.delete(session, table, gone)
        after[table] = [
            await rows.update(
                session,
                table,
                row.id,
                _changed(row, wanted, definition.columns),
                {
                    column: (row.content if column in STORED_COLUMNS else wanted)[column]
                    for column in definition.columns
                },
            )
            for row, wanted in found
            if row is not None and wanted is not None
        ]
        for row, wanted in found:
            if row is None and wanted is not None:
                values = {column: wanted[column] for column in definition.columns}
                after[table].append(await rows.insert(session, table, values))
    return after


def _with_mark_ids(found: Sequence[_Pair], ids: Sequence[str]) -> list[_Pair]:
    """Number the marks without gaps, as a run does. A mark keeps its id where that is possible."""
    kept = {row.id for row, wanted in found if row is not None and wanted is not None}
    free = iter([each for each in ids if each not in kept])
    return [
        (row, wanted)
        if wanted is None
        else (row, {**wanted, "id": row.id if row is not None and row.id in ids else next(free)})
        for row, wanted in found
    ]


def _changed(row: ExistingRow, wanted: Row, columns: Sequence[str]) -> Row:
    """The columns that get another value. Those of the blobs never do."""
    return {
        column: _in_form_of(row.content[column], wanted[column])
        for column in columns
        if column not in STORED_COLUMNS and not is_same(row.content[column], wanted[column])
    }


def _in_form_of(existing: object, wanted: Any) -> Any:
    """The value for a column of type json, which holds what a text column quotes."""
    return orjson.loads(wanted) if isinstance(existing, dict | list) else wanted


async def read_rules(session: Session, ids: Iterable[str]) -> dict[str, Row]:
    """The malpractice rules with these ids that exist, by id."""
    found = await session.rows("rules_by_id", {"ids": sorted(ids)})
    return {row["id"]: orjson.loads(row["content"]) for row in found}


def rule_key(submission: Row) -> dict[str, object]:
    """The key of a submission's malpractice rule."""
    return {
        "lms_user_id": submission["lms_user_id"],
        "assessment_code": submission["custom_assessment_code"],
        "context_id": submission["context_id"],
    }


def _result_of(
    existing: ExistingSubmission | None, stale: Compared, is_restored: IsRestored
) -> RefreshResult:
    """REFRESHED if the rows are still those that were compared, else why nothing is written."""
    compared, expected = stale.existing, stale.expected
    if existing is None or expected is None or touched_by_platform(existing, is_restored):
        return RefreshResult.CHANGED_ON_PLATFORM
    if existing.written_by != compared.written_by:
        is_stale = reconcile(existing, expected, is_restored).is_stale
        return RefreshResult.CHANGED_ON_PLATFORM if is_stale else RefreshResult.UP_TO_DATE
    # Only this shows that the last section marks were deleted meanwhile.
    is_same = _ids(existing) == _ids(compared)
    return RefreshResult.REFRESHED if is_same else RefreshResult.CHANGED_ON_PLATFORM


def _ids(existing: ExistingSubmission) -> set[str]:
    return {row.id for row in existing.rows}


def _keys(stale: Compared) -> list[int]:
    """The keys of the malpractice rules of both sides; none without malpractice.

    Also without a rule that names the submission: the refresh of another one may give it a rule.
    """
    keys = []
    had_malpractice = stale.existing.named_rules() or any(
        row.content["malpractice_level_id"] is not None for row in stale.existing.of(GRADES)
    )
    if had_malpractice and stale.existing.submission is not None:
        keys.append(lock_key(rule_key(stale.existing.submission)))
    if stale.rule_values is not None:
        keys.append(lock_key(stale.rule_values))
    return keys
