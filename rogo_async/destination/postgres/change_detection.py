"""What an enforcement row becomes when a submission that it names is taken out (SPEC §5).

It becomes what it would be if that submission had never been migrated: the highest rank among
the platform's own version, kept in a run's journal, and the claims of the submissions that stay.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rogo_async.common.errors import RowError
from rogo_async.rules.grading import malpractice, outranks
from rogo_async.rules.identity import attempt_of_launch_id, child_id, is_uuid
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import EnforcementRank, MalpracticeLevel

Content = Mapping[str, Any]
"""All columns of an enforcement row, as JSON."""


class LeftAlone(Exception):
    """The submission stays as it is. The text says which table and why, without values."""


class History(Protocol):
    """What the journals say of enforcement rows (``journal.Journals``)."""

    def knows(self, submission_id: str, row_id: str) -> bool:
        """Whether it is known what the row was before this submission claimed it."""

    def before(self, submission_id: str, row_id: str) -> Content | None:
        """The row as it was before this submission claimed it; None when there was none."""

    def is_put_back(self, content: Content) -> bool:
        """Whether a rollback has made the row just this."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An enforcement row. ``launch_id`` is that of the submission it names."""

    id: str
    submission_id: str | None
    launch_id: str | None
    written_by: str
    content: Content

    @property
    def rank(self) -> EnforcementRank:
        """What it weighs against others."""
        return rank_of(self.content, self.launch_id)


@dataclass(frozen=True, slots=True)
class Claim:
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
        """The limit that a run wrote for it (SPEC §3 rule 13). Raises LeftAlone."""
        try:
            found = malpractice(
                self.notes or "", self.attempt_number or 0, Reference([], [], [self.level])
            )
        except RowError:
            found = None
        if found is None or self.attempt_number is None:
            raise LeftAlone(
                f"submission_grades: what attempt {self.attempt} claims cannot be told any more"
            )
        return found.max_attempts


@dataclass(frozen=True, slots=True)
class Delete:
    """Nothing else claims the row."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """The row becomes what it was, in every column."""

    content: Content


@dataclass(frozen=True, slots=True)
class Rebuild:
    """The row becomes what a run would have written for ``claim``. ``before`` is what is under
    it; None when there was no row.
    """

    claim: Claim
    max_attempts: int | None
    before: Content | None


Change = Delete | PutBack | Rebuild


@dataclass(frozen=True, slots=True)
class _Floor:
    """What is under the claims: the newest version that nobody of those gone has written."""

    content: Content | None
    launch_id: str | None = None


def versions(history: History, row_id: str, submission_id: str) -> Iterator[Content]:
    """The row before this submission claimed it, before that one, and so on back."""
    seen: set[str] = set()
    named: str | None = submission_id
    while named is not None and named not in seen:
        seen.add(named)
        content = history.before(named, row_id)
        if content is None:
            return
        yield content
        named = content["submission_id"]


def change_of(
    rule: Rule,
    others: Sequence[Rule],
    claims: Sequence[Claim],
    launch_ids: Mapping[str, str],
    history: History,
) -> Change:
    """What becomes of ``rule`` when the submission that it names goes.

    ``others`` are the other rows of its key, ``claims`` those of the submissions that stay;
    ``launch_ids`` has every submission that stays of those that the versions name. Raises
    LeftAlone when it cannot be known.
    """
    kept = [*versions(history, rule.id, rule.submission_id or "")]
    floor = _floor(rule, kept, launch_ids, history)
    best: Change = Delete() if floor.content is None else PutBack(floor.content)
    rank = None if floor.content is None else rank_of(floor.content, floor.launch_id)
    named = {each.submission_id for each in others}
    for claim in claims:
        limit = claim.max_attempts()
        claimed = EnforcementRank(claim.attempt_number, limit, claim.attempt)
        if claim.submission_id in named or not all(outranks(claimed, o.rank) for o in others):
            continue
        if rank is None or outranks(claimed, rank):
            rank = claimed
            best = Rebuild(claim, limit, floor.content)
    return best


def _floor(
    rule: Rule,
    kept: Sequence[Content],
    launch_ids: Mapping[str, str],
    history: History,
) -> _Floor:
    """What stood under the submission that goes. Raises LeftAlone when it cannot be known."""
    for content in kept:
        named = content["submission_id"]
        if named is None or named in launch_ids:
            return _Floor(content, launch_ids.get(named) if named else None)
    gone = [rule.submission_id or "", *(content["submission_id"] for content in kept)]
    # Whoever claimed the row first of those that are known must have made it. One that found it
    # there, and left no line, may have found anything: an appeal that was granted, say.
    if _inserted(gone[-1], rule.id) or history.knows(gone[-1], rule.id):
        return _Floor(None)
    raise LeftAlone(
        "malpractice_enforcements: no journal has the row as it was before it was overwritten"
    )


def _inserted(submission_id: str, row_id: str) -> bool:
    """Whether the submission made the row; the platform's ids may be of any form."""
    return is_uuid(submission_id) and row_id == child_id(submission_id, "enforcement")


def rank_of(content: Content, launch_id: str | None) -> EnforcementRank:
    """What a version of a row weighs; ``launch_id`` is that of the submission it names."""
    return EnforcementRank(
        content["attempt_number"],
        content["enforced_max_attempts"],
        None if launch_id is None else attempt_of_launch_id(launch_id),
    )
