"""The expected malpractice rules, computed from all submissions at once (rule 13).

The migration must reach the same result one submission at a time, in any order.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.dataset.reference_data import Row

Key = tuple[str, str, str]
"""lms_user_id, custom_assessment_code, context_id."""


@dataclass(frozen=True, slots=True)
class ExpectedMalpracticeRule:
    """A malpractice_enforcements row after the run.

    ``row_id`` is set for a row that existed before the run (it keeps its id). ``attempt`` is set
    when the row comes from a migrated submission.
    """

    columns: Row
    attempt: int | None
    row_id: str | None


def rank_malpractice_rules(
    existing: Iterable[Row], submissions: Iterable[ExpectedSubmission]
) -> dict[Key, list[ExpectedMalpracticeRule]]:
    """The expected rows after the run, by key. Of several candidates the first in rank is kept."""
    rules_by_key: dict[Key, list[ExpectedMalpracticeRule]] = {}
    for row in existing:
        rules_by_key.setdefault(_key(row), []).append(
            ExpectedMalpracticeRule(row, None, str(row["id"]))
        )
    for submission in submissions:
        new = submission.malpractice_rule()
        if new is None:
            continue
        rows = rules_by_key.setdefault(_key(new), [])
        current = min(rows, key=_rank, default=None)
        if current is None:
            rows.append(ExpectedMalpracticeRule(new, submission.attempt, None))
            continue
        candidate = ExpectedMalpracticeRule(new, submission.attempt, current.row_id)
        rows[rows.index(current)] = min(current, candidate, key=_rank)
    return rules_by_key


def _key(row: Row) -> Key:
    return (str(row["lms_user_id"]), str(row["custom_assessment_code"]), str(row["context_id"]))


def _rank(row: ExpectedMalpracticeRule) -> tuple[float, float, float]:
    """Sort key: highest attempt number, lowest limit, a rule of the platform, lowest attempt id."""
    number, limit = row.columns["attempt_number"], row.columns["enforced_max_attempts"]
    return (
        -number if isinstance(number, int) else float("inf"),
        limit if isinstance(limit, int) else float("inf"),
        float("-inf") if row.attempt is None else row.attempt,
    )
