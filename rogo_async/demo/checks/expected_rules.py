"""Which enforcement row stands in the end, worked out from the whole set at once (rule 13).

The migration has to reach the same end one submission at a time, in any order.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.dataset.reference_data import Row

Key = tuple[str, str, str]
"""lms_user_id, custom_assessment_code, context_id."""


@dataclass(frozen=True, slots=True)
class ExpectedMalpracticeRule:
    """A malpractice_enforcements row of the end.

    ``row_id`` is set when the row stood there before (it keeps its id), ``attempt`` when a
    migrated submission is the one that it speaks of.
    """

    columns: Row
    attempt: int | None
    row_id: str | None


def rank_malpractice_rules(
    standing: Iterable[Row], submissions: Iterable[ExpectedSubmission]
) -> dict[Key, list[ExpectedMalpracticeRule]]:
    """The enforcement rows that must stand in the end, by their key (rule 13)."""
    final: dict[Key, list[ExpectedMalpracticeRule]] = {}
    for row in standing:
        final.setdefault(_key(row), []).append(ExpectedMalpracticeRule(row, None, str(row["id"])))
    for submission in submissions:
        claim = submission.malpractice_rule()
        if claim is None:
            continue
        rows = final.setdefault(_key(claim), [])
        best = min(rows, key=_rank, default=None)
        if best is None:
            rows.append(ExpectedMalpracticeRule(claim, submission.attempt, None))
            continue
        challenger = ExpectedMalpracticeRule(claim, submission.attempt, best.row_id)
        rows[rows.index(best)] = min(best, challenger, key=_rank)
    return final


def _key(row: Row) -> Key:
    return (str(row["lms_user_id"]), str(row["custom_assessment_code"]), str(row["context_id"]))


def _rank(row: ExpectedMalpracticeRule) -> tuple[float, float, float]:
    """The smallest stands: highest attempt number, lowest limit, lowest attempt id."""
    number, limit = row.columns["attempt_number"], row.columns["enforced_max_attempts"]
    return (
        -number if isinstance(number, int) else float("inf"),
        limit if isinstance(limit, int) else float("inf"),
        float("inf") if row.attempt is None else row.attempt,
    )
