"""The derived values of specification §3."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode
from rogo_async.rules import derived_values
from rogo_async.rules.records import Report
from tests.unit.rules.builders import (
    APPROVED,
    INSERTED,
    LMS,
    MODIFIED,
    a_report,
    a_row,
    a_score,
    fault,
)


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
def test_full_name_is_joined_from_its_parts(
    first: str, surname: str, user_name: str, expected: str | None
) -> None:
    row = a_row(first_name=first, surname=surname, rogo_user_name=user_name)
    assert derived_values.full_name(row) == expected


def test_context_title_is_the_course_else_the_exercise() -> None:
    assert derived_values.context_title(a_row(), a_report()) == "Computing"
    assert derived_values.context_title(a_row(course_title=""), a_report()) == "Unit 3 Written work"


def test_warehouse_ids_are_prefixed_with_the_instance() -> None:
    assert derived_values.lms_user_id(LMS, a_report()) == "inst::501"
    assert derived_values.context_id(LMS, a_report()) == "inst::601"
    assert derived_values.return_url(LMS, a_report()) == "https://lms.example/section/601"


def test_submission_times_come_from_the_report() -> None:
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
def test_a_report_without_date_inserted_fails_with_a_code(time: Any) -> None:
    bare: Report = a_report(results_approved=None, date_modified=None, date_inserted=None)
    message = fault(FailureCode.REPORT_FIELD_MISSING, lambda: time(bare))
    assert message == "report row: no value in DateInserted"


def test_score_times_are_its_own_or_those_of_the_report() -> None:
    inserted, modified = INSERTED + timedelta(hours=1), INSERTED + timedelta(hours=2)

    def times(**dates: Any) -> tuple[datetime, datetime]:
        score, report = a_score(**dates), a_report()
        created = derived_values.score_created_at(score, report)
        return created, derived_values.score_updated_at(score, report)

    assert times(date_inserted=inserted, date_modified=modified) == (inserted, modified)
    assert times(date_inserted=inserted) == (inserted, inserted)
    assert times(date_modified=modified) == (INSERTED, modified)
    assert times() == (INSERTED, MODIFIED)


def test_custom_params_are_json_without_blanks() -> None:
    assert derived_values.custom_params("3ABC") == '{"cis":"AIS","cas":"3ABC"}'


@given(st.text())
def test_custom_params_may_contain_any_code(code: str) -> None:
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
