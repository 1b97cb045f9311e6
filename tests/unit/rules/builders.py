"""Valid records, of which a test changes one thing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from yarl import URL

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.settings import Lms
from rogo_async.common.urls import AllowList
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import (
    Assessment,
    FileKind,
    FileRef,
    MalpracticeLevel,
    Report,
    Score,
    Section,
    SourceRow,
)

INSERTED = datetime(2025, 3, 1, 9, 0, tzinfo=UTC)
MODIFIED = datetime(2025, 3, 5, 9, 0, tzinfo=UTC)
APPROVED = datetime(2025, 3, 9, 9, 0, tzinfo=UTC)

ALLOW = AllowList.from_hosts(["good.example", "http://127.0.0.1:10000"])
LMS = Lms(
    instance_id="inst",
    consumer_key="key",
    consumer_name="Name",
    return_url_base="https://lms.example/section/",
)

_ROW = SourceRow(
    line=2,
    cells=(),
    malformed=None,
    attempt_id="7",
    first_name="Ada",
    surname="Lovelace",
    email="ada@learner.example",
    assessment_id="A1",
    course_title="Computing",
    rogo_user_id="u-1",
    rogo_user_name="ada.l",
    learner_file_names="essay.docx",
    learner_urls="https://good.example/c/essay.docx",
    marker_urls="https://good.example/c/feedback.docx",
)
_REPORT = Report(
    attempt=7,
    ti_user_id="501",
    ti_section_id="601",
    exercise="Unit 3 Written work",
    marks=Decimal(40),
    marks_available=Decimal(60),
    grade_percent=Decimal("66.7"),
    grade="Pass",
    marker_notes="Well argued",
    results_approved=APPROVED,
    date_inserted=INSERTED,
    date_modified=MODIFIED,
)
_SCORE = Score(
    attempt=7,
    label="Question 1",
    score=Decimal(4),
    marker_comment=None,
    date_inserted=None,
    date_modified=None,
)


def a_row(**changes: Any) -> SourceRow:
    return replace(_ROW, **changes)


def a_report(**changes: Any) -> Report:
    return replace(_REPORT, **changes)


def a_score(label: str | None = "Question 1", **changes: Any) -> Score:
    return replace(_SCORE, label=label, **changes)


def an_assessment(
    name: str = "Unit 3 24_01", code: str = "3ABC", *, id: str | None = None, active: bool = True
) -> Assessment:
    return Assessment(id=id or f"id-{code}", name=name, code=code, is_active=active)


def sections(*texts: str, of: str = "id-3ABC") -> tuple[Section, ...]:
    return tuple(
        Section(id=f"s{number}", assessment_id=of, question_text=text)
        for number, text in enumerate(texts, start=1)
    )


def levels(*texts: str) -> tuple[MalpracticeLevel, ...]:
    return tuple(
        MalpracticeLevel(id=f"l{number}", level_text=text)
        for number, text in enumerate(texts, start=1)
    )


def a_reference(
    assessments: tuple[Assessment, ...] = (an_assessment(),),
    section_texts: tuple[str, ...] = ("Question 1", "Question 2"),
    level_texts: tuple[str, ...] = ("Moderate", "Considerable", "Severe", "Minor"),
) -> Reference:
    return Reference(assessments, sections(*section_texts), levels(*level_texts))


def a_ref(
    name: str = "essay.docx",
    extension: str = "docx",
    kind: FileKind = FileKind.SUBMISSION,
    order: int = 1,
) -> FileRef:
    return FileRef(
        kind=kind,
        order=order,
        name=name,
        extension=extension,
        content_type="application/octet-stream",
        url=URL("https://good.example/c/essay.docx"),
    )


def fault(code: FailureCode, call: Callable[[], object]) -> str:
    """Call, expect a RowError of that code, and return its message."""
    with pytest.raises(RowError) as raised:
        call()
    assert raised.value.code is code
    return raised.value.message
