"""A migrated data set and its changes: which submissions change, and the known answer."""

import copy
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rogo_async.demo.changes import platform_changes as platform
from rogo_async.demo.changes import source_changes as source
from rogo_async.demo.changes.known_answer import (
    KnownAnswer,
    Outcome,
    SourceEffect,
    effect_of,
    known_answer,
)
from rogo_async.demo.changes.platform_changes import PlatformChange, Touched
from rogo_async.demo.changes.source_changes import SourceChange, combined
from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.submission import SubmissionCase
from rogo_async.rules.records import Status

_SUBMISSIONS_PER_TURN: Final = 90
_MAX_TURNS: Final = 4
_NO_SCRIPTED_SOURCE: Final = "http://127.0.0.1"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the source, of the platform, or both, for ``count`` submissions."""

    source: SourceChange | None = None
    platform: PlatformChange | None = None
    count: int = 1

    def applies_to(self, case: SubmissionCase) -> bool:
        changes = (self.source, self.platform)
        return all(change.applies_to(case) for change in changes if change is not None)


CHANGES: Final = (
    Change(None, platform.APPEAL),
    Change(source.MALPRACTICE_LIFTED, platform.APPEAL),
    Change(source.MALPRACTICE_LIFTED, count=3),
    Change(source.MALPRACTICE_CHANGED, count=2),
    Change(combined(source.MALPRACTICE_LIFTED, source.EMAIL_CORRECTED)),
    Change(source.FILE_REMOVED),
    Change(combined(source.REGRADED, source.FILE_REMOVED)),
    Change(source.REGRADED, count=3),
    Change(source.REGRADED_WITHOUT_DATE),
    Change(source.MARKS_AMENDED),
    Change(source.MARKS_MOVED),
    Change(combined(source.MARKS_MOVED, source.MARKS_AMENDED)),
    Change(source.MODIFIED_LATER),
    Change(source.UNUSED_VALUES),
    Change(source.NOTES_CHANGED),
    Change(source.MALPRACTICE_IMPOSED),
    Change(source.MALPRACTICE_IMPOSED, platform.RULE_ENTERED),
    Change(source.GRADE_MISSED),
    Change(source.REPORT_GONE),
    Change(source.ROW_GONE),
    Change(source.COMMENTED),
    Change(source.SCORE_AMENDED),
    Change(source.SCORE_ADDED),
    Change(source.SCORE_REMOVED),
    Change(combined(source.SCORE_REMOVED, source.SCORE_ADDED)),
    Change(source.EMAIL_CORRECTED),
    Change(source.SURNAME_CORRECTED, count=2),
    Change(source.TITLE_CORRECTED),
    Change(source.LEARNER_FILE_ADDED),
    Change(source.FEEDBACK_ADDED),
    Change(source.FILE_RENAMED),
    Change(combined(source.REGRADED, source.COMMENTED, source.SCORE_ADDED)),
    Change(combined(source.SURNAME_CORRECTED, source.MALPRACTICE_IMPOSED)),
    Change(combined(source.REGRADED, source.LEARNER_FILE_ADDED)),
    Change(combined(source.EMAIL_CORRECTED, source.SURNAME_CORRECTED, source.REGRADED)),
    Change(None, platform.MARK_AMENDED),
    Change(None, platform.FIRST_MARK_DELETED),
    Change(None, platform.LAST_MARK_DELETED),
    Change(None, platform.ONLY_MARK_DELETED),
    Change(None, platform.MARK_ADDED),
    Change(None, platform.NOTE_ADDED),
    Change(None, platform.MARKING_NOTE),
    Change(None, platform.FILE_MOVED),
    Change(None, platform.WORDS_COUNTED),
    Change(None, platform.RULE_ENTERED),
    Change(source.REGRADED, platform.MARK_AMENDED),
    Change(source.REGRADED_WITHOUT_DATE, platform.MARKING_NOTE),
    Change(source.EMAIL_CORRECTED, platform.NOTE_ADDED),
    Change(source.SCORE_ADDED, platform.MARK_ADDED),
    Change(source.SCORE_REMOVED, platform.LAST_MARK_DELETED),
    Change(source.COMMENTED, platform.FILE_MOVED),
    Change(source.REGRADED, platform.WORDS_COUNTED),
    Change(source.LEARNER_FILE_ADDED, platform.NOTE_ADDED),
    Change(source.REPORT_GONE, platform.NOTE_ADDED),
    Change(source.ROW_GONE, platform.MARK_AMENDED),
)
"""The changes of a data set, the rarest first. A large one has each of them up to four times."""


@dataclass(frozen=True, slots=True)
class ChangedSubmission:
    """A changed submission. ``after`` is None if a first run would not migrate it any more."""

    attempt: int
    change: Change
    effect: SourceEffect
    before: ExpectedSubmission
    after: ExpectedSubmission | None

    @property
    def answer(self) -> KnownAnswer:
        """The known answer."""
        return known_answer(self.effect, self.change.platform)


@dataclass(frozen=True, slots=True)
class ChangedDataset:
    """A data set before and after its changes.

    ``before`` has been migrated. The expected results of ``after`` are those of a first run with
    the changed source. ``changed`` has the changed submissions by attempt.
    """

    before: Dataset
    after: Dataset
    changed: dict[int, ChangedSubmission]

    def refreshed(self) -> dict[int, ExpectedSubmission]:
        """The submissions that a run with refresh rewrites, by attempt, with their new rows."""
        return {
            each.attempt: each.after
            for each in self.changed.values()
            if each.answer.outcome is Outcome.REFRESHED and each.after is not None
        }

    def outcomes(self) -> Iterator[tuple[int | None, str]]:
        """Attempt and outcome or code of each row of the changed submission_files.csv."""
        migrated = {submission.attempt for submission in self.before.submissions()}
        for case, row in zip(self.after.cases, self.after.expected, strict=True):
            if row.attempt is None or row.attempt not in migrated or case.csv_only:
                yield row.attempt, str(row.code)
            elif row.attempt in self.changed:
                yield row.attempt, self.changed[row.attempt].answer.outcome
            else:
                yield row.attempt, Outcome.ALREADY_MIGRATED

    def counts(self) -> Counter[str]:
        """The number of rows by outcome or code in a run with refresh."""
        return Counter(outcome for _attempt, outcome in self.outcomes())

    def platform_changes(self) -> list[tuple[int, PlatformChange]]:
        """The platform's changes by attempt, in the order of the attempts."""
        return [
            (attempt, each.change.platform)
            for attempt, each in sorted(self.changed.items())
            if each.change.platform is not None
        ]


