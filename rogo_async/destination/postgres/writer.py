"""Writes one submission: all its rows in one statement, or nothing (rules 13 and 15).

The statement is ``insert_submission`` in ``sql/submission.sql``. It writes nothing if the launch id
already exists, and a retry after a lost reply uses the same ids. So no attempt is written twice
(invariant 2). The run lock is verified before each write. If the lock was lost since the files were
stored, a sweep or a rollback may have listed or deleted their blobs, so these are renewed first. A
submission with malpractice also updates the malpractice rule of its key, under an advisory lock, in
the same transaction.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import asyncpg
import orjson

from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    FailureCode,
    RefusedError,
    RowError,
    RunStopped,
    TransientError,
)
from rogo_async.common.retry import CircuitBreaker
from rogo_async.common.settings import Lms
from rogo_async.destination.postgres.connections import Connections, Session, boot_time_s
from rogo_async.destination.postgres.journal import Journal
from rogo_async.destination.postgres.parameters import malpractice_rule_values, submission_values
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.destination.postgres.translation import RowsMissing, TableConflict
from rogo_async.destination.postgres.trial_insert import TrialInsert
from rogo_async.rules.grading import outranks
from rogo_async.rules.records import EnforcementRank, Identity, PreparedSubmission, StoredFile


class WriteResult(Enum):
    """Which submission exists for the attempt after a write."""

    INSERTED = auto()
    ALREADY_EXISTS = auto()
    """Another writer was first; this call wrote nothing."""
    INCOMPLETE = auto()
    """A launch or session record exists for the attempt, without a submission."""
    FILES_GONE = auto()
    """Blobs were deleted while the lock was lost. Nothing is written: store them again."""


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The files of a submission, stored during one hold of the run lock.

    ``hold`` is what ``Writer.ready`` returned before. ``renew`` makes the blobs differ from what a
    sweep or a rollback may have listed during another hold; it returns False if one is missing.
    """

    files: Sequence[StoredFile]
    hold: int
    renew: Callable[[], Awaitable[bool]]


class _LockRetaken(Exception):
    """The run lock was lost and taken again since the files were stored."""


class _FilesGone(Exception):
    """A blob was deleted while the run lock was lost; no row refers to it."""


@dataclass(slots=True)
class _Tries:
    """The hold of the run lock in which the blobs exist; whether a try may have been committed.

    ``refused`` counts the refusals of this submission by a target that accepts others.
    """

    hold: int
    ambiguous: bool = False
    refused: int = 0


@dataclass(frozen=True, slots=True)
class RunConstants:
    """Values that are the same for all submissions of a run."""

    lms: Lms
    container: str
    applied_by: str


class Writer:
    """Writes submissions on connections of the pool."""

    def __init__(
        self,
        connections: Connections,
        breaker: CircuitBreaker,
        constants: RunConstants,
        journal: Journal,
        lock: RunLock,
    ) -> None:
        self._connections = connections
        self._lock = lock
        self._first_hold = lock.hold
        self._journal = journal
        self._breaker = breaker
        self._constants = constants
        self._trial = TrialInsert(connections, constants.lms, constants.container)

    async def verify_target(self) -> None:
        """Check at start that the target accepts rows. Raises SetupError, DependencyError."""
        await self._trial.verify(self._constants.applied_by)

    async def ready(self) -> int:
        """Wait for the target during an outage. Returns the number of the lock's hold."""
        await self._breaker.wait_until_closed()
        return self._lock.hold

    async def may_delete_blobs(self) -> bool:
        """Whether this process has held the lock without a break since the run began.

        Otherwise another process may have run the same shard and written the same ids. Asks the
        server, since a deletion cannot be taken back.
        """
        try:
            return await self._lock.verify_held(boot_time_s()) == self._first_hold
        except (TransientError, RunStopped):
            return False

    async def is_written(self, identity: Identity) -> bool:
        """Whether this submission is in the target: then rows refer to its blobs.

        A try of the same shard that was killed may have been committed after this one had read the
        attempts of the target. Raises RunStopped or a DependencyError.
        """
        ids = {"launch_id": identity.launch_id, "submission_id": identity.submission_id}
        return await self._find_existing(ids) is WriteResult.INSERTED

    async def write(
        self,
        prepared: PreparedSubmission,
        stored: StoredFiles,
        identity: Identity,
    ) -> WriteResult:
        """Insert all rows of a submission or none. Returns which submission exists afterwards.

        The ids are the same in each retry. If a reply was lost, the retry waits for the first
        transaction and then finds its launch id. Raises RowError target_refused or
        target_conflict, RunStopped, or a DependencyError if the outcome stays unknown.
        """
        constants = self._constants
        values = submission_values(
            prepared, stored.files, identity, constants.lms, constants.container
        )
        rule = (
            malpractice_rule_values(prepared, identity, constants.lms, constants.applied_by)
            if prepared.malpractice
            else None
        )
        tries = _Tries(stored.hold)
        try:
            if await self._insert_until_known(values, rule, stored, tries):
                return WriteResult.INSERTED
            return await self._find_existing(values) or WriteResult.INCOMPLETE
        except _FilesGone:
            return WriteResult.FILES_GONE
        except (RowError, TableConflict) as error:
            # An earlier try whose reply was lost may have been committed. A launch id that another
            # writer has just committed looks like a missing row.
            is_missing = isinstance(error, RowsMissing)
            found = await self._find_existing(values) if tries.ambiguous or is_missing else None
            if found is WriteResult.INSERTED or (is_missing and found is not None):
                return found
            if isinstance(error, RowError):
                raise
            if error.table == "lti_session_records":
                return WriteResult.INCOMPLETE
            raise RowError(
                FailureCode.TARGET_CONFLICT,
                f"{error.table}: a unique or foreign key rejects the row ({error.constraint})",
            ) from None

    async def _insert_until_known(
        self,
        values: Mapping[str, object],
        rule: Mapping[str, object] | None,
        stored: StoredFiles,
        tries: _Tries,
    ) -> bool:
        """Whether the rows were inserted. Renews the blobs if the lock was taken again."""

        async def insert() -> bool:
            try:
                return await self._insert(values, rule, tries.hold)
            except AmbiguousError:
                tries.ambiguous = True
                raise
            except (RowError, TableConflict, RefusedError) as error:
                await self._trial.raise_if_refused(constants.applied_by)
                raise _of_row(error, tries) from None

        constants = self._constants
        while True:
            try:
                return await self._breaker.call("insert", insert)
            except _LockRetaken:
                tries.hold = await self.ready()
            if not await stored.renew():
                if tries.ambiguous:
                    reason = "the reply and then the lock were lost, and blobs are missing"
                    raise AmbiguousError(Dependency.TARGET, "insert", reason)
                raise _FilesGone

    async def _find_existing(self, values: Mapping[str, object]) -> WriteResult | None:
        # "standing" is the name of this operation in the metrics.
        return await self._breaker.call("standing", lambda: self._read_existing(values))

    async def _insert(
        self, values: Mapping[str, object], rule: Mapping[str, object] | None, hold: int
    ) -> bool:
        async with self._connections.session("insert", writing=True) as session:
            if await self._lock.verify_held(self._connections.newest_s) != hold:
                raise _LockRetaken
            if rule is None:
                return await session.row("insert_submission", values) is not None
            return await _insert_with_rule(session, values, rule, self._journal)

    async def _read_existing(self, values: Mapping[str, object]) -> WriteResult | None:
        async with self._connections.session("standing") as session:
            found = await session.row("existing_submission", values)
        if found["ours"] is not None:
            return WriteResult.INSERTED
        if found["existing"] is not None:
            return WriteResult.ALREADY_EXISTS
        return WriteResult.INCOMPLETE if found["started"] else None


