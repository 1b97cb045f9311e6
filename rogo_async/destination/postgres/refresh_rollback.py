"""Puts the former values of refreshed submissions back (specification §5, ``rollback``).

A run's journal has the rows of each submission before and after the refresh. They are put back only
if the rows are still exactly those after it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from rogo_async.common.errors import AmbiguousError, RowError
from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.existing_rows import (
    MARKS,
    RULES,
    SUBMISSIONS,
    ExistingSubmission,
    Row,
    read_existing,
)
from rogo_async.destination.postgres.journal import Journals
from rogo_async.destination.postgres.reconciliation import touched_by_platform
from rogo_async.destination.postgres.refresh import read_rules, rule_key
from rogo_async.destination.postgres.rollback import RemovalResult
from rogo_async.destination.postgres.row_comparison import SUBMISSION
from rogo_async.destination.postgres.row_writer import RowIsReferenced, RowWriter
from rogo_async.destination.postgres.rule_restoration import RemovalSkipped
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.transactions import locked_transaction
from rogo_async.destination.postgres.translation import TableConflict
from rogo_async.destination.postgres.writer import lock_key

Rows = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh in a run's journal: the rows by table, and malpractice rules by id."""

    attempt: int
    launch_id: str
    submission: str
    before: Rows
    after: Rows
    rules_before: Mapping[str, Row]
    rules_after: Mapping[str, Row]
    earlier: "Sequence[Refresh]" = ()
    """From the same former rows to those that earlier tries of the run wrote, the latest first.

    The last refresh in a journal may not be committed.
    """

    def following(self, earlier: "Refresh") -> "Refresh":
        """One refresh for both: the rows before this one are those after the earlier one."""
        known = earlier.rules_before.keys() | earlier.rules_after.keys()
        changed = self.rules_before.keys() | self.rules_after.keys()
        new = {key: rule for key, rule in self.rules_before.items() if key not in known}
        kept = {key: rule for key, rule in earlier.rules_after.items() if key not in changed}
        return replace(
            self,
            before=earlier.before,
            rules_before={**earlier.rules_before, **new},
            rules_after={**kept, **self.rules_after},
            earlier=(replace(earlier, earlier=()), *earlier.earlier),
        )


class Refreshes:
    """The refreshes in a journal. It may be larger than memory, so only positions are kept."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._starts: dict[int, tuple[int, ...]] = {}

    @classmethod
    def read(cls, journal: Path) -> "Refreshes":
        """Find the lines of each attempt: a retry appends another one. Raises OSError."""
        found = cls(journal)
        if journal.exists():
            start = 0
            with journal.open("rb") as file:
                for line in file:
                    if (entry := _entry(line)) is not None:
                        attempt = entry["attempt"]
                        found._starts[attempt] = (*found._starts.get(attempt, ()), start)
                    start += len(line)
        return found

    @property
    def attempts(self) -> Collection[int]:
        """The attempts of the submissions."""
        return self._starts.keys()

    def __len__(self) -> int:
        """Number of submissions."""
        return len(self._starts)

    def __iter__(self) -> Iterator[Refresh]:
        """One refresh for each submission, the latest first."""
        with self._journal.open("rb") as file:
            for starts in sorted(self._starts.values(), key=lambda s: s[-1], reverse=True):
                yield _whole([_read(file, start) for start in reversed(starts)])


def _read(file: BinaryIO, start: int) -> Refresh:
    file.seek(start)
    return Refresh(**(_entry(file.readline()) or {}))


def _whole(lines: Sequence[Refresh]) -> Refresh:
    """The refresh from the rows before the run to the last ones, given the latest line first.

    Without lines of tries that were not committed: no later line begins with their rows.
    """
    chain = [lines[0]]
    for each in lines[1:]:
        if _by_id(each.after) == _by_id(chain[-1].before):
            chain.append(each)
    return reduce(lambda earlier, later: later.following(earlier), reversed(chain))


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:  # incomplete after a power failure
        return None
    if not isinstance(entry, dict) or entry.pop("kind", "") != "refresh":
        return None
    return entry


class RefreshReverter:
    """Reverts refreshes, each in one transaction. ``prepare`` must be called before the first."""

    def __init__(
        self,
        connections: Connections,
        breaker: CircuitBreaker,
        journals: Journals,
        lock: RunLock,
    ) -> None:
        self._connections = connections
        self._breaker = breaker
        self._journals = journals
        self._lock = lock
        self._rows: RowWriter | None = None

    async def prepare(self) -> None:
        """Read the target's columns. Raises SetupError for missing rights, a DependencyError."""
        async with self._connections.session("prepare_refresh") as session:
            self._rows = await RowWriter.open(session)

    async def revert(self, refresh: Refresh) -> RemovalResult:
        """Put the former rows back, or change nothing.

        After a lost reply the retry finds the former rows. Raises RemovalSkipped, DataDirFull, or
        a DependencyError if the outcome stays unknown.
        """
        lost_replies = 0

        async def work() -> RemovalResult | RemovalSkipped:
            nonlocal lost_replies
            try:
                return await self._revert(refresh)
            except AmbiguousError:
                lost_replies += 1
                raise

        try:
            result = await self._breaker.call("rollback", work)
        except RowError as error:
            raise RemovalSkipped(error.message) from None
        except RowIsReferenced as reference:
            raise RemovalSkipped(str(reference)) from None
        except TableConflict as conflict:
            raise RemovalSkipped(
                f"{conflict.table}: a unique or foreign key rejects the former row"
            ) from None
        if isinstance(result, RemovalSkipped):
            raise result
        return RemovalResult.REMOVED if lost_replies else result

    async def _revert(self, refresh: Refresh) -> RemovalResult | RemovalSkipped:
        if self._rows is None:
            raise ValueError("not prepared")
        async with (
            self._connections.session("rollback", writing=True) as session,
            locked_transaction(session, _keys(refresh)) as transaction,
        ):
            await self._lock.verify_held(self._connections.newest_s)
            found = await read_existing(session, [refresh.launch_id])
            existing = found.get(refresh.launch_id)
            if existing is None or _is_as(existing, refresh.before):
                transaction.roll_back()
                return RemovalResult.ALREADY_GONE
            refresh = _last_committed(refresh, existing)
            rules = await read_rules(session, {*refresh.rules_before, *refresh.rules_after})
            reason = _changed_since(existing, rules, refresh, self._journals)
            if reason is not None:
                transaction.roll_back()
                return RemovalSkipped(reason)
            await _put_rows(session, self._rows, refresh)
            await self._put_rules(session, self._rows, existing, refresh)
        return RemovalResult.REMOVED

    async def _put_rules(
        self, session: Session, rows: RowWriter, existing: ExistingSubmission, refresh: Refresh
    ) -> None:
        before, after = refresh.rules_before, refresh.rules_after
        if before == after:
            for rule in existing.named_rules():  # they carry the transaction of the rows
                await rows.update(session, RULES, rule.id, {})
            return
        await rows.delete(session, RULES, after.keys() - before.keys())
        for row_id, content in before.items():
            if row_id in after:
                await rows.update(session, RULES, row_id, content)
            else:
                await rows.insert(session, RULES, content)
            if content["submission_id"] != refresh.submission:
                await self._journals.record_restored(refresh.attempt, content)


