"""The one atomic write of a submission (rules 13 and 15, docs/architecture.md)."""

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
from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.run_lock import RunLock
from rogo_async.rules.grading import outranks
from rogo_async.rules.records import EnforcementRank, Identity, PreparedSubmission, StoredFile


class WriteResult(Enum):
    """Whose submission stands for the attempt after a write."""

    INSERTED = auto()
    ALREADY_EXISTS = auto()
    """Somebody else wrote this attempt first; nothing of ours was written."""
    INCOMPLETE = auto()
    """A launch or session record of this attempt stands without a submission."""


@dataclass(frozen=True, slots=True)
class RunConstants:
    """What is the same for every submission of a run."""

    lms: Lms
    container: str
    applied_by: str


class Writer:
    """Writes submissions through the pool."""

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
        """Insert all rows of a submission or none, and tell whose submission stands.

        The ids are the same at each try, so a try whose reply was lost is simply repeated: the
        repetition waits for the first one and then finds its launch id taken. Raises RowError
        target_refused or target_conflict, RunStopped, or a DependencyError when the outcome
        stays unknown.
        """
        constants = self._constants
        values = submission_values(prepared, files, identity, constants.lms, constants.container)
        enforcement = (
            malpractice_rule_values(prepared, identity, constants.lms, constants.applied_by)
            if prepared.malpractice
            else None
        )
        doubtful = False

        async def insert() -> bool:
            nonlocal doubtful
            try:
                return await self._insert(values, enforcement)
            except AmbiguousError:
                doubtful = True
                raise

        try:
            if await self._breaker.call("insert", insert):
                return WriteResult.INSERTED
            return await self._ask(values)
        except (RowError, TableConflict) as refusal:
            # An earlier try whose reply was lost may have been written all the same.
            if doubtful and await self._ask(values) is WriteResult.INSERTED:
                return WriteResult.INSERTED
            if isinstance(refusal, RowError):
                raise
            if refusal.table == "lti_session_records":
                return WriteResult.INCOMPLETE
            raise RowError(
                FailureCode.TARGET_CONFLICT,
                f"a key of {refusal.table} stands in the way ({refusal.constraint})",
            ) from None

    async def _ask(self, values: Mapping[str, object]) -> WriteResult:
        return await self._breaker.call("standing", lambda: self._standing(values))

    async def _insert(
        self, values: Mapping[str, object], enforcement: Mapping[str, object] | None
    ) -> bool:
        async with self._connections.session("insert", writing=True) as session:
            await self._lock.verify_held()
            if enforcement is None:
                return await session.row("insert_submission", values) is not None
            return await _insert_with_enforcement(session, values, enforcement, self._journal)

    async def _standing(self, values: Mapping[str, object]) -> WriteResult:
        async with self._connections.session("standing") as session:
            found = await session.row("existing_submission", values)
        if found["ours"] is not None:
            return WriteResult.INSERTED
        return (
            WriteResult.ALREADY_EXISTS if found["standing"] is not None else WriteResult.INCOMPLETE
        )


async def _insert_with_enforcement(
    session: Session,
    values: Mapping[str, object],
    enforcement: Mapping[str, object],
    journal: Journal,
) -> bool:
    """Submission and enforcement row in one transaction; False when the launch id was taken.

    READ COMMITTED and the lock in a statement of its own: in one statement with the read, or
    with a snapshot taken before the lock, two runs would not see each other's row.
    """
    raw = session.raw
    await raw.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        await session.row("lock_malpractice_key", {"key": _lock_key(enforcement)})
        written = await session.row("insert_submission", values) is not None
        if written:
            await _enforce(session, enforcement, journal)
    except asyncpg.PostgresError as error:
        if not isinstance(error, asyncpg.PostgresConnectionError):
            await raw.execute("ROLLBACK")
        raise
    await raw.execute("COMMIT")
    return written


async def _enforce(session: Session, enforcement: Mapping[str, object], journal: Journal) -> None:
    """Let the row of the highest rank stand for its key (rule 13)."""
    standing = await session.rows("existing_malpractice_rules", enforcement)
    ours = EnforcementRank(
        attempt_number=_int(enforcement["attempt_number"]),
        max_attempts=_int(enforcement["max_attempts"]),
        attempt=_int(enforcement["attempt"]),
    )
    highest: Any = None
    for row in standing:
        if highest is None or outranks(_rank(row), _rank(highest)):
            highest = row
    if highest is None:
        await _execute(session, "insert_malpractice_rule", enforcement)
    elif outranks(ours, _rank(highest)):
        await journal.record_original(
            "enforcement", ours.attempt or 0, orjson.loads(highest["before"])
        )
        await _execute(
            session, "update_malpractice_rule", {**enforcement, "enforcement_id": highest["id"]}
        )


async def _execute(session: Session, name: str, values: Mapping[str, object]) -> None:
    statement = query(name)
    await session.raw.execute(statement.sql, *statement.arguments(values))


def _rank(row: Any) -> EnforcementRank:
    return EnforcementRank(row["attempt_number"], row["enforced_max_attempts"], row["attempt"])


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _lock_key(enforcement: Mapping[str, object]) -> int:
    """A signed 64-bit digest of the enforcement's key, for pg_advisory_xact_lock."""
    parts = (enforcement[name] for name in ("lms_user_id", "assessment_code", "context_id"))
    encoded = "\0".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big", signed=True)