def change(dataset: Dataset, seed: int) -> ChangedDataset:
    """Change some of the migrated submissions; the same seed gives the same changes."""
    builder = DatasetBuilder(seed + 1, dataset.azure_base, _NO_SCRIPTED_SOURCE, dataset.lms)
    chosen = _choose(dataset, random.Random(f"changes {seed}"))
    cases: list[SubmissionCase] = []
    gone: list[SubmissionCase] = []
    for case in dataset.cases:
        made = case if case.csv_only else _changed(case, chosen.get(case.attempt), builder)
        is_gone = case.attempt in chosen and _row_is_gone(chosen[case.attempt])
        (gone if is_gone else cases).append(made)
    after = dataset.with_cases(cases, [*dataset.unrelated, *gone])
    old = {submission.attempt: submission for submission in dataset.submissions()}
    new = {submission.attempt: submission for submission in after.submissions()}
    changed = {
        case.attempt: ChangedSubmission(
            case.attempt,
            chosen[case.attempt],
            _effect(case, chosen[case.attempt], old[case.attempt], new.get(case.attempt)),
            old[case.attempt],
            new.get(case.attempt),
        )
        for case in [*cases, *gone]
        if case.attempt in chosen and not case.csv_only
    }
    return ChangedDataset(dataset, after, changed)


def _changed(
    case: SubmissionCase, chosen: Change | None, builder: DatasetBuilder
) -> SubmissionCase:
    if chosen is None or chosen.source is None:
        return case
    made = copy.deepcopy(case)
    chosen.source.apply(made, builder)
    return made


def _row_is_gone(chosen: Change) -> bool:
    return chosen.source is not None and chosen.source.row_gone


def _effect(
    case: SubmissionCase,
    chosen: Change,
    before: ExpectedSubmission,
    after: ExpectedSubmission | None,
) -> SourceEffect:
    if _row_is_gone(chosen) or not case.report_variations:
        return SourceEffect.GONE
    return SourceEffect.FAILS if after is None else effect_of(before, after)


def _choose(dataset: Dataset, rng: random.Random) -> dict[int, Change]:
    """The changes by attempt. Nothing else of the key of an appeal's malpractice rule changes."""
    free = {case.attempt: case for case in dataset.cases if case.status is Status.MIGRATED}
    turns = min(max(1, len(free) // _SUBMISSIONS_PER_TURN), _MAX_TURNS)
    rows = Counter(case.attempt for case in dataset.cases)
    keys = {submission.attempt: submission.malpractice_key for submission in dataset.submissions()}
    alone = _alone_with_their_rule(dataset)
    chosen: dict[int, Change] = {}
    for planned in CHANGES:
        attempts = [
            attempt
            for attempt, case in free.items()
            if planned.applies_to(case)
            and not (_row_is_gone(planned) and rows[attempt] > 1)
            and not (_is_appeal(planned) and attempt not in alone)
        ]
        for attempt in rng.sample(attempts, min(planned.count * turns, len(attempts))):
            chosen[attempt] = planned
            del free[attempt]
            if _is_appeal(planned):
                free = {each: case for each, case in free.items() if keys[each] != keys[attempt]}
    return chosen


def _alone_with_their_rule(dataset: Dataset) -> set[int]:
    """The submissions with malpractice whose key has no other submission and no other rule."""
    found = [each for each in dataset.submissions() if each.malpractice_rule() is not None]
    sharing = Counter(submission.malpractice_key for submission in found)
    rules = dataset.expected_malpractice_rules
    return {
        submission.attempt
        for submission in found
        if sharing[submission.malpractice_key] == 1
        and [rule.attempt for rule in rules[submission.malpractice_key]] == [submission.attempt]
    }


def _is_appeal(planned: Change) -> bool:
    return planned.platform is not None and planned.platform.touched is Touched.ITS_RULE
