"""The order of rules 8 to 14, and its derived values."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.rules import derived_values
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import PreparedSubmission, Report, Submission, WarehouseRows
from tests.unit.rules.builders import (
    ALLOW,
    APPROVED,
    INSERTED,
    LMS,
    MODIFIED,
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


def test_a_sound_submission_is_prepared() -> None:
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


def test_the_grade_is_by_the_code_of_the_matched_assessment() -> None:
    reference = a_reference((an_assessment(code="7ABC", id="id-3ABC"),))
    assert prepared(reference=reference).final_grade == "Low Pass"


def test_malpractice_makes_the_grade_refer() -> None:
    found = prepared(reports=[a_report(grade="Malpractice - Considerable")])
    assert found.final_grade == "Refer"
    assert found.malpractice is not None
    assert found.malpractice.level.level_text == "Considerable"
    assert found.malpractice.max_attempts == 3
    assert found.malpractice.notes == "Malpractice - Considerable"


def test_feedback_falls_back_on_the_code_of_the_matched_assessment() -> None:
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
        {"reports": [a_report(grade=None)] * 2, **BAD_SCORE, **BAD_FILES, "version": "99"},
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
def test_of_several_faults_the_first_rule_decides(
    code: FailureCode, changes: dict[str, Any]
) -> None:
    fault(code, lambda: prepared(**changes))


TEXT = st.text(st.characters(), max_size=30)
PERHAPS = st.none() | TEXT | st.sampled_from(["Unit 3 x", "Pass", "Question 1", "Malpractice -"])
CELL = TEXT | st.sampled_from(["https://good.example/a", "https://good.example/é,\x00", "a,b"])


@given(st.data())
def test_any_text_in_any_field_gives_a_submission_or_a_code(data: st.DataObject) -> None:
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


@pytest.mark.parametrize(
    ("first", "surname", "user_name", "expected"),
    [
        ("Ada", "Lovelace", "ada.l", "Ada Lovelace"),
        ("Ada", "", "ada.l", "Ada"),
        ("", "Lovelace", "ada.l", "Lovelace"),
        ("", "", "ada.l", "ada.l"),
        ("", "", "", None),
    ],
)
def test_full_name(first: str, surname: str, user_name: str, expected: str | None) -> None:
    row = a_row(first_name=first, surname=surname, rogo_user_name=user_name)
    assert derived_values.full_name(row) == expected


def test_context_title_is_the_course_else_the_exercise() -> None:
    assert derived_values.context_title(a_row(), a_report()) == "Computing"
    assert derived_values.context_title(a_row(course_title=""), a_report()) == "Unit 3 Written work"


def test_ids_of_the_warehouse_get_the_instance_in_front() -> None:
    assert derived_values.lms_user_id(LMS, a_report()) == "inst::501"
    assert derived_values.context_id(LMS, a_report()) == "inst::601"
    assert derived_values.return_url(LMS, a_report()) == "https://lms.example/section/601"


def test_times_of_the_report() -> None:
    report = a_report()
    assert derived_values.effective_at(report) == APPROVED
    assert derived_values.created_at(report) == INSERTED
    assert derived_values.updated_at(report) == MODIFIED
    bare = a_report(results_approved=None, date_modified=None)
    assert derived_values.effective_at(bare) == INSERTED
    assert derived_values.updated_at(bare) == INSERTED


@pytest.mark.parametrize(
    "time", [derived_values.created_at, derived_values.effective_at, derived_values.updated_at]
)
def test_a_time_without_date_inserted_is_a_fault_with_a_code(time: Any) -> None:
    bare: Report = a_report(results_approved=None, date_modified=None, date_inserted=None)
    fault(FailureCode.REPORT_FIELD_MISSING, lambda: time(bare))


def test_times_of_a_score_are_its_own_else_the_reports() -> None:
    inserted, modified = INSERTED + timedelta(hours=1), INSERTED + timedelta(hours=2)

    def times(**dates: Any) -> tuple[datetime, datetime]:
        score, report = a_score(**dates), a_report()
        created = derived_values.score_created_at(score, report)
        return created, derived_values.score_updated_at(score, report)

    assert times(date_inserted=inserted, date_modified=modified) == (inserted, modified)
    assert times(date_inserted=inserted) == (inserted, inserted)
    assert times(date_modified=modified) == (INSERTED, modified)
    assert times() == (INSERTED, MODIFIED)


def test_custom_params_are_json() -> None:
    assert derived_values.custom_params("3ABC") == '{"cis": "AIS", "cas": "3ABC"}'


@given(st.text())
def test_custom_params_hold_any_code(code: str) -> None:
    assert json.loads(derived_values.custom_params(code)) == {"cis": "AIS", "cas": code}


def test_uploaded_by_is_the_user_else_the_email() -> None:
    assert derived_values.uploaded_by(a_row()) == "u-1"
    assert derived_values.uploaded_by(a_row(rogo_user_id="")) == "ada@learner.example"


def test_constants_are_those_of_the_specification() -> None:
    assert datetime(2099, 12, 31, tzinfo=UTC) == derived_values.NEVER_EXPIRES
    assert (
        derived_values.ROLE,
        derived_values.CONTEXT_TYPE,
        derived_values.LTI_MESSAGE_TYPE,
        derived_values.CUSTOM_ACTION,
        derived_values.ASSIGNMENT_TITLE,
        derived_values.CUSTOM_INSTRUCTION_SET,
    ) == (
        "Learner",
        "CourseSection",
        "basic-lti-launch-request",
        "exercise_attempt",
        "Submission Area",
        "AIS",
    )