async def _put_rows(session: Session, rows: RowWriter, refresh: Refresh) -> None:
    for table in SUBMISSION.tables:
        before = {row["id"]: row for row in refresh.before[table]}
        after = {row["id"]: row for row in refresh.after[table]}
        if table == MARKS:
            # A unique key over submission and section would refuse two sections that change places.
            after = {
                row_id: row
                for row_id, row in after.items()
                if row_id in before and row["section_id"] == before[row_id]["section_id"]
            }
        gone = {row["id"] for row in refresh.after[table]} - after.keys()
        await rows.delete(session, table, gone)
        for row_id, content in before.items():
            if row_id in after:
                await rows.update(session, table, row_id, content)
            else:
                await rows.insert(session, table, content)


def _changed_since(
    existing: ExistingSubmission,
    rules: Mapping[str, Row],
    refresh: Refresh,
    journals: Journals,
) -> str | None:
    """Why the former rows are not put back, or None."""
    if (reason := touched_by_platform(existing, journals.is_restored)) is not None:
        return reason
    if not _is_as(existing, refresh.after):
        return f"{SUBMISSIONS}: the rows are not those that the run wrote"
    has_changed_rules = refresh.rules_before != refresh.rules_after
    if has_changed_rules and rules != refresh.rules_after:
        return f"{RULES}: the rules of the key have changed since"
    return None


def _last_committed(refresh: Refresh, existing: ExistingSubmission) -> Refresh:
    """The refresh after which the rows are these ones; the latest if there is none."""
    candidates = (refresh, *refresh.earlier)
    return next((each for each in candidates if _is_as(existing, each.after)), refresh)


def _is_as(existing: ExistingSubmission, rows: Rows) -> bool:
    return all(
        {row.id: row.content for row in existing.of(table)} == found
        for table, found in _by_id(rows).items()
    )


def _by_id(rows: Rows) -> dict[str, dict[str, Row]]:
    return {table: {row["id"]: row for row in found} for table, found in rows.items()}


def _keys(refresh: Refresh) -> list[int]:
    """The keys of the malpractice rules of all its rows; none without rules."""
    parts = (refresh, *refresh.earlier)
    if not any(each.rules_before or each.rules_after for each in parts):
        return []
    rows = [row for each in parts for row in (*each.before[SUBMISSIONS], *each.after[SUBMISSIONS])]
    return [lock_key(rule_key(row)) for row in rows]
