"""Rules 4 to 7."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError, RowSkip, SkipCode
from rogo_async.rules.identity import SQL_INT_MAX
from rogo_async.rules.mapping import attempt_number, require_email
from rogo_async.rules.records import MappingRow
from tests.unit.rules.builders import a_row, fault

PREFIXES = ("24", "25")


def number_of(submission: str) -> int:
    return attempt_number(MappingRow("24_01", submission), PREFIXES)


@pytest.mark.parametrize(
    ("mapping", "code"),
    [
        (None, FailureCode.MAPPING_MISSING),
        (MappingRow("", ""), FailureCode.VERSION_MISSING),
        (MappingRow("", "Attempt 1"), FailureCode.VERSION_MISSING),
        (MappingRow("  ", "Attempt 1"), FailureCode.VERSION_MISSING),
        (MappingRow("24_01", ""), FailureCode.SUBMISSION_TEXT_MISSING),
        (MappingRow("24_01", " "), FailureCode.SUBMISSION_TEXT_MISSING),
        # rule 4 comes before rule 5
        (MappingRow("23_01", ""), FailureCode.SUBMISSION_TEXT_MISSING),
        (MappingRow("24_01", "Retake"), FailureCode.ATTEMPT_NUMBER_MISSING),
    ],
)
def test_rules_4_to_6_the_first_rule_that_applies_decides(
    mapping: MappingRow | None, code: FailureCode
) -> None:
    fault(code, lambda: attempt_number(mapping, PREFIXES))


@pytest.mark.parametrize("version", ["24_01", "24", "25_99", "245", " 24_01 "])
def test_rule_5_versions_that_migrate(version: str) -> None:
    assert attempt_number(MappingRow(version, "Attempt 2"), PREFIXES) == 2


@pytest.mark.parametrize("version", ["23_01", "2", "_24", "v24", "124", "٢٤"])
def test_rule_5_versions_that_are_excluded(version: str) -> None:
    # rule 5 comes before rule 6: the Submission has no number
    with pytest.raises(RowSkip) as raised:
        attempt_number(MappingRow(version, "nothing"), PREFIXES)
    assert raised.value.code is SkipCode.VERSION_EXCLUDED
    assert version in raised.value.message


def test_rule_5_prefixes_are_configurable() -> None:
    assert attempt_number(MappingRow("19_01", "Attempt 1"), ("19",)) == 1
    with pytest.raises(RowSkip):
        attempt_number(MappingRow("24_01", "Attempt 1"), ("19",))


@pytest.mark.parametrize(
    ("submission", "number"),
    [
        ("Attempt 2", 2),
        ("Retake Attempt 1", 1),
        ("ATTEMPT 3", 3),
        ("attempt3", 3),
        ("Attempt-2", 2),
        ("Attempt - 2", 2),
        ("Attempt: 2", 2),
        ("Attempt_2", 2),
        ("Attempt no. 12 of 20", 12),
        ("Attempt 007", 7),
        ("Attempt\u00a04", 4),
        ("5 Attempt 2", 2),
        ("5Attempt 2", 2),
        ("(attempt 2)", 2),
        ("Attempts 9, attempt 2", 2),
        ("Reattempt 9, attempt 2", 2),
        ("éattempt 9 attempt 2", 2),
        ("Attempt two, that is 2", 2),
        ("Attempt 2147483647", SQL_INT_MAX),
    ],
)
def test_rule_6_attempt_number_is_the_first_integer_after_the_word(
    submission: str, number: int
) -> None:
    assert number_of(submission) == number


@pytest.mark.parametrize(
    "submission",
    [
        "Retake",
        "2",
        "2 Attempt",
        "Attempt",
        "Attempt two",
        "Attempts 2",
        "Reattempt 2",
        "Attempté 2",
        "Attempt 0",
        "Attempt 0, then 2",
        "Attempt -2",
        "Attempt \N{MINUS SIGN}2",
        "Attempt  -1 of 3",
        "Attempt ٢",
        "Attempt ２ of 3",
        "Attempt 1٢",
        "Attempt 2147483648",
        "Attempt " + "9" * 10_000,
    ],
)
def test_rule_6_attempt_number_is_missing(submission: str) -> None:
    message = fault(FailureCode.ATTEMPT_NUMBER_MISSING, lambda: number_of(submission))
    assert len(message) < 400


@given(st.text(), st.text())
def test_rules_4_to_6_any_mapping_gives_a_number_or_a_code(version: str, submission: str) -> None:
    try:
        number = attempt_number(MappingRow(version, submission), PREFIXES)
    except (RowError, RowSkip):
        return
    assert 1 <= number <= SQL_INT_MAX


@given(
    st.sampled_from(["", "Retake ", "x-", "(", "9"]),
    st.sampled_from(["Attempt", "ATTEMPT", "aTTempt"]),
    st.sampled_from([" ", "", "-", " no ", ": ", " - ", "#"]),
    st.integers(1, SQL_INT_MAX),
    st.sampled_from(["", " of 3", ".5", "th", " Attempt 8"]),
)
def test_rule_6_a_number_after_the_word_is_found(
    before: str, word: str, between: str, number: int, after: str
) -> None:
    assert number_of(f"{before}{word}{between}{number}{after}") == number


def test_rule_7_email_is_required() -> None:
    require_email(a_row(email="someone@learner.example"))
    for email in ("", "  "):
        with pytest.raises(RowError) as raised:
            require_email(a_row(email=email))
        assert raised.value.code is FailureCode.EMAIL_MISSING


@pytest.mark.parametrize(
    ("mapping", "code", "message"),
    [
        (None, FailureCode.MAPPING_MISSING, "no line in the mapping has this Attempt ID"),
        (
            MappingRow("24_01", "Attempt 1", defect="2 cells"),
            FailureCode.MAPPING_MISSING,
            "the mapping's line for this Attempt ID is malformed (2 cells)",
        ),
        (
            MappingRow("", "Attempt 1"),
            FailureCode.VERSION_MISSING,
            "the mapping's Unit Code Version is empty",
        ),
        (
            MappingRow("24_01", ""),
            FailureCode.SUBMISSION_TEXT_MISSING,
            "the mapping's Submission is empty",
        ),
        (
            MappingRow("24_01", "Retake"),
            FailureCode.ATTEMPT_NUMBER_MISSING,
            "Submission 'Retake' has no number from 1 to 2147483647 after the word Attempt",
        ),
    ],
)
def test_rules_4_to_6_a_message_names_the_column(
    mapping: MappingRow | None, code: FailureCode, message: str
) -> None:
    assert fault(code, lambda: attempt_number(mapping, PREFIXES)) == message


def test_rule_5_a_message_lists_the_prefixes() -> None:
    with pytest.raises(RowSkip) as raised:
        attempt_number(MappingRow("19_01", "Attempt 1"), PREFIXES)
    assert raised.value.message == "version '19_01' does not begin with any of 24, 25"


def test_rule_7_a_message_names_the_column() -> None:
    message = fault(FailureCode.EMAIL_MISSING, lambda: require_email(a_row(email="")))
    assert message == "Learner Email is empty"