def _of_row(error: Exception, tries: _Tries) -> Exception:
    """The error of a submission that is refused by a target which accepts others.

    A refusal of the statement is repeated once, since a table may have been replaced meanwhile.
    """
    if not isinstance(error, RefusedError):
        return error
    tries.refused += 1
    if tries.refused == 1:
        return TransientError(error.dependency, error.operation, error.reason)
    return RowError(FailureCode.TARGET_REFUSED, f"the target refused the rows ({error.reason})")


async def _insert_with_rule(
    session: Session,
    values: Mapping[str, object],
    rule: Mapping[str, object],
    journal: Journal,
) -> bool:
    """Write submission and malpractice rule in one transaction; False if the launch id exists.

    READ COMMITTED, with the lock in a separate statement. Otherwise the snapshot would be older
    than the lock, and two runs would not see each other's rule.
    """
    raw = session.raw
    await raw.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        await session.row("lock_malpractice_key", {"key": lock_key(rule)})
        written = await session.row("insert_submission", values) is not None
        if written:
            await write_rule(session, rule, journal)
    except (asyncpg.PostgresError, RowsMissing) as error:
        if not isinstance(error, asyncpg.PostgresConnectionError):
            await raw.execute("ROLLBACK")
        raise
    await raw.execute("COMMIT")
    return written


async def write_rule(session: Session, rule: Mapping[str, Any], journal: Journal) -> None:
    """Keep the highest-ranking rule of the key; record a rule before it changes (rule 13).

    ``rule`` is what ``malpractice_rule_values`` returns.
    """
    existing = await session.rows("existing_malpractice_rules", rule)
    ours = EnforcementRank(rule["attempt_number"], rule["max_attempts"], rule["attempt"])
    highest: Any = None
    for row in existing:
        if highest is None or outranks(_rank(row), _rank(highest)):
            highest = row
    if highest is None:
        written = await session.row("insert_malpractice_rule", rule)
    elif outranks(ours, _rank(highest)):
        await journal.record_original(
            rule["attempt"], rule["submission_id"], orjson.loads(highest["before"])
        )
        values = {**rule, "enforcement_id": highest["id"]}
        written = await session.row("update_malpractice_rule", values)
    else:
        return
    if written is None:
        raise RowsMissing("malpractice_enforcements", 0, 1)


def _rank(row: Any) -> EnforcementRank:
    return EnforcementRank(row["attempt_number"], row["enforced_max_attempts"], row["attempt"])


def lock_key(rule: Mapping[str, object]) -> int:
    """Return the lock number of a malpractice rule's key: a signed 64-bit digest of its values."""
    parts = (rule[name] for name in ("lms_user_id", "assessment_code", "context_id"))
    encoded = "\0".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big", signed=True)
