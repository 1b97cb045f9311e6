"""A whole submission, made up, that is written as a run writes one and rolled back."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from yarl import URL

from rogo_async.commands.check.probe import ANSWER_S, Asking
from rogo_async.commands.check.results import Check, Needs, Verdict, fail, ok
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
_EXERCISE: Final = "A submission made up by rogo_async check"
_ADVICE: Final = (
    "Grant the user of DATABASE_URL its rights on whole tables, and compare the platform's "
    "schema with the one that this version writes"
)


class Trial:
    """Writes all rows of a submission, and an enforcement row, into transactions that never end
    in a commit.
    """

    def __init__(self, asking: Asking, settings: Settings) -> None:
        self._asking = asking
        self._settings = settings

    def checks(self) -> list[Check]:
        """The submission, then one with malpractice."""
        grounds = (
            *("target.tables", "target.columns", "target.keys", "target.rights"),
            *("target.pooler", "target.primary", "target.reference"),
            *("settings.ROGO_INSTANCE_ID", "settings.ROGO_CONSUMER_KEY"),
            *("settings.ROGO_CONSUMER_NAME", "settings.ROGO_RETURN_URL_BASE"),
            "settings.ROGO_CONTAINER",
        )
        enforced = (*grounds, "target.user", "target.insert")
        return [
            Check("target.insert", self._submission, grounds, _ADVICE),
            Check("target.enforcement", self._enforcement, enforced, _ADVICE),
        ]

    async def _submission(self) -> Verdict:
        refusal = await self._tried(None)
        return refusal or ok("a whole submission can be written (tried, and rolled back)")

    async def _enforcement(self) -> Verdict:
        levels = await self._asking.rows("levels")
        if not levels:
            raise Needs("target.reference")
        level = MalpracticeLevel(levels[0]["id"], levels[0]["level_text"] or "")
        refusal = await self._tried(level)
        return refusal or ok("a malpractice rule can be written (tried, and rolled back)")

    async def _tried(self, level: MalpracticeLevel | None) -> Verdict | None:
        """What the target has against it, None when it takes it all."""
        prepared = _made_up(await self._asking.row("some_assessment"), level)
        submission_id = str(uuid.uuid4())
        identity = Identity(_ATTEMPT, f"rogo_check_{submission_id}", submission_id)
        settings = self._settings
        values = submission_values(
            prepared, _FILES, identity, settings.lms, settings.rogo_container
        )
        try:
            async with self._undone() as session:
                await session.rows("insert_submission", values, ANSWER_S)
                if level is not None:
                    user = await applied_by(session, settings.rogo_migration_user_id)
                    rule = malpractice_rule_values(prepared, identity, settings.lms, user)
                    await _enforce(session, rule)
                await session.rows("check_constraints_now", {}, ANSWER_S)
        except (RowError, TableConflict, SystemicError) as refusal:
            return _refused(refusal)
        return None

    @asynccontextmanager
    async def _undone(self) -> AsyncIterator[Session]:
        """A session whose transaction is rolled back, whatever happens in it."""
        async with self._asking.connections.session("trial") as session:
            await session.raw.execute("BEGIN ISOLATION LEVEL READ COMMITTED", timeout=ANSWER_S)
            try:
                yield session
            except TimeoutError:
                # The session ends its connection, and the transaction with it: no more waiting.
                raise
            except Exception:
                await session.raw.execute("ROLLBACK", timeout=ANSWER_S)
                raise
            await session.raw.execute("ROLLBACK", timeout=ANSWER_S)


async def _enforce(session: Session, rule: Mapping[str, object]) -> None:
    """Every statement that a run has for an enforcement row."""
    key = int.from_bytes(hashlib.sha256(str(rule["enforcement_id"]).encode()).digest()[:7])
    await session.rows("lock_malpractice_key", {"key": key}, ANSWER_S)
    await session.rows("existing_malpractice_rules", rule, ANSWER_S)
    await session.rows("insert_malpractice_rule", rule, ANSWER_S)
    await session.rows("update_malpractice_rule", rule, ANSWER_S)


def _refused(refusal: RowError | TableConflict | DependencyError) -> Verdict:
    """The server's own text may quote values: these are made up, and yet only its facts count."""
    cause = refusal.__context__
    state = getattr(cause, "sqlstate", None) or "?"
    facts = [f"SQLSTATE {state}", type(cause).__name__]
    facts += [
        f"{what} {name}"
        for what in ("table", "column", "constraint")
        if (name := getattr(cause, f"{what}_name", None))
    ]
    return fail(f"the target refuses a submission ({', '.join(facts)})", _ADVICE)


def _made_up(assessment: Any, level: MalpracticeLevel | None) -> PreparedSubmission:
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
    first_name="Made",
    surname="Up",
    email="nobody@rogo-check.invalid",
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
    ref = FileRef(kind, order, "made_up.txt", "txt", "text/plain", URL(url))
    return StoredFile(ref, name, url, 1, b"\0" * 16)


_FILES: Final = (_file(FileKind.SUBMISSION, 1), _file(FileKind.FEEDBACK, 2))
