"""Rule 1 and the ids of specification §2."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.rules.identity import (
    SQL_INT_MAX,
    attempt_of_launch_id,
    child_id,
    identify,
    is_uuid,
    launch_id,
    parse_attempt_id,
    submission_id,
)
from tests.unit.rules.builders import fault

ATTEMPTS = st.integers(1, SQL_INT_MAX)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("007", 7),
        (" 12\t", 12),
        ("2147483647", 2_147_483_647),
        ("0" * 10_000 + "5", 5),
    ],
)
def test_rule_1_attempt_id_is_parsed(text: str, value: int) -> None:
    assert parse_attempt_id(text) == value


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\u00a0"])
def test_rule_1_attempt_id_is_missing(text: str) -> None:
    message = fault(FailureCode.ATTEMPT_ID_MISSING, lambda: parse_attempt_id(text))
    assert message == "Attempt ID is empty"


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "000",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "1_000",
        "1 2",
        "0x10",
        "12|unit|24_01",
        "٣",
        "７",
        "²",
        "2147483648",
        "9" * 10_000,
        "abc",
        "1\x00",
    ],
)
def test_rule_1_attempt_id_is_invalid(text: str) -> None:
    message = fault(FailureCode.ATTEMPT_ID_INVALID, lambda: parse_attempt_id(text))
    assert len(message) < 300


@given(st.text() | st.text("0123456789 -+٣"))
def test_rule_1_any_attempt_id_gives_its_number_or_one_of_two_codes(text: str) -> None:
    try:
        value = parse_attempt_id(text)
    except RowError as raised:
        assert raised.code in {FailureCode.ATTEMPT_ID_MISSING, FailureCode.ATTEMPT_ID_INVALID}
    else:
        assert 1 <= value <= SQL_INT_MAX
        assert text.strip().lstrip("0") == str(value)


def test_launch_id_never_changes() -> None:
    # A change here migrates every attempt a second time.
    assert launch_id(1, "inst-1") == "rogo_1_dfd1d18b7aed1d2a"
    assert launch_id(12, "inst-1") == "rogo_12_646421a536aaf790"
    assert launch_id(1, "ünï") == "rogo_1_67085d95e6ad86c2"


def test_row_ids_never_change() -> None:
    submission = submission_id("run-1", 7)
    assert submission == "6d7770b0-c86d-53a8-8c06-44cae1185f41"
    assert child_id(submission, "file", 2) == "f909e6a4-3ed4-513c-9826-671480065d75"


@given(st.tuples(ATTEMPTS, st.text("0123_\x00:a")), st.tuples(ATTEMPTS, st.text("0123_\x00:a")))
def test_launch_ids_are_equal_only_for_equal_attempts_and_instances(
    one: tuple[int, str], other: tuple[int, str]
) -> None:
    assert (launch_id(*one) == launch_id(*other)) == (one == other)


@given(ATTEMPTS, st.text(st.characters(exclude_categories=["Cs"])))
def test_a_launch_id_contains_its_attempt(attempt: int, instance: str) -> None:
    assert attempt_of_launch_id(launch_id(attempt, instance)) == attempt


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        ("rogo_1_abc", 1),
        ("rogo_12_abc", 12),
        ("rogo_1_2_3", 1),
        ("rogo_007_x", 7),
        ("rogo_1_", 1),
        ("rogo_1_\nx", 1),
        ("rogo_2147483647_x", 2_147_483_647),
        ("rogo_2147483648_x", None),
        (f"rogo_{'9' * 10_000}_x", None),
        ("rogo_1", None),
        ("rogo__x", None),
        ("rogo_-1_x", None),
        ("rogo_1x_y", None),
        ("rogo_٣_x", None),
        ("Rogo_1_x", None),
        ("xrogo_1_x", None),
        (" rogo_1_x", None),
        ("", None),
        ("6f1d3a52-9c0e", None),
    ],
)
def test_rule_3_attempt_is_parsed_from_a_launch_id(text: str, attempt: int | None) -> None:
    assert attempt_of_launch_id(text) == attempt


@given(st.text() | st.from_regex(r"rogo_[0-9]{0,12}_?.*"))
def test_rule_3_any_launch_id_is_parsed_without_an_error(text: str) -> None:
    attempt = attempt_of_launch_id(text)
    assert attempt is None or 0 <= attempt <= SQL_INT_MAX


def test_submission_id_is_a_uuid5_of_run_and_attempt() -> None:
    assert UUID(submission_id("run", 1)).version == 5
    assert submission_id("run", 1) == submission_id("run", 1)
    assert submission_id("run", 1) != submission_id("run2", 1)
    assert submission_id("run", 11) != submission_id("run1", 1)
    assert submission_id("run", 1) != submission_id("run", 12)


@given(st.uuids(), st.sampled_from(["file", "mark", "session"]), st.integers(0, 500))
def test_child_ids_are_uuids_of_version_5(parent: UUID, kind: str, index: int) -> None:
    assert child_id(str(parent), kind, index) == str(uuid5(parent, f"{index}/{kind}"))


def test_a_submission_whose_id_is_no_uuid_has_no_child_ids() -> None:
    with pytest.raises(ValueError, match=r"^the id of the submission is no UUID$"):
        child_id("00" * 15, "file")


def test_child_ids_differ_by_submission_kind_and_index() -> None:
    one, other = submission_id("run", 1), submission_id("run", 2)
    ids = [
        child_id(parent, kind, index)
        for parent in (one, other)
        for kind in ("session", "file", "mark", "1/file")
        for index in (0, 1, 11)
    ]
    assert len(set(ids)) == len(ids)
    assert {UUID(each).version for each in ids} == {5}
    assert child_id(one, "session") == child_id(one, "session", 0)


def test_identify_returns_all_ids_of_a_submission() -> None:
    identity = identify(7, "run-1", "inst-1")
    assert identity.attempt == 7
    assert identity.launch_id == launch_id(7, "inst-1")
    assert identity.submission_id == submission_id("run-1", 7)


@given(ATTEMPTS, st.text(max_size=20))
def test_the_ids_of_rows_have_the_form_of_a_uuid(attempt: int, run: str) -> None:
    submission = submission_id(run, attempt)
    assert is_uuid(submission)
    assert is_uuid(child_id(submission, "file", 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "6d7770b0-c86d-53a8-8c06-44cae1185f4",
        "6d7770b0-c86d-53a8-8c06-44cae1185f411",
        "6D7770B0-C86D-53A8-8C06-44CAE1185F41",
        "6d7770b0c86d53a88c0644cae1185f41",
        "6d7770b0-c86d-53a8-8c06-44cae1185f41\n",
    ],
)
def test_another_text_is_no_uuid(text: str) -> None:
    assert not is_uuid(text)
