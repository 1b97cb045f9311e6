"""Refreshes submissions that are in the target already (specification §5, ``run --refresh``).

The producer hands over the rows of migrated attempts. Those whose source has changed since go to
the consumers, which write them again. All others keep their outcome ``already_migrated``, or get a
reason why they are not refreshed.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from rogo_async.common.errors import RowError, RowSkip, SkipCode
from rogo_async.destination.postgres.reconciler import Compared
from rogo_async.destination.postgres.reconciliation import SourceVerdict
from rogo_async.destination.postgres.refresh import Refresher, RefreshResult
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.pipeline.source_comparison import ComparedChunk, SourceComparison
from rogo_async.rules.records import Outcome, SourceRow, Status, Submission

Migrate = Callable[[Submission], Awaitable[Outcome | ForbiddenRow]]

_PLATFORM: Final = frozenset({SourceVerdict.CHANGED_ON_PLATFORM, SourceVerdict.BOTH_CHANGED})


@dataclass(frozen=True, slots=True)
class StaleSubmission(Submission):
    """A submission in the target whose source has changed."""

    compared: Compared | None = None


class ExistingRows(Protocol):
    """What a run does with the rows of attempts that are in the target."""

    def takes(self, outcome: Outcome) -> bool:
        """Whether the outcome of rules 0 to 7 is not final."""

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Outcome | Submission]:
        """The final outcome of each row, or what a consumer must do. Raises DependencyErrors."""


class KeepExisting:
    """Skips them: ``already_migrated``."""

    def takes(self, outcome: Outcome) -> bool:  # noqa: ARG002 - every outcome is final
        """No outcome."""
        return False

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Outcome | Submission]:
        """The outcomes as they are."""
        return list(outcomes)


class RefreshExisting:
    """Compares them with their source."""

    def __init__(self, comparison: SourceComparison) -> None:
        self._comparison = comparison

    def takes(self, outcome: Outcome) -> bool:
        """The rows of migrated attempts."""
        return outcome.code is SkipCode.ALREADY_MIGRATED

    async def settle(self, outcomes: Sequence[Outcome]) -> list[Outcome | Submission]:
        """Compare the rows of one chunk."""
        rows = {each.attempt: each.row for each in outcomes if each.attempt is not None}
        chunk = await self._comparison.compare(rows)
        return [_settled(outcome, chunk) for outcome in outcomes]


def _settled(outcome: Outcome, chunk: ComparedChunk) -> Outcome | Submission:
    attempt = outcome.attempt or 0
    found = chunk.compared.get(attempt)
    if found is None:
        return outcome
    reconciled = found.reconciled
    if any(each.verdict in _PLATFORM for each in reconciled.differences):
        return _changed_on_platform(outcome.row, attempt)
    if reconciled.files_changed:
        text = "the source has other files now; a refresh copies no files"
        return Outcome.skipped(outcome.row, attempt, RowSkip(SkipCode.FILES_CHANGED, text))
    if not reconciled.is_stale:
        return outcome
    submission = chunk.submissions[attempt]
    return StaleSubmission(
        submission.row,
        attempt,
        submission.attempt_number,
        submission.version,
        compared=found,
    )


def _changed_on_platform(row: SourceRow, attempt: int) -> Outcome:
    text = "the platform has changed the submission since it was written"
    return Outcome.skipped(row, attempt, RowSkip(SkipCode.CHANGED_ON_PLATFORM, text))


class RefreshingMigrator:
    """Handles a submission: refreshes a stale one, migrates any other."""

    def __init__(self, refresher: Refresher, migrate: Migrate) -> None:
        self._refresher = refresher
        self._migrate = migrate

    async def handle(self, submission: Submission) -> Outcome | ForbiddenRow:
        """The outcome. Raises as ``Migrator.migrate`` does."""
        if not isinstance(submission, StaleSubmission) or submission.compared is None:
            return await self._migrate(submission)
        row, attempt = submission.row, submission.attempt
        try:
            result = await self._refresher.refresh(submission.compared)
        except RowError as error:
            return Outcome.failed(row, attempt, error)
        if result is RefreshResult.CHANGED_ON_PLATFORM:
            return _changed_on_platform(row, attempt)
        if result is RefreshResult.UP_TO_DATE:
            skip = RowSkip(SkipCode.ALREADY_MIGRATED, "another run refreshed this attempt")
            return Outcome.skipped(row, attempt, skip)
        return Outcome(row, Status.REFRESHED, attempt)
