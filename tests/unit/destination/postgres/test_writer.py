"""The rules of the writer that need no server (rules 13 and 15).

``tests/integration/run/test_writer.py`` has the others.
"""

import pytest

from rogo_async.common.errors import (
    AmbiguousError,
    Dependency,
    FailureCode,
    RefusedError,
    RowError,
    TransientError,
)
from rogo_async.destination.postgres.writer import _of_row, _Tries, lock_key


@pytest.mark.parametrize(
    ("learner", "code", "course", "number"),
    [
        ("learn.example::501", "3ENG02", "learn.example::601", 214_869_262_181_113_324),
        ("learn.example::502", "3ENG02", "learn.example::601", -8_919_436_047_517_256_199),
        ("learn.example::501", "3ENG", "02learn.example::601", -7_693_523_656_888_256_931),
        ("learn.example::\ud800", "3ENG02", "learn.example::601", -7_788_471_984_734_054_333),
    ],
)
def test_runs_of_all_versions_take_the_same_lock_for_a_key(
    learner: str, code: str, course: str, number: int
) -> None:
    """The first 64 bits, signed, of the SHA-256 of the three values with a NUL between them."""
    rule = {
        "context_id": course,
        "assessment_code": code,
        "lms_user_id": learner,
        "attempt_number": 2,
    }
    assert lock_key(rule) == number


def test_a_refused_statement_is_repeated_once_before_its_row_fails() -> None:
    tries = _Tries(hold=1)
    refused = RefusedError(Dependency.TARGET, "insert", "SQLSTATE 42501")
    first = _of_row(refused, tries)
    assert type(first) is TransientError
    assert str(first) == "target insert: SQLSTATE 42501"
    for _ in range(2):
        later = _of_row(refused, tries)
        assert isinstance(later, RowError)
        assert later.code is FailureCode.TARGET_REFUSED
        assert later.message == "the target refused the rows (SQLSTATE 42501)"


def test_other_errors_of_a_row_are_not_changed() -> None:
    tries = _Tries(hold=1)
    for error in (
        RowError(FailureCode.TARGET_REFUSED, "text"),
        AmbiguousError(Dependency.TARGET, "insert", "text"),
    ):
        assert _of_row(error, tries) is error
    assert tries == _Tries(hold=1)
