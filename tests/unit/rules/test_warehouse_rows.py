"""Rules 8 and 9."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode
from rogo_async.common.settings import AmbiguousReports
from rogo_async.rules.records import Report, Score
from rogo_async.rules.warehouse_rows import require_report, require_scores
from tests.unit.rules.builders import a_report, a_score, fault

REQUIRED = [
    ("exercise", "Exercise"),
    ("ti_user_id", "TIUserId"),
    ("ti_section_id", "TISectionId"),
    ("marks", "MarksAchieved or MarksAwarded"),
    ("marks_available", "MarksAvailable"),
    ("grade_percent", "GradePercent"),
    ("date_inserted", "DateInserted"),
    ("grade", "Grade"),
]


def test_rule_8_one_complete_report_is_returned() -> None:
    report = a_report()
    assert require_report([report]) is report


def test_rule_8_no_report_fails() -> None:
    message = fault(FailureCode.REPORT_MISSING, lambda: require_report([]))
    assert message == "the warehouse has no report for this attempt"


EARLY, LATE = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 2, tzinfo=UTC)


def test_rule_8_equal_reports_count_as_one() -> None:
    assert require_report([a_report(), a_report(), a_report()]) == a_report()


@pytest.mark.parametrize("policy", AmbiguousReports)
def test_rule_8_equal_reports_count_as_one_before_the_latest_is_chosen(
    policy: AmbiguousReports,
) -> None:
    incomplete = a_report(grade=None)
    message = fault(
        FailureCode.REPORT_FIELD_MISSING, lambda: require_report([incomplete] * 2, policy)
    )
    assert message == "report row: no value in Grade"


@pytest.mark.parametrize(
    ("attribute", "value", "column"),
    [
        ("ti_user_id", "another", "TIUserId"),
        ("ti_section_id", "another", "TISectionId"),
        ("exercise", "Unit 4 x", "Exercise"),
        ("marks", Decimal(1), "MarksAchieved or MarksAwarded"),
        ("marks_available", Decimal(1), "MarksAvailable"),
        ("grade_percent", Decimal(1), "GradePercent"),
        ("grade", "Merit", "Grade"),
        ("grade", None, "Grade"),
        ("marker_notes", "other notes", "MarkerNotes"),
        ("results_approved", EARLY, "ResultsApproved"),
        ("date_inserted", EARLY, "DateInserted"),
        ("date_modified", EARLY, "DateModified"),
        ("unreadable", ("MarkerNotes",), "MarkerNotes"),
    ],
)
def test_rule_8_reports_that_differ_in_any_column_are_ambiguous(
    attribute: str, value: object, column: str
) -> None:
    rows = [a_report(), a_report(), a_report(**{attribute: value})]
    message = fault(FailureCode.REPORT_AMBIGUOUS, lambda: require_report(rows))
    assert message == (
        f"the warehouse has 2 different reports for this attempt; they differ in {column}"
    )


def test_rule_8_all_columns_in_which_reports_differ_are_named() -> None:
    rows = [a_report(), a_report(grade="Merit", marker_notes="other notes")]
    message = fault(FailureCode.REPORT_AMBIGUOUS, lambda: require_report(rows))
    assert message.endswith("; they differ in Grade, MarkerNotes")


def dated(modified: datetime | None, inserted: datetime | None, grade: str = "Pass") -> Report:
    return a_report(date_modified=modified, date_inserted=inserted, grade=grade)


@pytest.mark.parametrize(
    ("older", "latest"),
    [
        (dated(EARLY, EARLY), dated(LATE, EARLY)),
        (dated(EARLY, LATE), dated(LATE, EARLY)),
        (dated(EARLY, EARLY), dated(None, LATE)),
        (dated(None, EARLY), dated(None, LATE)),
        (dated(None, EARLY), dated(LATE, EARLY)),
        (dated(None, None), dated(None, EARLY)),
        (a_report(date_modified=EARLY, unreadable=("MarkerNotes",)), dated(LATE, EARLY)),
    ],
)
def test_rule_8_the_latest_report_counts_if_so_set(older: Report, latest: Report) -> None:
    latest = replace(latest, grade="Merit")
    for rows in ([older, latest], [latest, older], [latest, older, latest, older]):
        assert require_report(rows, AmbiguousReports.LATEST) == latest
        fault(FailureCode.REPORT_AMBIGUOUS, partial(require_report, rows))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dated(LATE, EARLY), dated(LATE, EARLY, "Merit")),
        (dated(LATE, EARLY), dated(None, LATE, "Merit")),
        (dated(None, None), dated(None, None, "Merit")),
        (dated(LATE, EARLY), a_report(date_modified=None, unreadable=("DateModified",))),
        (dated(LATE, EARLY), a_report(date_modified=None, unreadable=("DateInserted",))),
    ],
)
def test_rule_8_a_tie_or_an_unreadable_date_is_ambiguous(one: Report, other: Report) -> None:
    rows = [dated(None, None), one, other]
    message = fault(
        FailureCode.REPORT_AMBIGUOUS, lambda: require_report(rows, AmbiguousReports.LATEST)
    )
    assert message.startswith("the warehouse has ")
    assert " for this attempt, and none is the latest; they differ in " in message


def test_rule_8_an_unreadable_date_that_does_not_decide_leaves_a_latest_report() -> None:
    latest = a_report(date_modified=LATE, date_inserted=None, unreadable=("DateInserted",))
    message = fault(
        FailureCode.REPORT_FIELD_MISSING,
        lambda: require_report([dated(EARLY, EARLY), latest], AmbiguousReports.LATEST),
    )
    assert message == "report row: DateInserted is not a date"


def test_rule_8_an_incomplete_latest_report_fails_the_row() -> None:
    rows = [dated(EARLY, EARLY), replace(dated(LATE, EARLY), marks=None)]
    fault(FailureCode.REPORT_FIELD_MISSING, lambda: require_report(rows, AmbiguousReports.LATEST))


def test_rule_8_different_reports_are_reported_before_missing_fields() -> None:
    rows = [a_report(grade=None), a_report(grade=None, marks=None)]
    fault(FailureCode.REPORT_AMBIGUOUS, lambda: require_report(rows))


@given(st.sets(st.sampled_from(REQUIRED), min_size=1))
def test_rule_8_exactly_the_missing_columns_are_named(missing: set[tuple[str, str]]) -> None:
    report = a_report(**{attribute: None for attribute, _ in missing})
    message = fault(FailureCode.REPORT_FIELD_MISSING, lambda: require_report([report]))
    named = {part.strip() for part in message.partition("no value in ")[2].split(",")}
    assert named == {column for _, column in missing}


@pytest.mark.parametrize("attribute", ["exercise", "ti_user_id", "ti_section_id", "grade"])
def test_rule_8_a_blank_text_is_missing(attribute: str) -> None:
    report = a_report(**{attribute: "  "})
    fault(FailureCode.REPORT_FIELD_MISSING, lambda: require_report([report]))


def test_rule_8_zero_is_a_mark() -> None:
    zero = Decimal(0)
    report = a_report(marks=zero, marks_available=zero, grade_percent=zero)
    assert require_report([report]) is report


def test_rule_8_optional_columns_may_be_empty() -> None:
    report = a_report(marker_notes=None, results_approved=None, date_modified=None)
    assert require_report([report]) is report


@pytest.mark.parametrize(
    ("attribute", "column", "text"),
    [
        ("marks", "MarksAchieved", "MarksAchieved is not a number"),
        ("marks", "MarksAwarded", "MarksAwarded is not a number"),
        ("marks_available", "MarksAvailable", "MarksAvailable is not a number"),
        ("grade_percent", "GradePercent", "GradePercent is not a number"),
        ("date_inserted", "DateInserted", "DateInserted is not a date"),
        ("grade", "Grade", "Grade is not a text"),
        # optional columns, but an unreadable value fails the row
        ("marker_notes", "MarkerNotes", "MarkerNotes is not a text"),
        ("results_approved", "ResultsApproved", "ResultsApproved is not a date"),
        ("date_modified", "DateModified", "DateModified is not a date"),
    ],
)
def test_rule_8_an_unreadable_column_is_reported_as_unreadable(
    attribute: str, column: str, text: str
) -> None:
    report = a_report(**{attribute: None}, unreadable=(column,))
    message = fault(FailureCode.REPORT_FIELD_MISSING, lambda: require_report([report]))
    assert text in message
    assert "no value" not in message


def test_rule_8_missing_and_unreadable_columns_are_reported_together() -> None:
    report = a_report(grade=None, marks=None, unreadable=("MarksAchieved",))
    message = fault(FailureCode.REPORT_FIELD_MISSING, lambda: require_report([report]))
    assert message == "report row: no value in Grade; MarksAchieved is not a number"


@pytest.mark.parametrize(
    ("attribute", "column"),
    [
        ("marks", "MarksAchieved or MarksAwarded"),
        ("marks_available", "MarksAvailable"),
        ("grade_percent", "GradePercent"),
    ],
)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_rule_8_only_finite_numbers_are_readable(attribute: str, column: str, value: str) -> None:
    report = a_report(**{attribute: Decimal(value)})
    message = fault(FailureCode.REPORT_FIELD_MISSING, lambda: require_report([report]))
    assert message == f"report row: {column} is not a number"


def test_rule_9_scores_may_be_absent_or_zero() -> None:
    require_scores([])
    require_scores([a_score(), a_score("Question 2", score=Decimal(0))])


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (a_score(None), "ScoreLabelCorrected"),
        (a_score("  "), "ScoreLabelCorrected"),
        (a_score(score=None), "no value in Score"),
        (a_score(None, score=None), "no value in ScoreLabelCorrected, Score"),
        (a_score(score=None, unreadable=("Score",)), "Score is not a number"),
        (a_score(score=Decimal("NaN")), "Score is not a number"),
        (a_score(unreadable=("DateInserted",)), "DateInserted is not a date"),
        (a_score(unreadable=("DateModified",)), "DateModified is not a date"),
        (a_score(unreadable=("MarkerComment",)), "MarkerComment is not a text"),
    ],
)
def test_rule_9_an_incomplete_score_fails(score: Score, text: str) -> None:
    message = fault(
        FailureCode.SCORE_FIELD_MISSING,
        lambda: require_scores([a_score(), score]),
    )
    assert text in message
    assert "score row 2" in message
    assert "score row 1" not in message


def test_rule_9_a_message_lists_each_incomplete_score_with_its_label() -> None:
    scores = [
        a_score("Question 1", score=None, unreadable=("DateInserted",)),
        a_score("Question 2"),
        a_score(None),
    ]
    assert fault(FailureCode.SCORE_FIELD_MISSING, lambda: require_scores(scores)) == (
        "score row 1 ('Question 1'): no value in Score; DateInserted is not a date; "
        "score row 3 (no label): no value in ScoreLabelCorrected"
    )


def test_rule_9_an_unreadable_score_is_not_also_reported_as_empty() -> None:
    score = a_score(score=None, unreadable=("Score",))
    assert "no value" not in fault(FailureCode.SCORE_FIELD_MISSING, lambda: require_scores([score]))
