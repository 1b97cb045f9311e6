"""``verify --source``: compares the verified submissions with their source (specification §5)."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson
import structlog
from pyroaring import BitMap

from rogo_async.common.errors import Dependency, DependencyError, FailureCode, RowError, SkipCode
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopSignal
from rogo_async.common.text import plural
from rogo_async.destination.blobs.account import Account
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.existing_rows import FILES, SUBMISSIONS, ExistingSubmission
from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.destination.postgres.reconciliation import Difference, SourceVerdict
from rogo_async.destination.postgres.reference_data import read_reference_data
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.services import ServiceFactory, open_reconciler
from rogo_async.pipeline.source_comparison import Sizes, SourceComparison
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.verification import SourceDifferences
from rogo_async.rules.records import Outcome, SourceRow
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from rogo_async.sources.mapping_csv import Mapping as AttemptMapping
from rogo_async.sources.submissions_csv import SubmissionsFile
from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS

log = structlog.get_logger()

ERRORS: Final = frozenset({SourceVerdict.UNEXPLAINED, SourceVerdict.BOTH_CHANGED})
"""The verdicts that make the exit code 1."""

Report = Callable[[int, ExistingSubmission | None, Sequence[Difference]], None]
"""Receives an attempt, its rows in the target as far as they are known, and its differences."""


@dataclass(slots=True)
class SourceCounts:
    """The counts so far. A submission with several verdicts counts once for each."""

    compared: int = 0
    differing: int = 0
    wrong: int = 0
    """Submissions with a verdict of ``ERRORS``."""
    by_verdict: Counter[str] = field(default_factory=Counter)
    by_column: Counter[str] = field(default_factory=Counter)
    """Differences by ``table.column``."""

    def add(self, differences: Sequence[Difference]) -> None:
        """Count a compared submission."""
        self.compared += 1
        verdicts = {each.verdict for each in differences}
        self.differing += bool(verdicts)
        self.wrong += bool(verdicts & ERRORS)
        self.by_verdict.update(verdict.value for verdict in verdicts)
        self.by_column.update(f"{each.table}.{each.column}" for each in differences)

    def text(self) -> str:
        """The counts, for the summary line."""
        verdicts = [f"{count:,} {name}" for name, count in sorted(self.by_verdict.items())]
        most = self.by_column.most_common(_COLUMNS)
        columns = [f"{name} {count:,}" for name, count in most]
        if len(self.by_column) > len(most):
            columns.append(f"{plural(len(self.by_column) - len(most), 'more column')}")
        parts = [f"{plural(self.compared, 'submission')} compared with the source"]
        parts.append(f"{self.differing:,} differ")
        if verdicts:
            parts[-1] += f" ({', '.join(verdicts)})"
            parts.append(f"columns: {', '.join(columns)}")
        return "; ".join(parts)

    def record(self) -> SourceDifferences:
        """The counts, for ``--json`` and the report."""
        return SourceDifferences(
            compared=self.compared,
            differing=self.differing,
            by_verdict=dict(sorted(self.by_verdict.items())),
            by_column=dict(sorted(self.by_column.items())),
        )


_COLUMNS: Final = 5


class SourceVerification:
    """Compares the submissions of some attempts with their rows in the input and the warehouse."""

    def __init__(
        self,
        settings: Settings,
        data_dir: Path,
        inventory: Inventory,
        stages: Stages,
        stop_signal: StopSignal,
        report: Report,
    ) -> None:
        self.counts = SourceCounts()
        self._settings = settings
        self._data_dir = data_dir
        self._inventory = inventory
        self._stages = stages
        self._stop_signal = stop_signal
        self._report = report
        self._done = 0

    async def run(
        self,
        factory: ServiceFactory,
        connections: Connections,
        account: Account,
        stack: AsyncExitStack,
        attempts: BitMap,
        write: Callable[[], Awaitable[None]],
    ) -> None:
        """Compare these attempts, some hundred at a time; ``write`` puts each chunk on disk."""
        file, mapping = await open_selection(Selection(), self._data_dir, stack, self._stages)
        comparison = await self._comparison(factory, connections, account, mapping)
        unseen = attempts.copy()
        async with self._stages.stage(
            "comparing with the source",
            "submissions",
            len(attempts),
            count=lambda: self.counts.compared,
            facts=lambda: {"differing": self.counts.differing},
        ):
            async for rows in self._chunks(file, mapping, attempts):
                unseen -= BitMap(rows)
                await self._compare(comparison, rows)
                await write()
            for attempt in unseen:
                self._add(attempt, None, [_gone("no row in submission_files.csv")])
            await write()

    async def _comparison(
        self,
        factory: ServiceFactory,
        connections: Connections,
        account: Account,
        mapping: AttemptMapping,
    ) -> SourceComparison:
        settings, runs = self._settings, self._data_dir / "runs"
        user_id = settings.rogo_migration_user_id
        reference = await factory.with_retry(lambda: read_reference_data(connections, user_id))
        warehouse = await factory.warehouse()
        own = Journal(journal_path(runs, "verify"))  # nothing is written to it
        journals = await asyncio.to_thread(Journals.read, runs, own)
        breaker = factory.breaker(Dependency.TARGET, connections.probe)
        reconciler = open_reconciler(
            settings, connections, breaker, account, reference.applied_by, journals
        )
        return SourceComparison(
            settings, mapping.get, reference.matching, warehouse.look_up, reconciler
        )

    async def _chunks(
        self, file: SubmissionsFile, mapping: AttemptMapping, attempts: BitMap
    ) -> AsyncIterator[dict[int, SourceRow]]:
        """The newest row of each of these attempts, some hundred at a time."""
        existing = MigratedAttempts(migrated=attempts)
        row_filter = RowFilter(mapping.get, existing, self._settings.rogo_version_prefixes)
        waiting: dict[int, SourceRow] = {}
        async for rows in file.chunks_from_end():
            for row in rows:
                result = row_filter.apply(row)
                attempt = result.attempt
                # An older row of the attempt is a duplicate_row.
                if (
                    isinstance(result, Outcome)
                    and attempt is not None
                    and result.code is SkipCode.ALREADY_MIGRATED
                ):
                    waiting[attempt] = row
                if len(waiting) == CHUNK_ATTEMPTS:
                    yield waiting
                    waiting = {}
        if waiting:
            yield waiting

    async def _compare(self, comparison: SourceComparison, rows: Mapping[int, SourceRow]) -> None:
        try:
            chunk = await comparison.compare(await comparison.prepare(rows), self._sizes)
        except DependencyError as error:
            self._stop_signal.unresolved += len(rows)
            log.error("a chunk of attempts cannot be compared", rows=len(rows), reason=str(error))
            return
        for attempt in rows:
            if (found := chunk.compared.get(attempt)) is not None:
                differences = list(found.reconciled.differences)
                if found.refused:
                    differences.append(_changed(found.refused))
                self._add(attempt, found.existing, differences)
            elif (rule := chunk.broken.get(attempt)) is not None:
                broken = [_broken(rule)] if isinstance(rule, RowError) else []
                self._add(attempt, None, broken)

    def _add(
        self,
        attempt: int,
        existing: ExistingSubmission | None,
        differences: Sequence[Difference],
    ) -> None:
        self.counts.add(differences)
        if differences:
            self._report(attempt, existing, differences)

    async def _sizes(self, existing: Mapping[int, ExistingSubmission]) -> Sizes:
        """The sizes of the blobs where the platform has changed rows that have sizes."""
        sizes: dict[int, Mapping[str, int]] = {}
        for attempt, each in existing.items():
            rows = [*each.of(FILES), *each.of(SUBMISSIONS)]
            if all(row.written_by == each.written_by for row in rows):
                continue
            found: dict[str, int] = {}
            for row in each.of(FILES):
                name = row.content["azure_blob_name"]
                # Without a size the columns count as right; verify itself reports the blob.
                with contextlib.suppress(DependencyError):
                    content = await self._inventory.read(name, whole=False) if name else None
                    if content is not None:
                        found[name] = content.stated_bytes or 0
            sizes[attempt] = found
        return sizes


def _gone(text: str) -> Difference:
    return Difference("", "", SourceVerdict.SOURCE_GONE, None, text)


def _changed(text: str) -> Difference:
    return Difference("", "", SourceVerdict.SOURCE_CHANGED, None, text)


def _broken(error: RowError) -> Difference:
    text = f"{error.code.value}: {error.message}"
    if error.code in {FailureCode.REPORT_MISSING, FailureCode.FILES_MISSING}:
        return _gone(text)
    return _changed(text)


def difference_lines(
    attempt: int,
    launch: str,
    existing: ExistingSubmission | None,
    differences: Sequence[Difference],
) -> Iterator[tuple[object, ...]]:
    """The lines of verification_failures.csv."""
    submission = (existing.submission_id if existing else None) or ""
    for each in differences:
        ids = str(attempt), launch, submission, each.verdict.value
        if each.table:
            values = _shown(each.existing), _shown(each.expected)
            yield *ids, "", each.table, each.column, *values
        else:
            yield *ids, each.expected, "", "", "", ""


def _shown(value: object) -> str:
    """A value of a column; NULL is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()
