"""The order of rules 8 to 14 (specification §3)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.settings import AmbiguousReports
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import PreparedSubmission, Submission, WarehouseRows
from tests.unit.rules.builders import (
    ALLOW,
    APPROVED,
    a_reference,
    a_report,
    a_row,
    a_score,
    an_assessment,
    fault,
)

REFERENCE = a_reference()


def prepared(**changes: Any) -> PreparedSubmission:
    arguments: dict[str, Any] = {
        "row": a_row(),
        "reports": [a_report()],
        "scores": [a_score("Question 2"), a_score("Question 1")],
        "reference": REFERENCE,
        **changes,
    }
    rows = WarehouseRows(tuple(arguments["reports"]), tuple(arguments["scores"]))
    submission = Submission(arguments["row"], 7, 2, arguments.get("version", "24_01"), rows)
    return prepare(submission, arguments["reference"], ALLOW)


def test_a_valid_submission_is_prepared() -> None:
    found = prepared()
    assert (found.attempt, found.attempt_number) == (7, 2)
    assert found.row == a_row()
    assert found.report == a_report()
    assert found.assessment == an_assessment()
    assert found.final_grade == "Pass"
    assert found.malpractice is None
    assert [(mark.section_id, mark.score.label) for mark in found.marks] == [
        ("s2", "Question 2"),
        ("s1", "Question 1"),
    ]
    assert [(ref.order, ref.name) for ref in found.files] == [
        (1, "essay.docx"),
        (2, "A1_Ada-Lovelace_feedback.docx"),
    ]


@pytest.mark.parametrize("latest_first", [True, False])
def test_rule_8_the_policy_for_several_reports_is_that_of_the_setting(latest_first: bool) -> None:
    latest = a_report(grade="Merit", date_modified=APPROVED)
    reports = [latest, a_report()] if latest_first else [a_report(), latest]
    submission = Submission(a_row(), 7, 2, "24_01", WarehouseRows(tuple(reports)))
    found = prepare(submission, REFERENCE, ALLOW, AmbiguousReports.LATEST)
    assert (found.report, found.final_grade) == (latest, "Merit")
    fault(FailureCode.REPORT_AMBIGUOUS, lambda: prepare(submission, REFERENCE, ALLOW))


def test_rule_12_the_grade_follows_the_code_of_the_matched_assessment() -> None:
    reference = a_reference((an_assessment(code="7ABC", id="id-3ABC"),))
    assert prepared(reference=reference).final_grade == "Low Pass"


def test_rule_13_malpractice_makes_the_grade_refer() -> None:
    found = prepared(reports=[a_report(grade="Malpractice - Considerable")])
    assert found.final_grade == "Refer"
    assert found.malpractice is not None
    assert found.malpractice.level.level_text == "Considerable"
    assert found.malpractice.max_attempts == 3
    assert found.malpractice.notes == "Malpractice - Considerable"


def test_rule_14_feedback_without_assessment_id_has_the_assessments_code() -> None:
    found = prepared(row=a_row(assessment_id=""))
    assert found.files[-1].name == "3ABC_Ada-Lovelace_feedback.docx"


BAD_FILES = {"row": a_row(learner_urls="", marker_urls="")}
BAD_LEVEL = {"reports": [a_report(grade="Malpractice Grave")]}
BAD_SECTION = {"scores": [a_score("Question 3")]}
BAD_SCORE = {"scores": [a_score("Question 3", score=None)]}
FAULTS = [
    (
        FailureCode.REPORT_MISSING,
        {"reports": [], **BAD_SCORE, **BAD_FILES, "version": "99"},
    ),
    (
        FailureCode.REPORT_AMBIGUOUS,
        {"reports": [a_report(grade=None), a_report()], **BAD_SCORE, **BAD_FILES, "version": "99"},
    ),
    (
        FailureCode.REPORT_FIELD_MISSING,
        {"reports": [a_report(exercise=None)], **BAD_SCORE, **BAD_FILES},
    ),
    (
        FailureCode.SCORE_FIELD_MISSING,
        {"reports": [a_report(exercise="Unit", grade="Grade Missed")], **BAD_SCORE, **BAD_FILES},
    ),
    (
        FailureCode.EXERCISE_INVALID,
        {"reports": [a_report(exercise="Unit", grade="Grade Missed")], **BAD_SECTION, **BAD_FILES},
    ),
    (
        FailureCode.ASSESSMENT_MISSING,
        {"reports": [a_report(grade="Grade Missed")], "version": "99", **BAD_SECTION, **BAD_FILES},
    ),
    (
        FailureCode.ASSESSMENT_AMBIGUOUS,
        {
            "reports": [a_report(grade="Grade Missed")],
            "reference": a_reference((an_assessment(), an_assessment(code="3B"))),
            **BAD_SECTION,
            **BAD_FILES,
        },
    ),
    (
        FailureCode.SECTION_MISSING,
        {"reports": [a_report(grade="Grade Missed")], **BAD_SECTION, **BAD_FILES},
    ),
    (
        FailureCode.SECTION_AMBIGUOUS,
        {
            "reports": [a_report(grade="Grade Missed")],
            "scores": [a_score(), a_score()],
            **BAD_FILES,
        },
    ),
    (FailureCode.GRADE_MISSED, {"reports": [a_report(grade="Grade Missed")], **BAD_FILES}),
    (FailureCode.MALPRACTICE_LEVEL_MISSING, {**BAD_LEVEL, **BAD_FILES}),
    (FailureCode.FILES_MISSING, BAD_FILES),
    (FailureCode.SOURCE_NOT_ALLOWED, {"row": a_row(learner_urls="https://evil.test/a")}),
]


@pytest.mark.parametrize(("code", "changes"), FAULTS, ids=[code.value for code, _ in FAULTS])
def test_rules_8_to_14_of_several_errors_the_first_rule_decides(
    code: FailureCode, changes: dict[str, Any]
) -> None:
    fault(code, lambda: prepared(**changes))


TEXT = st.text(st.characters(), max_size=30)
PERHAPS = st.none() | TEXT | st.sampled_from(["Unit 3 x", "Pass", "Question 1", "Malpractice -"])
CELL = TEXT | st.sampled_from(["https://good.example/a", "https://good.example/é,\x00", "a,b"])


@given(st.data())
def test_rules_8_to_14_any_text_gives_a_submission_or_a_code(data: st.DataObject) -> None:
    cells = {
        name: data.draw(CELL)
        for name in (
            "first_name",
            "surname",
            "assessment_id",
            "learner_file_names",
            "learner_urls",
            "marker_urls",
        )
    }
    texts = ("exercise", "grade", "ti_user_id", "ti_section_id", "marker_notes")
    report = a_report(**{name: data.draw(PERHAPS) for name in texts})
    scores = [a_score(data.draw(PERHAPS)) for _ in range(data.draw(st.integers(0, 2)))]
    version = data.draw(TEXT | st.just("24_01"))
    try:
        found = prepared(row=a_row(**cells), reports=[report], scores=scores, version=version)
    except RowError as raised:
        assert raised.message
        assert len(raised.message) < 2_000
        return
    assert len(found.marks) == len(scores)
    assert found.files
