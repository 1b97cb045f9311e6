"""What an enforcement row becomes when a submission that it names is taken out (specification §5).

It becomes what it would be if that submission had never been migrated: the highest rank among
the platform's own version, kept in a run's journal, and the claims of the submissions that stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rogo_async.common.errors import RowError
from rogo_async.destination.postgres.journal import Journals, RuleContent
from rogo_async.rules.grading import malpractice, outranks
from rogo_async.rules.identity import attempt_of_launch_id, child_id, is_uuid
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import EnforcementRank, MalpracticeLevel


class RemovalSkipped(Exception):
    """The submission stays as it is. The text says which table and why, without values."""


@dataclass(frozen=True, slots=True)
class MalpracticeRule:
    """An enforcement row. ``launch_id`` is that of the submission it names."""

    id: str
    submission_id: str | None
    launch_id: str | None
    written_by: str
    content: RuleContent

    @property
    def rank(self) -> EnforcementRank:
        """What it weighs against others."""
        return rank_of(self.content, self.launch_id)


@dataclass(frozen=True, slots=True)
class RuleCandidate:
    """A malpractice submission that stays and may claim the row."""

    submission_id: str
    launch_id: str
    attempt_number: int | None
    context_title: str | None
    level: MalpracticeLevel
    notes: str | None

    @property
    def attempt(self) -> int:
        """The attempt, as its launch id names it."""
        return attempt_of_launch_id(self.launch_id) or 0

    def max_attempts(self) -> int | None:
        """The limit that a run wrote for it (rule 13). Raises RemovalSkipped."""
        try:
            found = malpractice(
                self.notes or "", self.attempt_number or 0, Reference([], [], [self.level])
            )
        except RowError:
            found = None
        if found is None or self.attempt_number is None:
            raise RemovalSkipped(
                f"submission_grades: what attempt {self.attempt} claims cannot be told any more"
            )
        return found.max_attempts


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Nothing else claims the row."""


@dataclass(frozen=True, slots=True)
class RestoreRule:
    """The row becomes what it was, in every column."""

    content: RuleContent


@dataclass(frozen=True, slots=True)
class ReplaceRule:
    """The row becomes what a run would have written for ``claim``. ``before`` is what is under
    it; None when there was no row.
    """

    claim: RuleCandidate
    max_attempts: int | None
    before: RuleContent | None


RuleChange = DeleteRule | RestoreRule | ReplaceRule


@dataclass(frozen=True, slots=True)
class _Floor:
    """What is under the claims: the newest version that nobody of those gone has written."""

    content: RuleContent | None
    launch_id: str | None = None


def earlier_versions(journals: Journals, row_id: str, submission_id: str) -> Iterator[RuleContent]:
    """The row before this submission claimed it, before that one, and so on back."""
    seen: set[str] = set()
    named: str | None = submission_id
    while named is not None and named not in seen:
        seen.add(named)
        content = journals.before(named, row_id)
        if content is None:
            return
        yield content
        named = content["submission_id"]


def decide_change(
    rule: MalpracticeRule,
    others: Sequence[MalpracticeRule],
    claims: Sequence[RuleCandidate],
    launch_ids: Mapping[str, str],
    journals: Journals,
) -> RuleChange:
    """What becomes of ``rule`` when the submission that it names goes.

    ``others`` are the other rows of its key, ``claims`` those of the submissions that stay;
    ``launch_ids`` has every submission that stays of those that the versions name. Raises
    RemovalSkipped when it cannot be known.
    """
    kept = [*earlier_versions(journals, rule.id, rule.submission_id or "")]
    floor = _floor(rule, kept, launch_ids, journals)
    best: RuleChange = DeleteRule() if floor.content is None else RestoreRule(floor.content)
    rank = None if floor.content is None else rank_of(floor.content, floor.launch_id)
    named = {each.submission_id for each in others}
    for claim in claims:
        limit = claim.max_attempts()
        claimed = EnforcementRank(claim.attempt_number, limit, claim.attempt)
        if claim.submission_id in named or not all(outranks(claimed, o.rank) for o in others):
            continue
        if rank is None or outranks(claimed, rank):
            rank = claimed
            best = ReplaceRule(claim, limit, floor.content)
    return best


def _floor(
    rule: MalpracticeRule,
    kept: Sequence[RuleContent],
    launch_ids: Mapping[str, str],
    journals: Journals,
) -> _Floor:
    """What stood under the submission that goes. Raises RemovalSkipped when it cannot be known."""
    for content in kept:
        named = content["submission_id"]
        if named is None or named in launch_ids:
            return _Floor(content, launch_ids.get(named) if named else None)
    gone = [rule.submission_id or "", *(content["submission_id"] for content in kept)]
    # Whoever claimed the row first of those that are known must have made it. One that found it
    # there, and left no line, may have found anything: an appeal that was granted, say.
    if _inserted(gone[-1], rule.id) or journals.knows(gone[-1], rule.id):
        return _Floor(None)
    raise RemovalSkipped(
        "malpractice_enforcements: no journal has the row as it was before it was overwritten"
    )


def _inserted(submission_id: str, row_id: str) -> bool:
    """Whether the submission made the row; the platform's ids may be of any form."""
    return is_uuid(submission_id) and row_id == child_id(submission_id, "enforcement")


def rank_of(content: RuleContent, launch_id: str | None) -> EnforcementRank:
    """What a version of a row weighs; ``launch_id`` is that of the submission it names."""
    return EnforcementRank(
        content["attempt_number"],
        content["enforced_max_attempts"],
        None if launch_id is None else attempt_of_launch_id(launch_id),
    )
