"""What becomes of a malpractice rule when its submission is removed (rule 13, specification §5)."""

from pathlib import Path

import pytest

from rogo_async.destination.postgres.journal import Journal, Journals
from rogo_async.destination.postgres.rule_restoration import (
    DeleteRule,
    MalpracticeRule,
    RemovalSkipped,
    ReplaceRule,
    RuleCandidate,
    decide_change,
)
from rogo_async.rules.identity import child_id, submission_id
from rogo_async.rules.records import MalpracticeLevel

GOES, STAYS = submission_id("run", 4), submission_id("run", 1)
NO_JOURNALS = Journals(Journal(Path("unused.journal.jsonl")))


@pytest.mark.parametrize(("named", "winner"), [(STAYS, None), (None, STAYS)])
def test_a_claim_with_another_rule_gets_no_second_one(
    named: str | None, winner: str | None
) -> None:
    """The platform lowered the row that names it; otherwise the candidate would outrank the row."""
    content = {"attempt_number": 3, "enforced_max_attempts": 3, "submission_id": GOES}
    rule = MalpracticeRule(child_id(GOES, "enforcement"), GOES, "rogo_4_x", "7", content)
    weak = {"attempt_number": None, "enforced_max_attempts": None, "submission_id": named}
    other = MalpracticeRule("other", named, None, "8", weak)
    level = MalpracticeLevel("level-minor", "Minor")
    claim = RuleCandidate(STAYS, "rogo_1_x", 1, "Title", level, "Malpractice Minor")
    change = decide_change(rule, [other], [claim], {}, NO_JOURNALS)
    if winner is None:
        assert change == DeleteRule()
    else:
        assert change == ReplaceRule(claim, None, None)


def test_a_rule_without_a_journal_entry_is_kept() -> None:
    """A kept submission inserted the row, a removed one overwrote it: the old content is lost."""
    content = {"attempt_number": 3, "enforced_max_attempts": 3, "submission_id": GOES}
    rule = MalpracticeRule(child_id(STAYS, "enforcement"), GOES, "rogo_4_x", "7", content)
    level = MalpracticeLevel("level-minor", "Minor")
    claim = RuleCandidate(STAYS, "rogo_1_x", 1, "Title", level, "Malpractice Minor")
    with pytest.raises(RemovalSkipped, match="no journal"):
        decide_change(rule, [], [claim], {}, NO_JOURNALS)


HIGHER, LOWER = (2, 2), (None, None)


@pytest.mark.parametrize(
    ("others", "wins"),
    [
        ([LOWER], True),
        ([HIGHER], False),
        ([LOWER, HIGHER], False),
        ([HIGHER, LOWER], False),
        ([(2, 3)], False),
        ([(2, None)], True),
    ],
)
def test_a_remaining_claim_must_outrank_all_other_rows_of_its_key(
    others: list[tuple[int | None, int | None]], wins: bool
) -> None:
    """A run would not have written it beside a row that ranks above it, or equals it."""
    level = MalpracticeLevel("level-moderate", "Moderate")
    claim = RuleCandidate(STAYS, "rogo_1_x", 2, "Title", level, "Malpractice Moderate")
    standing = [
        MalpracticeRule(str(place), None, None, "8", row_content(*rank, None))
        for place, rank in enumerate(others)
    ]
    rule = MalpracticeRule(child_id(GOES, "enforcement"), GOES, "rogo_4_x", "7", row_content(9, 9))
    change = decide_change(rule, standing, [claim], {}, NO_JOURNALS)
    assert change == (ReplaceRule(claim, 3, None) if wins else DeleteRule())


def row_content(
    number: int | None, most: int | None, named: str | None = GOES
) -> dict[str, object]:
    return {"attempt_number": number, "enforced_max_attempts": most, "submission_id": named}
