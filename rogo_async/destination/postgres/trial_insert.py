"""Writes a test submission as a run does, and rolls it back (rule 15).

A run finds at its start what the target refuses in every submission: a renamed enum label, a
column of another type, a missing right, a trigger that drops rows. After a refusal during the run,
the same test tells whether the row or the target is the cause.
"""

import uuid
from collections.abc import Mapping
from typing import Final

import asyncpg
import structlog

from rogo_async.common.errors import Dependency, RefusedError, SetupError, TransientError
from rogo_async.common.settings import Lms
from rogo_async.destination.postgres.connections import Connections, Session
from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.rejection import (
    Rejection,
    explain_error,
    explain_missing_rows,
)
from rogo_async.destination.postgres.sample_submission import SampleSubmission
from rogo_async.destination.postgres.translation import RowsMissing
from rogo_async.rules.records import MalpracticeLevel

_SUBMISSION: Final = "insert_submission"
_RULE: Final = ("insert_malpractice_rule", "update_malpractice_rule")

log = structlog.get_logger()


class TrialInsert:
    """Trial inserts into one target."""

    def __init__(self, connections: Connections, lms: Lms, container: str) -> None:
        self._connections = connections
        self._lms = lms
        self._container = container
        self._accepted = False

    async def verify(self, applied_by: str) -> None:
        """Check at start that the target accepts the rows of a run.

        Raises SetupError if it will refuse every submission, and a DependencyError. A refusal that
        may depend on the values of the test submission is a warning in the log.
        """
        rejection = await self.rejection(applied_by)
        self._accepted = rejection is None
        if rejection is None:
            return
        if rejection.is_general:
            raise SetupError(f"target: {rejection.text}. {rejection.remedy}")
        log.warning("test submission rejected", reason=rejection.text)

    async def raise_if_refused(self, applied_by: str) -> None:
        """Raise RefusedError if the target now refuses every submission.

        That is so if it refuses the test submission that it accepted at the start of the run.
        Raises TransientError for a replica: it may become the primary server.
        """
        rejection = await self.rejection(applied_by)
        if rejection is None or not (rejection.is_general or self._accepted):
            return
        if rejection.is_replica:
            raise TransientError(Dependency.TARGET, "trial", rejection.text)
        raise RefusedError(
            Dependency.TARGET, "trial", f"{rejection.text}. {rejection.remedy}"
        ) from None

    async def rejection(self, applied_by: str | None) -> Rejection | None:
        """Why the target rejects a test submission, or None if it accepts it.

        ``applied_by``: also test a malpractice rule of this user, if user and levels exist. Without
        an assessment nothing can be tested. Raises a DependencyError.
        """
        async with self._connections.session("trial") as session:
            assessment = await session.row("some_assessment", {})
            if assessment is None:
                return None
            level = None
            if applied_by is not None and await session.row("user_by_id", {"id": applied_by}):
                level = await session.row("levels", {})
            sample = SampleSubmission(
                assessment,
                MalpracticeLevel(level["id"], level["level_text"] or "") if level else None,
                self._lms,
                self._container,
            )
            user = applied_by if level else None
            return await _prepare(session, sample, user) or await _write(session, sample, user)


async def _prepare(
    session: Session, sample: SampleSubmission, applied_by: str | None
) -> Rejection | None:
    """Why the target rejects a statement before it has any value, or None."""
    for name in (_SUBMISSION, *(_RULE if applied_by is not None else ())):
        try:
            await session.raw.prepare(query(name).sql)
        except asyncpg.PostgresError as error:
            return await explain_error(session, error, name, sample.values, has_values=False)
    return None


async def _write(
    session: Session, sample: SampleSubmission, applied_by: str | None
) -> Rejection | None:
    """Write the rows in a transaction that is rolled back. Returns why they are rejected."""
    raw, values = session.raw, sample.values
    name = _SUBMISSION
    rejection: Rejection | None = None
    failure: asyncpg.PostgresError | None = None
    await raw.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    try:
        await session.row(name, values)
        await _count_rows(session, sample)
        if applied_by is not None:
            rule = sample.rule_values(applied_by)
            await session.row("lock_malpractice_key", {"key": uuid.uuid4().int >> 72})
            await session.rows("existing_malpractice_rules", rule)
            for name in _RULE:
                await _write_rule(session, name, rule)
        await session.execute("check_constraints_now", {})
    except RowsMissing as missing:
        rejection = explain_missing_rows(missing)
    except asyncpg.PostgresError as error:
        if isinstance(error, asyncpg.PostgresConnectionError):
            raise
        failure = error
    await raw.execute("ROLLBACK")
    if failure is None:
        return rejection
    return await explain_error(session, failure, name, values, has_values=True)


async def _write_rule(session: Session, name: str, rule: Mapping[str, object]) -> None:
    if await session.row(name, rule) is None:
        raise RowsMissing("malpractice_enforcements", 0, 1)


async def _count_rows(session: Session, sample: SampleSubmission) -> None:
    """Raise RowsMissing if a trigger has deleted rows after their insert."""
    for row in await session.rows("count_submission_rows", sample.values):
        if row["found"] != row["expected"]:
            raise RowsMissing(row["table_name"], row["found"], row["expected"])
