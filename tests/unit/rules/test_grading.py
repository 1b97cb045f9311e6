"""Rules 12 and 13."""

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.rules.grading import final_grade, malpractice, outranks
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import EnforcementRank, Malpractice
from tests.unit.rules.builders import a_reference, fault, levels


@pytest.mark.parametrize(
    ("code", "grade", "final"),
    [
        *(
            (code, grade, final)
            for code in ("3ABC", "4", "5X")
            for grade, final in (
                ("Refer/Fail", "Refer"),
                ("Refer", "Refer"),
                ("Fail", "Refer"),
                (" fAIL ", "Refer"),
                ("REFER/FAIL", "Refer"),
                ("Pass", "Pass"),
                ("merit", "merit"),
                (" Distinction ", "Distinction"),
                ("Refer / Fail", "Refer / Fail"),
                ("Failed", "Failed"),
            )
        ),
        ("7ABC", "Refer/Fail", "Refer"),
        ("7ABC", "refer", "Refer"),
        ("7ABC", "Fail", "Refer"),
        ("7ABC", "Pass", "Low Pass"),
        ("7ABC", " pass ", "Low Pass"),
        ("7ABC", "Merit", "Pass"),
        ("7ABC", "DISTINCTION", "High Pass"),
        ("7ABC", "High Pass", "High Pass"),
        ("7ABC", " Low Pass ", "Low Pass"),
        *(
            (code, grade, grade)
            for code in ("6ABC", "A7", "", "1")
            for grade in ("Withdrawn", "Distinction*")
        ),
        *((code, grade, grade) for code in ("6A", "A3", "", "٣") for grade in ("Fail", "Refer")),
        *((code, grade, grade) for code in ("6A", "A7", "3", "٧") for grade in ("Pass", "Merit")),
    ],
)
def test_rule_12_final_grade_by_assessment_code(code: str, grade: str, final: str) -> None:
    assert final_grade(grade, code) == final


@pytest.mark.parametrize("grade", ["Grade Missed", "grade missed", " GRADE MISSED\n"])
@pytest.mark.parametrize("code", ["3A", "7A", "6A", ""])
def test_rule_12_grade_missed_fails(grade: str, code: str) -> None:
    fault(FailureCode.GRADE_MISSED, lambda: final_grade(grade, code))


@given(st.text(), st.text())
def test_rule_12_any_grade_stays_or_becomes_one_of_four(grade: str, code: str) -> None:
    try:
        final = final_grade(grade, code)
    except RowError as raised:
        assert raised.code is FailureCode.GRADE_MISSED
        return
    assert final in {grade.strip(), "Refer", "Low Pass", "Pass", "High Pass"}


def finding(grade: str, *texts: str, number: int = 2) -> Malpractice | None:
    return malpractice(grade, number, a_reference(level_texts=texts))


@pytest.mark.parametrize(
    "grade", ["Pass", "", "Refer", "Mal practice Severe", "Academic malpractice - Severe"]
)
def test_rule_13_other_grades_are_no_malpractice(grade: str) -> None:
    assert finding(grade, "Severe") is None


@pytest.mark.parametrize(
    "grade",
    [
        "Malpractice Severe",
        "Malpractice - Severe",
        "MALPRACTICE:severe (second)",
        "malpractice/Severe",
        "Malpractice_severe",
        " Malpractice - SEVERE. ",
        "Malpractice\u00a0\N{EN DASH}\u00a0Severe",
    ],
)
def test_rule_13_the_second_word_names_the_level(grade: str) -> None:
    reference = a_reference(level_texts=("Moderate", " sEVERE "))
    found = malpractice(grade, 2, reference)
    assert found == Malpractice(reference.levels[1], 2, grade.strip())


@pytest.mark.parametrize(
    "grade",
    [
        "Malpractice",
        "Malpractice -",
        "Malpractice Grave",
        "MalpracticeSevere",
        "Malpractice by Severe",
        "Malpractice Sev",
        "Malpractice Severely",
    ],
)
def test_rule_13_an_unknown_level_fails(grade: str) -> None:
    message = fault(FailureCode.MALPRACTICE_LEVEL_MISSING, lambda: finding(grade, "Severe"))
    assert "Severe" in message


