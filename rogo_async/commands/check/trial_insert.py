"""Write a complete test submission as a run does, and roll it back."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from yarl import URL

from rogo_async.commands.check.probe import QUERY_TIMEOUT_S, QueryRunner
from rogo_async.commands.check.results import Check, CheckResult, SkipCheck, fail, ok
from rogo_async.common.errors import DependencyError, RowError, SystemicError
from rogo_async.common.settings import Settings
from rogo_async.destination.postgres.connections import Session, TableConflict
from rogo_async.destination.postgres.parameters import malpractice_rule_values, submission_values
from rogo_async.destination.postgres.reference_data import applied_by
from rogo_async.rules.records import (
    Assessment,
    FileKind,
    FileRef,
    Identity,
    Malpractice,
    MalpracticeLevel,
    PreparedSubmission,
    Report,
    Score,
    SectionMark,
    SourceRow,
    StoredFile,
)

_WHEN: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ATTEMPT: Final = 0
_EXERCISE: Final = "Test submission of rogo_async check"
_REMEDY: Final = (
    "Grant the user in DATABASE_URL its permissions on whole tables, and compare the platform's "
    "schema with the one that this version expects"
)


class TrialInsert:
    """Writes the rows of a submission and a malpractice rule in transactions that roll back."""

    def __init__(self, queries: QueryRunner, settings: Settings) -> None:
        self._queries = queries
        self._settings = settings

    def checks(self) -> list[Check]:
        """A submission, then one with malpractice."""
        needs = (
            *("target.tables", "target.columns", "target.keys", "target.rights"),
            *("target.pooler", "target.primary", "target.reference"),
            *("settings.ROGO_INSTANCE_ID", "settings.ROGO_CONSUMER_KEY"),
            *("settings.ROGO_CONSUMER_NAME", "settings.ROGO_RETURN_URL_BASE"),
            "settings.ROGO_CONTAINER",
        )
        needs_for_rule = (*needs, "target.user", "target.insert")
        return [
            Check("target.insert", self._submission, needs, _REMEDY),
            Check("target.enforcement", self._malpractice_rule, needs_for_rule, _REMEDY),
        ]

    async def _submission(self) -> CheckResult:
        failure = await self._try(None)
        return failure or ok("test submission written and rolled back")

    async def _malpractice_rule(self) -> CheckResult:
        levels = await self._queries.rows("levels")
        if not levels:
            raise SkipCheck("target.reference")
        level = MalpracticeLevel(levels[0]["id"], levels[0]["level_text"] or "")
        failure = await self._try(level)
        return failure or ok("test malpractice rule written and rolled back")

    async def _try(self, level: MalpracticeLevel | None) -> CheckResult | None:
        """The failed result, or None when the target accepts all statements."""
        prepared = _test_submission(await self._queries.row("some_assessment"), level)
        submission_id = str(uuid.uuid4())
        identity = Identity(_ATTEMPT, f"rogo_check_{submission_id}", submission_id)
        settings = self._settings
        values = submission_values(
            prepared, _FILES, identity, settings.lms, settings.rogo_container
        )
        try:
            async with self._rolled_back() as session:
                await session.rows("insert_submission", values, QUERY_TIMEOUT_S)
                if level is not None:
                    user = await applied_by(session, settings.rogo_migration_user_id)
                    rule = malpractice_rule_values(prepared, identity, settings.lms, user)
                    await _write_malpractice_rule(session, rule)
                await session.rows("check_constraints_now", {}, QUERY_TIMEOUT_S)
        except (RowError, TableConflict, SystemicError) as error:
            return _failure(error)
        return None

    @asynccontextmanager
    async def _rolled_back(self) -> AsyncIterator[Session]:
        """A session whose transaction is always rolled back."""
        async with self._queries.connections.session("trial") as session:
            await session.raw.execute(
                "BEGIN ISOLATION LEVEL READ COMMITTED", timeout=QUERY_TIMEOUT_S
            )
            try:
                yield session
            except TimeoutError:
                # The session closes its connection, which ends the transaction.
                raise
            except Exception:
                await session.raw.execute("ROLLBACK", timeout=QUERY_TIMEOUT_S)
                raise
            await session.raw.execute("ROLLBACK", timeout=QUERY_TIMEOUT_S)


async def _write_malpractice_rule(session: Session, rule: Mapping[str, object]) -> None:
    """Execute every statement that a run uses for a malpractice rule."""
    key = int.from_bytes(hashlib.sha256(str(rule["enforcement_id"]).encode()).digest()[:7])
    await session.rows("lock_malpractice_key", {"key": key}, QUERY_TIMEOUT_S)
    await session.rows("existing_malpractice_rules", rule, QUERY_TIMEOUT_S)
    await session.rows("insert_malpractice_rule", rule, QUERY_TIMEOUT_S)
    await session.rows("update_malpractice_rule", rule, QUERY_TIMEOUT_S)


def _failure(error: RowError | TableConflict | DependencyError) -> CheckResult:
    """The failed result, without the server's text, which may quote values."""
    cause = error.__context__
    state = getattr(cause, "sqlstate", None) or "?"
    facts = [f"SQLSTATE {state}", type(cause).__name__]
    facts += [
        f"{kind} {name}"
        for kind in ("table", "column", "constraint")
        if (name := getattr(cause, f"{kind}_name", None))
    ]
    return fail(f"test submission rejected ({', '.join(facts)})", _REMEDY)


def _test_submission(assessment: Any, level: MalpracticeLevel | None) -> PreparedSubmission:
    marks: tuple[SectionMark, ...] = ()
    if assessment["section_id"] is not None:
        score = Score(_ATTEMPT, "Question 1", Decimal(1), "A comment", _WHEN, _WHEN)
        marks = (SectionMark(assessment["section_id"], score),)
    return PreparedSubmission(
        attempt=_ATTEMPT,
        attempt_number=1,
        row=_ROW,
        report=_REPORT,
        assessment=Assessment(
            assessment["id"], assessment["name"] or "", assessment["code"] or "", is_active=True
        ),
        final_grade="Pass",
        malpractice=None if level is None else Malpractice(level, 1, "Malpractice"),
        marks=marks,
        files=tuple(file.ref for file in _FILES),
    )


_ROW: Final = SourceRow(
    line=0,
    cells=(),
    malformed=None,
    attempt_id="0",
    first_name="Test",
    surname="Learner",
    email="learner@rogo-check.invalid",
    assessment_id="",
    course_title=_EXERCISE,
    rogo_user_id="rogo_check",
    rogo_user_name="rogo_check",
    learner_file_names="",
    learner_urls="",
    marker_urls="",
)
_REPORT: Final = Report(
    attempt=_ATTEMPT,
    ti_user_id="rogo_check",
    ti_section_id="rogo_check",
    exercise=_EXERCISE,
    marks=Decimal(1),
    marks_available=Decimal(1),
    grade_percent=Decimal(100),
    grade="Pass",
    marker_notes="Notes",
    results_approved=_WHEN,
    date_inserted=_WHEN,
    date_modified=_WHEN,
)


def _file(kind: FileKind, order: int) -> StoredFile:
    name = f"LTI_Uploads/rogo_check_{order}"
    url = f"https://rogo-check.invalid/{name}"
    ref = FileRef(kind, order, "test.txt", "txt", "text/plain", URL(url))
    return StoredFile(ref, name, url, 1, b"\0" * 16)


_FILES: Final = (_file(FileKind.SUBMISSION, 1), _file(FileKind.FEEDBACK, 2))
