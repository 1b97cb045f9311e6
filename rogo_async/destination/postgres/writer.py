"""Writes one submission: all its rows in one statement, or nothing (rules 13 and 15).

The statement is ``insert_submission`` in ``sql/submission.sql``. It writes nothing if the launch id
already exists, and a retry after a lost reply uses the same ids. So no attempt is written twice
(invariant 2). The run lock is verified before each write. A submission with malpractice also
updates the malpractice rule of its key, under an advisory lock, in the same transaction.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import asyncpg
import orjson

from rogo_async.common.errors import AmbiguousError, FailureCode, RowError
from rogo_async.common.retry import CircuitBreaker
from rogo_async.common.settings import Lms
from rogo_async.destination.postgres.connections import Connections, Session, TableConflict
from rogo_async.destination.postgres.journal import Journal
from rogo_async.destination.postgres.parameters import malpractice_rule_values, submission_values
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.rules.grading import outranks
from rogo_async.rules.records import EnforcementRank, Identity, PreparedSubmission, StoredFile


class WriteResult(Enum):
    """Which submission exists for the attempt after a write."""

    INSERTED = auto()
    ALREADY_EXISTS = auto()
    """Another writer was first; this call wrote nothing."""
    INCOMPLETE = auto()
    """A launch or session record exists for the attempt, without a submission."""


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
        self._journal = journal
        self._breaker = breaker
        self._constants = constants

    async def write(
        self, prepared: PreparedSubmission, files: Sequence[StoredFile], identity: Identity
    ) -> WriteResult:
        """Insert all rows of a submission or none. Returns which submission exists afterwards.

        The ids are the same in each retry. If a reply was lost, the retry waits for the first
        transaction and then finds its launch id. Raises RowError target_refused or
        target_conflict, RunStopped, or a DependencyError if the outcome stays unknown.
        """
        constants = self._constants
        values = submission_values(prepared, files, identity, constants.lms, constants.container)
        rule = (
            malpractice_rule_values(prepared, identity, constants.lms, constants.applied_by)
            if prepared.malpractice
            else None
        )
        ambiguous = False

        async def insert() -> bool:
            nonlocal ambiguous
            try:
                return await self._insert(values, rule)
            except AmbiguousError:
                ambiguous = True
                raise

        try:
            if await self._breaker.call("insert", insert):
                return WriteResult.INSERTED
            return await self._find_existing(values)
        except (RowError, TableConflict) as error:
            # An earlier try whose reply was lost may have been committed.
            if ambiguous and await self._find_existing(values) is WriteResult.INSERTED:
                return WriteResult.INSERTED
            if isinstance(error, RowError):
                raise
            if error.table == "lti_session_records":
                return WriteResult.INCOMPLETE
            raise RowError(
                FailureCode.TARGET_CONFLICT,
                f"{error.table}: a unique or foreign key rejects the row ({error.constraint})",
            ) from None

    async def _find_existing(self, values: Mapping[str, object]) -> WriteResult:
        # "standing" is the name of this operation in the metrics.
        return await self._breaker.call("standing", lambda: self._read_existing(values))

    async def _insert(
        self, values: Mapping[str, object], rule: Mapping[str, object] | None
    ) -> bool:
        async with self._connections.session("insert", writing=True) as session:
            await self._lock.verify_held()
            if rule is None:
                return await session.row("insert_submission", values) is not None
            return await _insert_with_rule(session, values, rule, self._journal)

    async def _read_existing(self, values: Mapping[str, object]) -> WriteResult:
        async with self._connections.session("standing") as session:
            found = await session.row("existing_submission", values)
        if found["ours"] is not None:
            return WriteResult.INSERTED
        return (
            WriteResult.ALREADY_EXISTS if found["existing"] is not None else WriteResult.INCOMPLETE
        )


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
            await _write_rule(session, rule, journal)
    except asyncpg.PostgresError as error:
        if not isinstance(error, asyncpg.PostgresConnectionError):
            await raw.execute("ROLLBACK")
        raise
    await raw.execute("COMMIT")
    return written


async def _write_rule(session: Session, rule: Mapping[str, object], journal: Journal) -> None:
    """Keep the highest-ranking rule of the key; record a rule before it changes (rule 13)."""
    existing = await session.rows("existing_malpractice_rules", rule)
    ours = EnforcementRank(
        attempt_number=_int(rule["attempt_number"]),
        max_attempts=_int(rule["max_attempts"]),
        attempt=_int(rule["attempt"]),
    )
    highest: Any = None
    for row in existing:
        if highest is None or outranks(_rank(row), _rank(highest)):
            highest = row
    if highest is None:
        await session.execute("insert_malpractice_rule", rule)
    elif outranks(ours, _rank(highest)):
        await journal.record_original(
            "enforcement", ours.attempt or 0, orjson.loads(highest["before"])
        )
        await session.execute("update_malpractice_rule", {**rule, "enforcement_id": highest["id"]})


def _rank(row: Any) -> EnforcementRank:
    return EnforcementRank(row["attempt_number"], row["enforced_max_attempts"], row["attempt"])


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def lock_key(rule: Mapping[str, object]) -> int:
    """Return the lock number of a malpractice rule's key: a signed 64-bit digest of its values."""
    parts = (rule[name] for name in ("lms_user_id", "assessment_code", "context_id"))
    encoded = "\0".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big", signed=True)
