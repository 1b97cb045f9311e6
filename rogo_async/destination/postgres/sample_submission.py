"""The test submission of a trial insert. It resembles a real one and names invented people."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from yarl import URL

from rogo_async.common.settings import Lms
from rogo_async.destination.postgres.parameters import malpractice_rule_values, submission_values
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


class SampleSubmission:
    """The parameters of the statements for a new test submission.

    ``assessment`` is a row of ``some_assessment``. Without a ``level`` there is no malpractice.
    """

    def __init__(
        self, assessment: Any, level: MalpracticeLevel | None, lms: Lms, container: str
    ) -> None:
        identity = Identity(_ATTEMPT, f"rogo_check_{uuid.uuid4().hex[:16]}", str(uuid.uuid4()))
        self._identity = identity
        self._lms = lms
        self._prepared = _prepared(assessment, level)
        self.values = submission_values(self._prepared, _FILES, identity, lms, container)

    def rule_values(self, applied_by: str) -> Mapping[str, object]:
        """The parameters for its malpractice rule. Raises ValueError if it has none."""
        return malpractice_rule_values(self._prepared, self._identity, self._lms, applied_by)


def _prepared(assessment: Any, level: MalpracticeLevel | None) -> PreparedSubmission:
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
