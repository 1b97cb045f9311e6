"""Compares migrated submissions with their source, one chunk at a time (specification §5).

The rules of a run are applied again to the row and its warehouse rows.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rogo_async.common.errors import RowError, RowSkip
from rogo_async.common.settings import Settings
from rogo_async.destination.postgres.existing_rows import ExistingSubmission
from rogo_async.destination.postgres.reconciler import Compared, Reconciler
from rogo_async.destination.postgres.unchanged_rows import Page
from rogo_async.rules.mapping import complete_row
from rogo_async.rules.matching import Reference
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import (
    MappingRow,
    PreparedSubmission,
    SourceRow,
    Submission,
    WarehouseRows,
)

LookUp = Callable[[Sequence[int]], Awaitable[Mapping[int, WarehouseRows]]]
Sizes = Mapping[int, Mapping[str, int]]
"""Bytes of blobs by attempt and name."""


@dataclass(frozen=True, slots=True)
class PreparedChunk:
    """The submissions of a chunk, by attempt. ``broken``: those that fail rules 4 to 14."""

    submissions: Mapping[int, Submission]
    prepared: Mapping[int, PreparedSubmission]
    broken: Mapping[int, RowError | RowSkip]


@dataclass(frozen=True, slots=True)
class ComparedChunk:
    """The result for each attempt of a chunk.

    ``broken``: the source no longer passes the rules. An attempt without a result is not in the
    target, or another tool wrote it.
    """

    compared: Mapping[int, Compared]
    broken: Mapping[int, RowError | RowSkip]


async def no_sizes(_existing: Mapping[int, ExistingSubmission]) -> Sizes:
    """For a comparison that takes the sizes in the target as right."""
    return {}


class SourceComparison:
    """Applies rules 4 to 14 to rows of migrated attempts and compares the result."""

    def __init__(
        self,
        settings: Settings,
        mapping_row: Callable[[int], MappingRow | None],
        reference: Reference,
        look_up: LookUp,
        reconciler: Reconciler,
    ) -> None:
        self._settings = settings
        self._mapping_row = mapping_row
        self._reference = reference
        self._look_up = look_up
        self._reconciler = reconciler

    async def prepare(self, rows: Mapping[int, SourceRow]) -> PreparedChunk:
        """Apply the rules to up to 250 rows, by attempt. Raises RunStopped, DependencyErrors."""
        broken: dict[int, RowError | RowSkip] = {}
        submissions = await self._submissions(rows, broken)
        prepared: dict[int, PreparedSubmission] = {}
        for attempt, submission in submissions.items():
            try:
                prepared[attempt] = prepare(
                    submission,
                    self._reference,
                    self._settings.allow_list,
                    self._settings.rogo_ambiguous_reports,
                )
            except RowError as error:
                broken[attempt] = error
        return PreparedChunk(submissions, prepared, broken)

    def page(self, attempts: Sequence[int]) -> Page:
        """What finds the submissions of some chunks in the target."""
        return Page(self._reconciler.unchanged, attempts)

    async def changed(self, chunk: PreparedChunk, page: Page) -> PreparedChunk:
        """The submissions whose rows may be others than a migration would write now.

        Raises RunStopped and DependencyErrors.
        """
        unchanged = await self._reconciler.unchanged.find(chunk.prepared, await page.heads())
        left = {a: each for a, each in chunk.prepared.items() if a not in unchanged}
        return PreparedChunk(chunk.submissions, left, {})

    async def compare(
        self,
        chunk: PreparedChunk,
        sizes: Callable[[Mapping[int, ExistingSubmission]], Awaitable[Sizes]] = no_sizes,
    ) -> ComparedChunk:
        """Compare the rows in the target. Raises RunStopped and DependencyErrors."""
        existing = await self._reconciler.existing([*chunk.prepared, *chunk.broken])
        compared = await self._reconciler.compare(existing, chunk.prepared, await sizes(existing))
        in_target = {
            attempt: error for attempt, error in chunk.broken.items() if attempt in existing
        }
        return ComparedChunk(compared, in_target)

    async def _submissions(
        self, rows: Mapping[int, SourceRow], broken: dict[int, RowError | RowSkip]
    ) -> dict[int, Submission]:
        """The submissions that pass rules 4 to 7, with their warehouse rows."""
        found: dict[int, Submission] = {}
        for attempt, row in rows.items():
            try:
                prefixes = self._settings.rogo_version_prefixes
                found[attempt] = complete_row(row, attempt, self._mapping_row(attempt), prefixes)
            except (RowError, RowSkip) as error:
                broken[attempt] = error
        warehouse_rows = await self._look_up([*found]) if found else {}
        return {
            attempt: with_warehouse_rows(submission, warehouse_rows)
            for attempt, submission in found.items()
        }


def with_warehouse_rows(submission: Submission, rows: Mapping[int, WarehouseRows]) -> Submission:
    """The submission with the rows of its attempt; without any if there are none."""
    return replace(submission, warehouse_rows=rows.get(submission.attempt, WarehouseRows()))