def test_rule_13_without_levels_every_malpractice_grade_fails() -> None:
    message = fault(FailureCode.MALPRACTICE_LEVEL_MISSING, lambda: finding("Malpractice Severe"))
    assert message == ("Grade 'Malpractice Severe' names no active malpractice level (known: none)")


@pytest.mark.parametrize(
    ("level", "limit"),
    [
        ("Moderate", 3),
        ("MODERATE", 3),
        ("Considerable", 6),
        ("Severe", 5),
        ("Minor", None),
        ("immoderate", 3),
        ("ModerateConsiderableSevere", 3),
        ("SevereConsiderable", 6),
        ("unsevere", 5),
    ],
)
def test_rule_13_the_attempt_limit_follows_the_level(level: str, limit: int | None) -> None:
    found = finding(f"Malpractice {level}", level, number=5)
    assert found is not None
    assert found.max_attempts == limit


def test_rule_13_of_two_levels_with_one_name_the_first_wins() -> None:
    reference = Reference((), (), levels("Severe", "severe"))
    found = malpractice("Malpractice severe", 1, reference)
    assert found is not None
    assert found.level.id == "l1"


@given(st.text() | st.text("malprctice SVr-_/").map("Malpractice".__add__))
def test_rule_13_any_grade_is_malpractice_or_not_or_fails_with_a_code(grade: str) -> None:
    try:
        found = finding(grade, "Severe", "Minor")
    except RowError as raised:
        assert raised.code is FailureCode.MALPRACTICE_LEVEL_MISSING
        return
    assert (found is not None) == grade.strip().casefold().startswith("malpractice")


def rank(number: int | None, limit: int | None, attempt: int | None) -> EnforcementRank:
    return EnforcementRank(attempt_number=number, max_attempts=limit, attempt=attempt)


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (rank(2, None, 9), rank(1, 1, 1)),
        (rank(1, None, 9), rank(None, 1, 1)),
        (rank(1, 2, 9), rank(1, 3, 1)),
        (rank(1, 3, 9), rank(1, None, 1)),
        (rank(1, 0, 9), rank(1, None, 1)),
        (rank(0, None, 9), rank(None, None, 1)),
        (rank(1, 3, 1), rank(1, 3, 2)),
        (rank(None, None, 1), rank(None, None, 2)),
        (rank(1, None, 12), rank(1, None, 100)),
        # a row of the platform: wins a complete tie, otherwise ranked like any other
        (rank(1, 3, None), rank(1, 3, 1)),
        (rank(1, 3, None), rank(1, 3, 0)),
        (rank(1, 2, 5), rank(1, 3, None)),
        (rank(2, 3, 5), rank(1, 3, None)),
        (rank(2, None, None), rank(1, 3, 5)),
    ],
)
def test_rule_13_rank_of_malpractice_rules(winner: EnforcementRank, loser: EnforcementRank) -> None:
    assert outranks(winner, loser)
    assert not outranks(loser, winner)


SMALL = st.none() | st.integers(0, 3)
RANKS = st.builds(EnforcementRank, SMALL, SMALL, SMALL)


@given(RANKS, RANKS, RANKS)
def test_rule_13_the_rank_is_a_strict_total_order(
    one: EnforcementRank, two: EnforcementRank, three: EnforcementRank
) -> None:
    assert not outranks(one, one)
    assert outranks(one, two) + outranks(two, one) == (one != two)
    if outranks(one, two) and outranks(two, three):
        assert outranks(one, three)


@given(st.data(), st.lists(RANKS, min_size=1, max_size=7))
def test_rule_13_the_final_row_is_the_same_in_any_order(
    data: st.DataObject, ranks: list[EnforcementRank]
) -> None:
    def arrive(existing: EnforcementRank, challenger: EnforcementRank) -> EnforcementRank:
        return challenger if outranks(challenger, existing) else existing

    permuted = data.draw(st.permutations(ranks))
    stands = reduce(arrive, permuted)
    assert stands == reduce(arrive, ranks)
    assert stands.attempt_number == max(
        (each.attempt_number for each in ranks if each.attempt_number is not None), default=None
    )
