"""The order of rules 0 to 7, and the rules 0, 2 and 3."""

import pytest
from pyroaring import BitMap

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.rules.records import MappingRow, Outcome, SourceRow, Status, Submission
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from tests.unit.rules.builders import a_row

MIGRATED = MigratedAttempts(migrated=BitMap([1, 12]), started=BitMap([1, 12, 5]))


def row_filter(migrated: MigratedAttempts | None = None) -> RowFilter:
    """A filter whose mapping has a row for every attempt but 404."""
    mapping = MappingRow(version="24_01", submission="Attempt 2")
    return RowFilter(
        lambda attempt: None if attempt == 404 else mapping,
        migrated or MigratedAttempts(),
        ("24", "25"),
    )


def codes(rows: RowFilter, *source_rows: SourceRow) -> list[FailureCode | SkipCode | None]:
    """The code of each row in turn, None for a row that passes."""
    found = [rows.apply(row) for row in source_rows]
    return [each.code if isinstance(each, Outcome) else None for each in found]


def test_a_valid_row_passes_with_its_attempt_number_and_version() -> None:
    row = a_row(attempt_id="007")
    assert row_filter().apply(row) == Submission(row, 7, 2, "24_01")


def test_rule_0_a_malformed_row_fails_whatever_its_cells_contain() -> None:
    row = a_row(malformed="line 3 has 22 cells, not 23", attempt_id="")
    assert row_filter().apply(row) == Outcome(
        row, Status.FAILED, None, FailureCode.ROW_MALFORMED, "line 3 has 22 cells, not 23"
    )


def test_rule_2_the_row_nearest_the_end_counts_and_the_others_are_skipped() -> None:
    """The rows come from the end of the file."""
    rows = [a_row(attempt_id=text, line=line) for text, line in (("7", 9), ("007", 5), ("8", 4))]
    assert codes(row_filter(), *rows, rows[0]) == [
        None,
        SkipCode.DUPLICATE_ROW,
        None,
        SkipCode.DUPLICATE_ROW,
    ]


@pytest.mark.parametrize(
    "spoilt", [a_row(malformed="too few cells"), a_row(attempt_id="7|unit"), a_row(attempt_id="")]
)
def test_rule_2_rows_that_fail_rule_0_or_1_take_no_part(spoilt: SourceRow) -> None:
    assert codes(row_filter(), spoilt, a_row())[1] is None


def test_rule_2_a_row_that_fails_a_later_rule_still_counts() -> None:
    assert codes(row_filter(), a_row(email=""), a_row()) == [
        FailureCode.EMAIL_MISSING,
        SkipCode.DUPLICATE_ROW,
    ]


@pytest.mark.parametrize(
    ("attempt_id", "code"),
    [
        ("1", SkipCode.ALREADY_MIGRATED),
        ("12", SkipCode.ALREADY_MIGRATED),
        ("2", None),
        ("121", None),
        ("5", FailureCode.TARGET_INCOMPLETE),
    ],
)
def test_rule_3_only_the_exact_attempt_is_already_migrated(
    attempt_id: str, code: FailureCode | SkipCode | None
) -> None:
    assert codes(row_filter(MIGRATED), a_row(attempt_id=attempt_id)) == [code]


def test_rules_0_to_7_the_first_rule_that_applies_decides() -> None:
    rows = row_filter(MIGRATED)
    assert codes(
        rows,
        a_row(malformed="too few cells", attempt_id="x"),
        a_row(attempt_id="x", email=""),
        a_row(attempt_id="1", email=""),
        a_row(attempt_id="1", email=""),
        a_row(attempt_id="404", email=""),
        a_row(attempt_id="9", email=""),
    ) == [
        FailureCode.ROW_MALFORMED,
        FailureCode.ATTEMPT_ID_INVALID,
        SkipCode.ALREADY_MIGRATED,
        SkipCode.DUPLICATE_ROW,
        FailureCode.MAPPING_MISSING,
        FailureCode.EMAIL_MISSING,
    ]


@pytest.mark.parametrize(
    ("attempt", "status", "code", "message"),
    [
        (
            404,
            Status.FAILED,
            FailureCode.MAPPING_MISSING,
            "no line in the mapping has this Attempt ID",
        ),
        (
            1,
            Status.SKIPPED,
            SkipCode.ALREADY_MIGRATED,
            "the target has a submission of this attempt",
        ),
        (
            5,
            Status.FAILED,
            FailureCode.TARGET_INCOMPLETE,
            "the target has a launch or session record of this attempt and no submission",
        ),
    ],
)
def test_an_outcome_has_the_row_its_attempt_and_the_reason(
    attempt: int, status: Status, code: FailureCode | SkipCode, message: str
) -> None:
    row = a_row(attempt_id=str(attempt))
    assert row_filter(MIGRATED).apply(row) == Outcome(row, status, attempt, code, message)


def test_rule_2_the_outcome_of_a_duplicate_row() -> None:
    rows, row = row_filter(), a_row()
    rows.apply(a_row())
    assert rows.apply(row) == Outcome(
        row,
        Status.SKIPPED,
        7,
        SkipCode.DUPLICATE_ROW,
        "a row nearer the end of the file has the same Attempt ID",
    )


def test_unseen_attempts_are_counted() -> None:
    rows = row_filter(MIGRATED)
    codes(rows, a_row(attempt_id="7"), a_row(attempt_id="1"), a_row(attempt_id="x"))
    assert rows.count_unseen(BitMap([1, 7, 8, 9])) == 2
    assert rows.count_unseen(BitMap()) == 0
