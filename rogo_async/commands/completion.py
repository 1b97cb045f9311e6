"""How much of the input is migrated, for the command ``status`` (specification §5)."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyroaring import BitMap

from rogo_async.common.data_dir import ACCEPTED, MAPPING, SUBMISSIONS, DataDir
from rogo_async.common.errors import SkipCode
from rogo_async.common.settings import Settings
from rogo_async.common.text import plural
from rogo_async.reporting.failed_rows import read_failed_rows
from rogo_async.reporting.progress import Stages
from rogo_async.rules.records import Outcome, Status, Submission
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from rogo_async.sources.accepted_failures import AcceptedFailures, read_accepted_failures
from rogo_async.sources.submissions_csv import open_inputs


@dataclass(slots=True)
class Completion:
    """The rows of the input by their state. Each row counts once."""

    rows: int = 0
    migrated: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    not_tried: int = 0

    def facts(self) -> dict[str, Any]:
        """The fields of the JSON output."""
        return {
            "rows": self.rows,
            "migrated": self.migrated,
            "failed": dict(sorted(self.failed.items())),
            "failed_accepted": dict(sorted(self.accepted.items())),
            "skipped": dict(sorted(self.skipped.items())),
            "not_tried": self.not_tried,
            "done": self.is_done,
        }

    @property
    def is_done(self) -> bool:
        """Whether no row is left to migrate or to mend."""
        return not self.not_tried and not self.failed.total()

    def lines(self) -> Iterator[str]:
        """The lines for the operator; the last one says what is left."""
        # Tenths are cut off: 100.0 % means every row.
        percent = self.migrated * 1000 // max(self.rows, 1) / 10
        yield f"input: {plural(self.rows, 'row')} in {SUBMISSIONS}"
        yield f"  {self.migrated:,} in the target ({percent:.1f} %)"
        yield f"  {self.failed.total():,} failed{_codes(self.failed)}"
        if self.accepted:
            yield f"  {self.accepted.total():,} failed and accepted{_codes(self.accepted)}"
        yield f"  {self.skipped.total():,} skipped by the rules{_codes(self.skipped)}"
        yield f"  {self.not_tried:,} not tried yet"
        if self.is_done:
            yield "done: no row of the input is left"
        else:
            yield f"left: {self.failed.total():,} failed, {self.not_tried:,} not tried yet"


def _codes(counts: Counter[str]) -> str:
    named = ", ".join(f"{code} {count:,}" for code, count in sorted(counts.items()))
    return f" ({named})" if named else ""


async def read_completion(
    settings: Settings, existing: MigratedAttempts, stages: Stages
) -> Completion:
    """Count the rows of the input by their state.

    Raises SetupError for an unusable input, InputChanged, OSError, ValueError and csv.Error.
    """
    data = DataDir(settings.rogo_data_dir)
    async with stages.stage("reading the failed rows of earlier runs", "rows") as stage:
        failures = await asyncio.to_thread(_known_failures, data.failed_rows_files(), stage.add)
        accepted = await asyncio.to_thread(read_accepted_failures, data.path / ACCEPTED)
    path = data.path / SUBMISSIONS
    size_bytes = path.stat().st_size if path.is_file() else None
    async with stages.stage(f"reading {path.name}", "bytes", size_bytes) as stage:
        file, mapping = await open_inputs(path, data.path / MAPPING, stage.set_done)
    try:
        row_filter = RowFilter(mapping.get, existing, settings.rogo_version_prefixes)
        completion = Completion()
        async with stages.stage("counting the rows", "rows", len(file)) as stage:
            async for rows in file.chunks_from_end():
                for row in rows:
                    _count(completion, row_filter.apply(row), failures, accepted)
                stage.add(len(rows))
        return completion
    finally:
        file.close()


def _known_failures(files: list[Path], on_rows: Callable[[int], object]) -> dict[str, BitMap]:
    """The attempts by the code of their latest known failure."""
    seen, by_code = BitMap(), dict[str, BitMap]()
    for file in files:
        for row in read_failed_rows(file):
            on_rows(1)
            if row.attempt is not None and row.attempt not in seen:
                seen.add(row.attempt)
                by_code.setdefault(row.code, BitMap()).add(row.attempt)
    return by_code


def _count(
    completion: Completion,
    found: Outcome | Submission,
    failures: dict[str, BitMap],
    accepted: AcceptedFailures,
) -> None:
    completion.rows += 1
    if isinstance(found, Outcome) and found.status is Status.SKIPPED:
        if found.code is SkipCode.ALREADY_MIGRATED:
            completion.migrated += 1
        else:
            completion.skipped[str(found.code)] += 1
        return
    if isinstance(found, Outcome):
        code: str | None = str(found.code)
    else:
        code = next((c for c, attempts in failures.items() if found.attempt in attempts), None)
    if code is None:
        completion.not_tried += 1
    elif accepted.has(found.attempt, code):
        completion.accepted[code] += 1
    else:
        completion.failed[code] += 1
