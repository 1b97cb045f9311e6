"""Rules 10 and 11."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.rules.matching import Reference, match_assessment, match_sections
from rogo_async.rules.records import Assessment, Section
from tests.unit.rules.builders import a_reference, a_score, an_assessment, fault, sections


def assessments(*names: str) -> tuple[Assessment, ...]:
    return tuple(an_assessment(name, f"3{number}") for number, name in enumerate(names))


def matched(exercise: str, version: str, *found: Assessment) -> Assessment:
    return match_assessment(exercise, version, Reference(found, (), ()))


@pytest.mark.parametrize("exercise", ["", " ", "Unit", " Unit ", "Unit3-Written"])
def test_rule_10_an_exercise_with_too_few_words_fails(exercise: str) -> None:
    fault(FailureCode.EXERCISE_INVALID, lambda: matched(exercise, "24_01", an_assessment()))


@pytest.mark.parametrize(
    ("exercise", "name"),
    [
        ("Unit 3", "Unit 3 24_01"),
        ("Unit 3 Written work", "Unit 3 24_01"),
        ("  Unit \t 3\u00a0Written", "Unit 3 24_01"),
        ("Unit 3", "  Unit   3\t24_01 "),
        ("Unit 3", "Unit 3 - Law of contract 24_01"),
        ("Unit 3", "Unit 3: 24_01"),
        ("Unit 3", "Unit 3(24_01"),
        ("Unit 3", "Unit 3 x24_01"),
        ("Ünit ③", "Ünit ③ 24_01"),
    ],
)
def test_rule_10_an_assessment_is_found(exercise: str, name: str) -> None:
    expected = an_assessment(name)
    assert matched(exercise, "24_01", expected) is expected


@pytest.mark.parametrize(
    "name",
    [
        "unit 3 24_01",
        "Unit 3 24_01 (old)",
        "The Unit 3 24_01",
        "Unit 30 24_01",
        "Unit 3a 24_01",
        "Unit 3é 24_01",
        "Unit 3 24_02",
        "Unit 3",
        "Unit 3 24",
        "Unit 4 24_01",
        "Unit 324_01",
    ],
)
def test_rule_10_an_assessment_is_missing(name: str) -> None:
    fault(
        FailureCode.ASSESSMENT_MISSING,
        lambda: matched("Unit 3 Written", "24_01", an_assessment(name)),
    )


def nearest(message: str) -> str:
    return message.partition("ends with '24_01'; ")[2]


def test_rule_10_a_name_that_is_only_the_prefix_is_no_match_beside_longer_names() -> None:
    names = assessments("Unit 3", "Unit 4 Writing 24_01")
    fault(FailureCode.ASSESSMENT_MISSING, lambda: matched("Unit 3 Written", "24_01", *names))


def test_rule_10_a_missing_assessment_names_the_nearest_candidates() -> None:
    found = assessments(
        "Unit 3 25_01",
        "  unit  3 Law 25_02",
        "Unit 30 24_01",
        "Unit 4 24_01",
        "Another 24_01",
        "Unit 2",
        "The Unit 3 24",
    )
    message = fault(
        FailureCode.ASSESSMENT_MISSING, lambda: matched("Unit 3 Written", "24_01", *found)
    )
    assert nearest(message) == (
        "same beginning: 'Unit 3 25_01', 'unit 3 Law 25_02', 'Unit 30 24_01'; "
        "same version: 'Unit 4 24_01', 'Another 24_01'"
    )


def test_rule_10_the_number_of_candidates_is_bounded() -> None:
    names = [*(f"Unit 3 {n}" for n in range(50)), *(f"A {n} 24_01" for n in range(50))]
    message = fault(
        FailureCode.ASSESSMENT_MISSING,
        lambda: matched("Unit 3", "24_01", *assessments(*names, *names)),
    )
    assert nearest(message) == (
        "same beginning: 'Unit 3 24', 'Unit 3 2', 'Unit 3 20', 'Unit 3 21', 'Unit 3 22'; "
        "same version: 'A 0 24_01', 'A 1 24_01', 'A 10 24_01', 'A 11 24_01', 'A 12 24_01'"
    )


@pytest.mark.parametrize("names", [(), ("Unit 4 25_01", "")])
def test_rule_10_a_message_without_candidates(names: tuple[str, ...]) -> None:
    message = fault(
        FailureCode.ASSESSMENT_MISSING,
        lambda: matched("Unit 3", "24_01", *assessments(*names)),
    )
    assert nearest(message) == "no name has the same beginning or the same version"


def test_rule_10_prefix_and_suffix_share_no_characters() -> None:
    # The name begins with "24 01" and ends with "24 01": once, not twice.
    fault(FailureCode.ASSESSMENT_MISSING, lambda: matched("24 01", "24 01", an_assessment("24 01")))
    long = an_assessment("Another one, of a long name", "3B")
    fault(
        FailureCode.ASSESSMENT_MISSING,
        lambda: matched("A 24", "4 x", an_assessment("A 24 x"), long),
    )


def test_rule_10_the_exact_name_wins_even_when_inactive() -> None:
    exact = an_assessment("Unit 3 24_01", "3A", active=False)
    longer = an_assessment("Unit 3 Law 24_01", "3B")
    assert matched("Unit 3", "24_01", longer, exact) is exact


def test_rule_10_a_single_match_need_not_be_active() -> None:
    only = an_assessment("Unit 3 Law 24_01", active=False)
    assert matched("Unit 3", "24_01", only) is only


@pytest.mark.parametrize("name", ["Unit 3 24_01", "Unit 3 Law 24_01"])
def test_rule_10_the_single_active_match_wins(name: str) -> None:
    active = an_assessment(name, "3B")
    others = [an_assessment(name, code, active=False) for code in ("3A", "3C")]
    assert matched("Unit 3", "24_01", others[0], active, others[1]) is active


@pytest.mark.parametrize("name", ["Unit 3 24_01", "Unit 3 Law 24_01"])
@pytest.mark.parametrize("active", [True, False])
def test_rule_10_several_matches_are_ambiguous(name: str, active: bool) -> None:
    found = [an_assessment(name, code, active=active) for code in ("3C", "3A", "3B")]
    message = fault(FailureCode.ASSESSMENT_AMBIGUOUS, lambda: matched("Unit 3", "24_01", *found))
    assert message.endswith("'3A', '3B', '3C'")


def test_rule_10_several_exact_names_do_not_fall_back_to_longer_ones() -> None:
    exact = [an_assessment("Unit 3 24_01", code, active=False) for code in ("3A", "3B")]
    longer = an_assessment("Unit 3 Law 24_01", "3C")
    message = fault(
        FailureCode.ASSESSMENT_AMBIGUOUS, lambda: matched("Unit 3", "24_01", *exact, longer)
    )
    assert "3C" not in message


def test_a_cached_match_is_the_same() -> None:
    reference = a_reference((an_assessment("Unit 3 24_01", "3A"), an_assessment("Unit 4 24_01")))
    answers = [
        match_assessment(exercise, "24_01", reference).code
        for exercise in ("Unit 3 x", "Unit 4 x", "Unit 3 y", "Unit 4 y")
    ]
    assert answers == ["3A", "3ABC", "3A", "3ABC"]
    for _ in range(2):
        fault(
            FailureCode.ASSESSMENT_MISSING, lambda: match_assessment("Unit 9", "24_01", reference)
        )


def test_the_cache_of_matches_is_bounded() -> None:
    reference = a_reference()
    for number in range(40_000):
        reference.named(str(number), "x")
        reference.labelled("id-3ABC", f"{number:x}")
    reference.named("x" * 10_000, "24_01")
    remembered = reference._cached_named.cache_info()
    labels = reference._cached_labelled.cache_info()
    assert 0 < remembered.currsize <= 4_096
    assert 0 < labels.currsize <= 32_768
    misses = remembered.misses
    reference.named("y" * 10_000, "24_01")
    assert reference._cached_named.cache_info().misses == misses


WORDS = st.text("Uni3 4-_.é\u00a0", max_size=8)


@given(WORDS, WORDS, st.lists(WORDS, max_size=6))
def test_rule_10_a_match_agrees_with_a_second_implementation(
    exercise: str, version: str, names: list[str]
) -> None:
    reference = Reference(assessments(*names), (), ())
    try:
        found = match_assessment(exercise, version or "24", reference)
    except RowError as raised:
        assert raised.code in {
            FailureCode.EXERCISE_INVALID,
            FailureCode.ASSESSMENT_MISSING,
            FailureCode.ASSESSMENT_AMBIGUOUS,
        }
        return
    name = " ".join(found.name.split())
    prefix, suffix = " ".join(exercise.split()[:2]), " ".join((version or "24").split())
    assert name.startswith(prefix)
    assert name.endswith(suffix)
    assert len(name) > len(prefix)
    assert not name[len(prefix)].isalnum()


def marks_of(labels: list[str], *texts: str) -> list[str]:
    reference = a_reference(section_texts=texts)
    marks = match_sections([a_score(label) for label in labels], an_assessment(), reference)
    assert [mark.score.label for mark in marks] == labels
    return [mark.section_id for mark in marks]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("Question 1", "Question 1"),
        ("question 1", " QUESTION 1\n"),
        ("  Question 1 ", "Question 1"),
        ("Question 1", "Question 1: describe"),
        ("Question 1", "Question 1 (10 marks)"),
        ("Question 1", "question 1. Describe"),
        ("Question 1", "Question 1."),
        ("Question 1", "Question 1..1"),
        ("Question 1", "Question 1-a"),
        ("Question 1", "Question 1_a"),
        ("STRASSE", "Straße 1"),
        ("Straße", "strasse"),
        ("Question 1.1", "Question 1.1 Describe"),
        ("Q", "q\N{EM DASH}all of it"),
    ],
)
def test_rule_11_a_section_is_found(label: str, text: str) -> None:
    assert marks_of([label], text) == ["s1"]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("Question 1", "Question 10"),
        ("Question 1", "Question 1.1"),
        ("Question 1", "Question 1.1 Describe"),
        ("Question 1", "Question 1a"),
        ("Question 1", "Question 1é"),
        ("Question 1", "The Question 1"),
        ("Question 1", "Question"),
        ("Question 1", "Question  1"),
        ("Question 1", ""),
        ("", ""),
        (" ", "(a) anything"),
        ("Question 1 ", "Question 2"),
    ],
)
def test_rule_11_a_section_is_missing(label: str, text: str) -> None:
    fault(FailureCode.SECTION_MISSING, lambda: marks_of([label], text))


def test_rule_11_a_score_without_a_label_has_no_section() -> None:
    message = fault(
        FailureCode.SECTION_MISSING,
        lambda: match_sections([a_score(None)], an_assessment(), a_reference()),
    )
    assert message == "no section of 3ABC for ''"


def test_rule_11_marks_keep_the_order_of_the_scores() -> None:
    texts = ("Question 1: a", "Question 2: b", "Question 10: c", "Question 1.1: d")
    labels = ["Question 10", "Question 1.1", "Question 1", "Question 2"]
    assert marks_of(labels, *texts) == ["s3", "s4", "s1", "s2"]


def test_rule_11_without_scores_there_are_no_marks() -> None:
    assert marks_of([], "Question 1") == []


def test_rule_11_an_equal_text_wins_over_longer_ones() -> None:
    assert marks_of(["question 1"], "Question 1: a", "Question 1", "Question 1 b") == ["s2"]


def test_rule_11_only_sections_of_the_assessment_count() -> None:
    others = sections("Question 1", of="another")
    reference = Reference([an_assessment()], others, ())
    fault(
        FailureCode.SECTION_MISSING,
        lambda: match_sections([a_score()], an_assessment(), reference),
    )
    own = Section("own", "id-3ABC", "Question 1")
    reference = Reference([an_assessment()], [*others, own], ())
    assert match_sections([a_score()], an_assessment(), reference)[0].section_id == "own"


def test_rule_11_all_missing_labels_are_listed_before_ambiguous_ones() -> None:
    message = fault(
        FailureCode.SECTION_MISSING,
        lambda: marks_of(["X", "Question 1", "Y", "Question 2"], "Question 1", "Question 1"),
    )
    assert message.endswith("'X', 'Y', 'Question 2'")
    assert "'Question 1'" not in message


def test_rule_11_all_ambiguous_labels_are_listed() -> None:
    message = fault(
        FailureCode.SECTION_AMBIGUOUS,
        lambda: marks_of(
            ["Q1", "Q2", "Q3", "q4", "Q4"], "Q1: a", "Q1: b", "Q2", "Q3", "Q3", "Q4 all"
        ),
    )
    assert message.endswith("'Q1', 'Q3', 'q4', 'Q4'")


def test_rule_11_two_scores_for_one_section_are_ambiguous() -> None:
    message = fault(
        FailureCode.SECTION_AMBIGUOUS,
        lambda: marks_of(["Question 1", "Question 1 part"], "Question 1 part"),
    )
    assert message.endswith("'Question 1', 'Question 1 part'")


@given(
    st.lists(st.text("Qq1. ß", max_size=5), max_size=4),
    st.lists(st.text("Qq1. ß", max_size=5), max_size=5),
)
def test_rule_11_marks_are_distinct_sections_or_a_code(labels: list[str], texts: list[str]) -> None:
    try:
        found = marks_of(labels, *texts)
    except RowError as raised:
        assert raised.code in {FailureCode.SECTION_MISSING, FailureCode.SECTION_AMBIGUOUS}
        return
    assert len(set(found)) == len(labels)
    for label, section in zip(labels, found, strict=True):
        text = texts[int(section[1:]) - 1].strip().casefold()
        assert text.startswith(label.strip().casefold())
