"""Removes migrated submissions from the target, each in one transaction (specification §5).

The transaction is REPEATABLE READ, so it deletes exactly the rows that it checked. If another
session changes or adds a row at the same time, the transaction fails with a serialization failure
and is retried. It needs the rights SELECT and DELETE only. A submission is kept if one of its rows
differs from what a run wrote: ``RemovalSkipped`` has the reason.
"""

from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from rogo_async.common.errors import RowError, SetupError
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.malpractice_rules import RuleRestorer
from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.rule_restoration import DeleteRule, RemovalSkipped
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.schema import WRITTEN_TABLES
from rogo_async.destination.postgres.transactions import locked_transaction
from rogo_async.destination.postgres.translation import TableConflict
from rogo_async.destination.postgres.writer import lock_key
from rogo_async.rules.identity import attempt_of_launch_id, child_id, is_uuid

_SCAN_S: Final = 600.0
_PREFETCH_ROWS: Final = 5_000
_SUBMISSIONS: Final = "assignment_submissions"
_MAX_DELETED_MARKS: Final = 20
_TABLES: Final = tuple(table for table in WRITTEN_TABLES if table != "malpractice_enforcements")
_OWN_KEYS: Final = (
    (_SUBMISSIONS, "lti_session_record_id"),
    ("submission_files", "submission_id"),
    ("submission_marking_assignments", "submission_id"),
    ("submission_section_marks", "submission_id"),
    ("submission_grades", "submission_id"),
    ("malpractice_enforcements", "submission_id"),
)
"""The foreign keys that this tool fills. Rows that use them are checked one by one."""


@dataclass(frozen=True, slots=True)
class MigratedSubmission:
    """A launch id that marks an attempt as migrated, and its submission, if there is one."""

    launch_id: str
    attempt: int
    submission_id: str | None
    session_id: str | None
    lms_user_id: str | None
    assessment_code: str | None
    context_id: str | None
    shares_transaction: bool
    """One transaction wrote both this submission and another one, which a run never does."""


@dataclass(frozen=True, slots=True)
class OwnedRow:
    """A row of a submission. ``written_by`` is its xmin."""

    table: str
    id: str
    written_by: str


class RemovalResult(Enum):
    """Result of a removal that is not skipped."""

    REMOVED = auto()
    ALREADY_GONE = auto()
    """An earlier call removed it."""


