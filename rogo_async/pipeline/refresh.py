"""Refreshes submissions that are in the target already (specification §5, ``run --refresh``).

The producer hands over the rows of migrated attempts. Those whose source has changed since go to
the consumers, which write them again. All others keep their outcome ``already_migrated``, or get a
reason why they are not refreshed.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from rogo_async.common.errors import RowError, RowSkip, SkipCode
from rogo_async.destination.postgres.reconciler import Compared
from rogo_async.destination.postgres.reconciliation import SourceVerdict
from rogo_async.destination.postgres.refresh import Refresher, RefreshResult
from rogo_async.destination.postgres.unchanged_rows import Page
from rogo_async.pipeline.forbidden_rows import ForbiddenRow
from rogo_async.pipeline.source_comparison import SourceComparison
from rogo_async.rules.records import Outcome, SourceRow, Status, Submission
from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS

Migrate = Callable[[Submission], Awaitable[Outcome | ForbiddenRow]]

PAGE_ATTEMPTS: Final = 2_000
"""Migrated attempts that are found by one scan of the target."""

_PLATFORM: Final = frozenset({SourceVerdict.CHANGED_ON_PLATFORM, SourceVerdict.BOTH_CHANGED})


@dataclass(frozen=True, slots=True)
class StaleSubmission(Submission):
    """A submission in the target whose source has changed."""

    compared: Compared | None = None


class Chunk(NamedTuple):
    """Rows that are settled together: how many, and what gives their outcomes or submissions.

    The work raises RunStopped and DependencyErrors.
    """

    rows: int
    work: Coroutine[Any, Any, list[Outcome | Submission]]


class ExistingRows(Protocol):
    """What a run does with the rows of attempts that are in the target."""

    def takes(self, outcome: Outcome) -> bool:
        """Whether the outcome of rules 0 to 7 is not final."""

    def chunks(self, outcomes: Sequence[Outcome]) -> Iterator[Chunk]:
        """The work for up to ``PAGE_ATTEMPTS`` rows, in chunks."""


class KeepExisting:
    """Skips them: ``already_migrated``."""

    def takes(self, outcome: Outcome) -> bool:  # noqa: ARG002 - every outcome is final
        """No outcome."""
        return False

    def chunks(self, outcomes: Sequence[Outcome]) -> Iterator[Chunk]:
        """The outcomes as they are."""
        yield Chunk(len(outcomes), _as_they_are(outcomes))


async def _as_they_are(outcomes: Sequence[Outcome]) -> list[Outcome | Submission]:
    return list(outcomes)


class RefreshExisting:
    """Compares them with their source."""

    def __init__(self, comparison: SourceComparison) -> None:
        self._comparison = comparison

    def takes(self, outcome: Outcome) -> bool:
        """The rows of migrated attempts."""
        return outcome.code is SkipCode.ALREADY_MIGRATED

    def chunks(self, outcomes: Sequence[Outcome]) -> Iterator[Chunk]:
        """Compare the rows, some hundred at a time."""
        attempts = [each.attempt for each in outcomes if each.attempt is not None]
        page = self._comparison.page(attempts)
        for begin in range(0, len(outcomes), CHUNK_ATTEMPTS):
            chunk = outcomes[begin : begin + CHUNK_ATTEMPTS]
            yield Chunk(len(chunk), self._settle(chunk, page))

    async def _settle(self, outcomes: Sequence[Outcome], page: Page) -> list[Outcome | Submission]:
        heads = await page.heads()
        rows = {
            each.attempt: each.row
            for each in outcomes
            if each.attempt is not None and each.attempt in heads
        }
        prepared = await self._comparison.prepare(rows)
        changed = await self._comparison.changed(prepared, page)
        if not changed.prepared:
            return list(outcomes)
        compared = (await self._comparison.compare(changed)).compared
        settled: list[Outcome | Submission] = []
        for outcome in outcomes:
            attempt = outcome.attempt or 0
            found = compared.get(attempt)
            settled.append(
                outcome
                if found is None
                else _settled(outcome, found, prepared.submissions[attempt])
            )
        return settled


def _settled(outcome: Outcome, found: Compared, submission: Submission) -> Outcome | Submission:
    reconciled, attempt = found.reconciled, found.attempt
    if any(each.verdict in _PLATFORM for each in reconciled.differences):
        return _changed_on_platform(outcome.row, attempt)
    if reconciled.files_changed:
        text = "the source has other files now; a refresh copies no files"
        return Outcome.skipped(outcome.row, attempt, RowSkip(SkipCode.FILES_CHANGED, text))
    if not reconciled.is_stale:
        return outcome
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
