"""Decides what happens to a malpractice rule when the submission that it names is removed.

The rule gets the content that it would have without the migration of that submission. The
candidates are the platform's version, which a run's journal keeps, and the remaining migrated
submissions with malpractice. The highest rank wins (specification §5, rollback). No I/O here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rogo_async.common.errors import RowError
from rogo_async.destination.postgres.journal import Journals, RuleContent
from rogo_async.rules.grading import malpractice, outranks
from rogo_async.rules.identity import attempt_of_launch_id, child_id, is_uuid
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import EnforcementRank, MalpracticeLevel

_OWN_RULES: Final = 20
"""Rules that a submission may insert: a refresh inserts one more if another owns the first."""


class RemovalSkipped(Exception):
    """The submission is not removed. The text gives the table and the reason, without values."""


@dataclass(frozen=True, slots=True)
class MalpracticeRule:
    """A malpractice_enforcements row. ``launch_id`` belongs to the submission that it names."""

    id: str
    submission_id: str | None
    launch_id: str | None
    written_by: str
    content: RuleContent

    @property
    def rank(self) -> EnforcementRank:
        """Its rank among the rules of the same key."""
        return rank_of(self.content, self.launch_id)


@dataclass(frozen=True, slots=True)
class RuleCandidate:
    """A remaining submission with malpractice, which would also cause the rule."""

    submission_id: str
    launch_id: str
    attempt_number: int | None
    context_title: str | None
    level: MalpracticeLevel
    notes: str | None

    @property
    def attempt(self) -> int:
        """The attempt in its launch id."""
        return attempt_of_launch_id(self.launch_id) or 0

    def max_attempts(self) -> int | None:
        """The limit that a run writes for it (rule 13). Raises RemovalSkipped."""
        try:
            found = malpractice(
                self.notes or "", self.attempt_number or 0, Reference([], [], [self.level])
            )
        except RowError:
            found = None
        if found is None or self.attempt_number is None:
            raise RemovalSkipped(
                f"submission_grades: the malpractice of attempt {self.attempt} was changed, so its "
                "limit is unknown"
            )
        return found.max_attempts


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """No other submission and no earlier version needs the rule."""


@dataclass(frozen=True, slots=True)
class RestoreRule:
    """All columns of the rule return to ``content``."""

    content: RuleContent


@dataclass(frozen=True, slots=True)
class ReplaceRule:
    """The rule becomes what a run would have written for ``candidate``.

    ``before`` is the version that it overwrites; None if there was no row.
    """

    candidate: RuleCandidate
    max_attempts: int | None
    before: RuleContent | None


RuleChange = DeleteRule | RestoreRule | ReplaceRule


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The newest earlier version that no removed submission wrote; None if there was no row."""

    content: RuleContent | None
    launch_id: str | None = None


def earlier_versions(journals: Journals, row_id: str, submission_id: str) -> Iterator[RuleContent]:
    """The rule before this submission changed it, and all earlier versions, newest first."""
    seen: set[str] = set()
    named: str | None = submission_id
    while named is not None and named not in seen:
        seen.add(named)
        content = journals.original(named, row_id)
        if content is None:
            return
        yield content
        named = content["submission_id"]


def decide_change(
    rule: MalpracticeRule,
    others: Sequence[MalpracticeRule],
    candidates: Sequence[RuleCandidate],
    launch_ids: Mapping[str, str],
    journals: Journals,
) -> RuleChange:
    """Decide what happens to ``rule`` when the submission that it names is removed.

    ``others`` are the other rules of its key, ``candidates`` the remaining submissions of its
    key. ``launch_ids`` has the remaining submissions among those that earlier versions name,
    without those of this tool that have no malpractice any more.
    Raises RemovalSkipped if the journals are not sufficient.
    """
    versions = [*earlier_versions(journals, rule.id, rule.submission_id or "")]
    claims = {each.submission_id: each for each in candidates}
    baseline = _baseline(rule, versions, launch_ids, claims, journals)
    before = baseline.content
    best: RuleChange = DeleteRule() if before is None else RestoreRule(before)
    best_rank = None if before is None else rank_of(before, baseline.launch_id)
    named = {each.submission_id for each in others}
    for candidate in candidates:
        limit = candidate.max_attempts()
        rank = EnforcementRank(candidate.attempt_number, limit, candidate.attempt)
        if candidate.submission_id in named or not all(outranks(rank, o.rank) for o in others):
            continue
        if best_rank is None or outranks(rank, best_rank):
            best_rank = rank
            best = ReplaceRule(candidate, limit, before)
    return best


def _baseline(
    rule: MalpracticeRule,
    versions: Sequence[RuleContent],
    launch_ids: Mapping[str, str],
    claims: Mapping[str, RuleCandidate],
    journals: Journals,
) -> _Baseline:
    for content in versions:
        named = content["submission_id"]
        if named is None or (named in launch_ids and _is_current(content, claims.get(named))):
            return _Baseline(content, launch_ids.get(named) if named else None)
    removed = [rule.submission_id or "", *(content["submission_id"] for content in versions)]
    # The first submission that is known to have changed the row must also have inserted it.
    # Otherwise, without a line in a journal, the earlier content is unknown. It could be the
    # result of an appeal.
    if _inserted(removed[-1], rule.id) or journals.has_original(removed[-1], rule.id):
        return _Baseline(None)
    raise RemovalSkipped(
        "malpractice_enforcements: no journal has the row as it was before it was overwritten"
    )


def _is_current(content: RuleContent, claim: RuleCandidate | None) -> bool:
    """Whether the submission that a version names still causes it: a refresh may have changed it.

    Without a claim the submission belongs to another tool, or ``launch_ids`` does not have it.
    """
    return claim is None or (
        content["attempt_number"],
        content["enforced_max_attempts"],
        content["malpractice_level_id"],
    ) == (claim.attempt_number, claim.max_attempts(), claim.level.id)


def _inserted(submission_id: str, row_id: str) -> bool:
    """Whether the submission inserted the row. Ids of the platform may have any form."""
    return is_uuid(submission_id) and row_id in {
        child_id(submission_id, "enforcement", number) for number in range(_OWN_RULES)
    }


def rank_of(content: RuleContent, launch_id: str | None) -> EnforcementRank:
    """The rank of a version of a rule; ``launch_id`` belongs to the submission that it names."""
    return EnforcementRank(
        content["attempt_number"],
        content["enforced_max_attempts"],
        None if launch_id is None else attempt_of_launch_id(launch_id),
    )
