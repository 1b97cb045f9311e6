"""Finds the columns in which a submission's rows differ from those that its source has now.

No I/O. ``reconciliation`` decides what each difference means.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from rogo_async.destination.postgres.existing_rows import (
    LAUNCHES,
    MARKS,
    RULES,
    SESSIONS,
    SUBMISSIONS,
    ExistingRow,
    ExistingSubmission,
    Row,
)
from rogo_async.destination.postgres.expected_rows import expected_query
from rogo_async.rules.grading import outranks
from rogo_async.rules.identity import attempt_of_launch_id, child_id
from rogo_async.rules.records import EnforcementRank

SUBMISSION: Final = expected_query("insert_submission")
RULE: Final = expected_query("insert_malpractice_rule")
_FOUND_BY: Final = {
    LAUNCHES: "launch_id",
    SESSIONS: "launch_id",
    SUBMISSIONS: "lti_launch_id",
}
"""The column by which the row of a launch id is found; ``submission_id`` in the other tables."""
_KEYS: Final = {LAUNCHES: "launch_id", MARKS: "section_id"}
"""The column that says which rows of a table belong together; ``id`` in the other tables."""


RULE_KEY: Final = ("lms_user_id", "custom_assessment_code", "context_id")
"""Submissions with the same values have one malpractice rule (rule 13)."""

_MORE_MARKS: Final = 20
"""Marks at the end that a submission may have lost or gets."""


@dataclass(frozen=True, slots=True)
class Expected:
    """The rows that a migration would write now, by table, and the malpractice rule, if any."""

    attempt: int
    rows: Mapping[str, Sequence[Row]]
    rule: Row | None


@dataclass(frozen=True, slots=True)
class Found:
    """A column that differs. ``row`` or ``wanted`` is None if one side has no such row."""

    table: str
    column: str
    row: ExistingRow | None
    wanted: Row | None

    @property
    def existing(self) -> Any:
        """The value in the target."""
        return None if self.row is None else self.row.content[self.column]

    @property
    def expected(self) -> Any:
        """The value that a migration would write."""
        return None if self.wanted is None else self.wanted[self.column]


def compare_submission(existing: ExistingSubmission, expected: Expected) -> Iterator[Found]:
    """The differences of the rows in all tables but the malpractice rules."""
    written_by = existing.written_by
    for table, definition in SUBMISSION.tables.items():
        for row, wanted in pairs(table, existing.of(table), expected.rows[table], written_by):
            if row is None:
                yield Found(table, _FOUND_BY.get(table, "submission_id"), None, wanted)
            elif wanted is None:
                yield Found(table, "id", row, None)
            else:
                for column in definition.columns:
                    if not is_same(row.content[column], wanted[column]) and not (
                        table == MARKS and column == "id" and is_run_id(row, existing)
                    ):
                        yield Found(table, column, row, wanted)


def pairs(
    table: str, existing: Sequence[ExistingRow], expected: Sequence[Row], written_by: str
) -> Iterator[tuple[ExistingRow | None, Row | None]]:
    """The rows that belong together.

    A row whose key the platform has changed is paired with an expected row that has no other one.
    """
    key = _KEYS.get(table, "id")
    left, missing = list(existing), []
    for wanted in expected:
        for index, row in enumerate(left):
            if row.content[key] == wanted[key]:
                yield left.pop(index), wanted
                break
        else:
            missing.append(wanted)
    for row in left:
        is_changed = row.written_by != written_by
        yield row, missing.pop(0) if missing and is_changed else None
    for wanted in missing:
        yield None, wanted


def is_same(existing: object, expected: object) -> bool:
    """Whether two JSON values are equal. A column of type json holds what a text column quotes."""
    if isinstance(expected, str) and isinstance(existing, dict | list):
        return bool(orjson.loads(expected) == existing)
    return existing == expected


def is_run_id(row: ExistingRow, existing: ExistingSubmission) -> bool:
    """Whether a run gives this id to a section mark of the submission."""
    return row.id in run_mark_ids(existing)


def run_mark_ids(existing: ExistingSubmission) -> list[str]:
    """The ids that a run gives to the marks of a submission, in their order; more than it has."""
    count = len(existing.of(MARKS)) + _MORE_MARKS
    return [child_id(existing.submission_id or "", "mark", number) for number in range(count)]


def compare_rule(existing: ExistingSubmission, expected: Expected) -> Iterator[Found]:
    """The differences of the malpractice rule that names the submission (rule 13)."""
    wanted, own_id = expected.rule, child_id(existing.submission_id or "", "enforcement")
    named = existing.named_rules()
    for rule in named:
        if wanted is None:
            yield Found(RULES, "submission_id", rule, None)
            continue
        for column in RULE.tables[RULES].columns:
            # A run keeps the id of a rule that it takes over.
            if column != "id" and not is_same(rule.content[column], wanted[column]):
                yield Found(RULES, column, rule, wanted)
    if named or wanted is None:
        return
    rank = _rank(wanted, expected.attempt)
    for rule in existing.rules:
        if any(rule.content[column] != wanted[column] for column in RULE_KEY):
            continue  # the source has moved the submission to another key
        other = _rank(rule.content, attempt_of_launch_id(rule.named or ""))
        if rule.id == own_id and (rule.named is None or not outranks(other, rank)):
            yield Found(RULES, "submission_id", rule, wanted)
            return
        if not outranks(rank, other):
            return
    yield Found(RULES, "submission_id", None, wanted)


def _rank(rule: Row, attempt: int | None) -> EnforcementRank:
    return EnforcementRank(rule["attempt_number"], rule["enforced_max_attempts"], attempt)