class SubmissionRemover:
    """Finds migrated submissions and removes them. Its methods raise RunStopped."""

    def __init__(
        self,
        connections: Connections,
        breaker: CircuitBreaker,
        restorer: RuleRestorer,
        lock: RunLock,
    ) -> None:
        self._connections = connections
        self._breaker = breaker
        self._restorer = restorer
        self._lock = lock
        self._references = ""

    async def prepare(self) -> None:
        """Find foreign keys to a submission's tables. Raises SetupError for missing rights."""
        tables = list(WRITTEN_TABLES)
        rows = await self._rows("missing_delete_rights", {"tables": tables})
        problems = [f"target: no DELETE right on {row['name']}" for row in rows]
        own_tables, own_columns = zip(*_OWN_KEYS, strict=True)
        keys = await self._rows(
            "foreign_keys",
            {"tables": tables, "own_tables": own_tables, "own_columns": own_columns},
        )
        problems += [
            f"target: no SELECT right on {row['table_name']}, which refers to rows that a rollback "
            "deletes"
            for row in keys
            if not row["readable"]
        ]
        if problems:
            raise SetupError(
                *(f"{each}. Grant it to the user of DATABASE_URL" for each in problems)
            )
        self._references = " UNION ALL ".join(row["question"] for row in keys)

    async def migrated_submissions(self) -> AsyncIterator[MigratedSubmission]:
        """All launch ids that mark an attempt as migrated, by this tool or another one."""
        async with (
            self._connections.session("migrated_launch_ids") as session,
            session.raw.transaction(),
        ):
            rows = session.raw.cursor(
                query("migrated_launch_ids").sql, prefetch=_PREFETCH_ROWS, timeout=_SCAN_S
            )
            async for row in rows:
                attempt = attempt_of_launch_id(row["launch_id"])
                if attempt is not None:
                    yield MigratedSubmission(attempt=attempt, **dict(row))

    async def count_files_and_rules(self, ids: Sequence[str]) -> tuple[int, int]:
        """Number of files of these submissions, and of malpractice rules that name them."""
        (row,) = await self._rows("count_files_and_rules", {"ids": list(ids)})
        return row["files"], row["rules"]

    async def remove(self, trace: MigratedSubmission) -> RemovalResult:
        """Delete a submission with all its rows, or delete nothing.

        After a lost reply the retry finds the submission deleted or still there. Raises
        RemovalSkipped, DataDirFull, or a DependencyError if the outcome stays unknown.
        """
        if trace.submission_id is None:
            raise RemovalSkipped(f"{_SUBMISSIONS}: the row was deleted")
        if trace.shares_transaction:
            raise RemovalSkipped(
                f"{_SUBMISSIONS}: one transaction rewrote the row together with others, so other "
                "changes cannot be detected"
            )
        try:
            result = await self._breaker.call("rollback", lambda: self._remove(trace))
        except RowError as error:
            raise RemovalSkipped(error.message) from None
        except TableConflict as conflict:
            raise RemovalSkipped(f"{conflict.table}: a foreign key refers to a row") from None
        if isinstance(result, RemovalSkipped):
            raise result
        return result

    async def _remove(self, trace: MigratedSubmission) -> RemovalResult | RemovalSkipped:
        values = {
            "submission_id": trace.submission_id,
            "launch_id": trace.launch_id,
            "session_id": trace.session_id,
            "lms_user_id": trace.lms_user_id,
            "assessment_code": trace.assessment_code,
            "context_id": trace.context_id,
        }
        async with (
            self._connections.session("rollback", writing=True) as session,
            locked_transaction(session, [lock_key(values)]) as transaction,
        ):
            await self._lock.verify_held(self._connections.newest_s)
            try:
                return await self._delete(session, trace, values)
            except RemovalSkipped as reason:
                transaction.roll_back()
                return reason

    async def _delete(
        self, session: Session, trace: MigratedSubmission, values: Mapping[str, object]
    ) -> RemovalResult:
        found = await session.rows("rows_of_submission", values, _SCAN_S)
        if not found:
            return RemovalResult.ALREADY_GONE
        file_count = next((row["file_count"] for row in found if row["file_count"]), 0)
        rows = [OwnedRow(row["table_name"], row["id"], row["written_by"]) for row in found]
        written_by = writing_transaction(trace.submission_id or "", file_count, rows)
        ids = [row.id for row in rows]
        changes = await self._restorer.changes(session, values, written_by)
        deleted = [rule.id for rule, change in changes if isinstance(change, DeleteRule)]
        await self._check_references(session, [*ids, *deleted])
        for rule, change in changes:
            await self._restorer.apply(session, trace.attempt, rule, change)
        gone = await session.rows("delete_submission", {"ids": ids})
        kept = Counter(row.table for row in rows)
        kept.subtract({row["table_name"]: row["deleted"] for row in gone})
        if tables := sorted(table for table, count in kept.items() if count):
            raise RemovalSkipped(
                f"{', '.join(tables)}: the target did not delete every row and reported no error. "
                "A trigger, rule or policy keeps rows"
            )
        return RemovalResult.REMOVED

    async def _check_references(self, session: Session, ids: Sequence[str]) -> None:
        if self._references:
            found = await session.raw.fetchrow(self._references, list(ids), timeout=_SCAN_S)
            if found is not None:
                raise RemovalSkipped(f"{found['table_name']}: a row refers to the submission")

    async def _rows(self, name: str, values: Mapping[str, object]) -> list[Any]:
        async def ask() -> list[Any]:
            async with self._connections.session(name) as session:
                return await session.rows(name, values, _SCAN_S)

        return await self._breaker.call(name, ask)


def writing_transaction(submission_id: str, file_count: int, rows: Sequence[OwnedRow]) -> str:
    """Return the transaction that wrote all rows of a submission.

    Raises RemovalSkipped if the rows are not exactly those that a run writes in one transaction.
    """
    if not is_uuid(submission_id):
        raise RemovalSkipped(f"{_SUBMISSIONS}: the id does not have the form of a run's id")
    by_table: dict[str, list[OwnedRow]] = {table: [] for table in _TABLES}
    for row in rows:
        by_table[row.table].append(row)
    expected_ids = {
        _SUBMISSIONS: {submission_id},
        "lti_session_records": {child_id(submission_id, "session")},
        "submission_files": {child_id(submission_id, "file", n + 1) for n in range(file_count)},
        "submission_marking_assignments": {child_id(submission_id, "marking")},
        "submission_grades": {child_id(submission_id, "grade")},
    }
    for table, found in by_table.items():
        ids = {row.id for row in found}
        expected = expected_ids.get(table, ids)
        if table == "submission_section_marks":
            expected = _marks(submission_id, ids)
        if expected - ids or (table == "lti_launch_sessions" and not ids):
            raise RemovalSkipped(f"{table}: a row was deleted")
        if ids - expected:
            raise RemovalSkipped(f"{table}: a row was added")
    ((written_by, _),) = Counter(row.written_by for row in rows).most_common(1)
    for row in rows:
        if row.written_by != written_by:
            raise RemovalSkipped(f"{row.table}: a row was changed")
    return written_by


def _marks(submission_id: str, ids: Collection[str]) -> set[str]:
    """The ids that a run gives to marks, up to the last one that is in ``ids``.

    No row has the number of marks that the run wrote.
    """
    possible = [child_id(submission_id, "mark", n) for n in range(len(ids) + _MAX_DELETED_MARKS)]
    return set(possible[: max((n for n, each in enumerate(possible, 1) if each in ids), default=0)])
