"""Every row has exactly one outcome, and it is on disk (invariant 1).

The whole pipeline of a run on real files; warehouse, handler and sources are the test's own.
"""

import asyncio
import csv
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import pytest

from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import Dependency, FailureCode, RowError, TransientError
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal
from rogo_async.pipeline.failed_rows_file import PLAIN, FailedRowsWriter
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.pipeline.pipeline import Inputs, Pipeline
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.writer import MIGRATED_COLUMNS, CsvResultWriter
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.summary import RunRecord
from rogo_async.rules.records import MigratedLine, Outcome, Status, Submission, WarehouseRows
from rogo_async.rules.row_filter import MigratedAttempts
from rogo_async.sources.accepted_failures import AcceptedFailures
from rogo_async.sources.http_files import Sources
from rogo_async.sources.warehouse.reader import CHUNK_ATTEMPTS, Warehouse
from tests.support.builders import COLUMNS, MAPPING_COLUMNS
from tests.unit.rules.builders import a_report

DEADLINE_S = 60.0
LookUp = Callable[[Sequence[int]], Awaitable[dict[int, WarehouseRows]]]
Handler = Callable[[Submission], Awaitable[Outcome]]


async def own_rows(attempts: Sequence[int]) -> dict[int, WarehouseRows]:
    """A report for each attempt but those that end with 0, which have none."""
    return {n: WarehouseRows((a_report(attempt=n),)) for n in attempts if n % 10}


async def migrate(submission: Submission) -> Outcome:
    """Fails the submissions without a report; the others must have their own."""
    attempt = submission.attempt
    if not submission.warehouse_rows.reports:
        missing = RowError(FailureCode.REPORT_MISSING, "none")
        return Outcome.failed(submission.row, attempt, missing)
    assert [each.attempt for each in submission.warehouse_rows.reports] == [attempt]
    line = MigratedLine(attempt, f"rogo_{attempt}_x", "s", "r", "u", "c")
    return Outcome(submission.row, Status.MIGRATED, attempt, migrated_line=line)


class Night:
    """A run over ``rows`` rows; the two oldest of them are a duplicate and an unmapped one."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.new = range(1, rows - 1)
        self.stop_signal = StopSignal()
        self.record = RunRecord.begin(new_run_id(), 3)
        attempts = [len(self.new), rows + 9, *self.new]
        self._write("submission_files.csv", COLUMNS, [self._line(n) for n in attempts])
        mapping = [[n, "U", "24_01", "A", "Attempt 1"] for n in self.new]
        self._write("attempt_number_mapping.csv", MAPPING_COLUMNS, mapping)

    async def run(self, look_up: LookUp = own_rows, handler: Handler = migrate) -> None:
        record, stop_signal = self.record, self.stop_signal
        settings = Settings.model_construct(
            rogo_concurrency=3, rogo_version_prefixes=("24",), rogo_progress_interval=60.0
        )
        async with asyncio.timeout(DEADLINE_S), AsyncExitStack() as stack:
            stages = Stages(None, 60.0)
            file, mapping = await open_selection(Selection(), self.folder, stack, stages)
            record.tally.total = len(file)
            migrated = AppendFile(self.folder / "migrated.csv")
            failed = FailedRowsWriter(self.folder / "failed.csv", PLAIN)
            await migrated.open(MIGRATED_COLUMNS)
            stack.push_async_callback(migrated.close)
            await failed.open(file.columns)
            stack.push_async_callback(failed.close)
            known = KnownFailures()
            writer = CsvResultWriter(
                migrated, failed, record.tally, known, AcceptedFailures(), stop_signal, 0.01
            )
            servers = _Servers(look_up)
            pipeline = Pipeline(settings, stop_signal, record, None)
            inputs = Inputs(file, mapping, MigratedAttempts(), MigratedAttempts().migrated)
            warehouse, sources = cast("Warehouse", servers), cast("Sources", servers)
            await pipeline.run(inputs, warehouse, sources, handler, writer)

    def outcomes(self) -> Counter[str]:
        """The attempts of both files, with how often they are there."""
        found: Counter[str] = Counter()
        for name in ("migrated.csv", "failed.csv"):
            with (self.folder / name).open(encoding="utf-8", newline="") as file:
                found.update(row["Attempt ID"] for row in csv.DictReader(file, strict=True))
        return found

    @property
    def exit_code(self) -> ExitCode:
        return self.stop_signal.exit_code(0)

    @property
    def not_processed(self) -> int:
        return self.record.tally.total - self.record.tally.done

    def _line(self, attempt: int) -> list[str]:
        cells = {"Attempt ID": str(attempt), "Learner Email": "a@b.example"}
        return [cells.get(name, "") for name in COLUMNS]

    def _write(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        with (self.folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])


class _Servers:
    """A warehouse; and sources, of which only the method that is called here."""

    def __init__(self, look_up: LookUp) -> None:
        self.look_up = look_up

    def trip_host(self, _: str) -> None: ...


@pytest.mark.parametrize("new", [1, CHUNK_ATTEMPTS - 1, CHUNK_ATTEMPTS, CHUNK_ATTEMPTS + 1, 777])
async def test_every_row_has_one_outcome_on_disk(tmp_path: Path, new: int) -> None:
    night = Night(tmp_path, new + 2)
    await night.run()
    assert night.outcomes() == Counter(map(str, [*night.new, new + 11]))
    tally = night.record.tally
    assert (tally.total, night.not_processed) == (new + 2, 0)
    assert tally.by_status[Status.SKIPPED] == 1
    assert tally.by_code == {
        "duplicate_row": 1,
        "mapping_missing": 1,
        **({"report_missing": new // 10} if new >= 10 else {}),
    }
    assert night.exit_code is ExitCode.DONE


async def test_rows_whose_lookup_failed_are_not_processed(tmp_path: Path) -> None:
    """They do not fail for it, as they would without a report (invariant 6)."""
    night = Night(tmp_path, 2 * CHUNK_ATTEMPTS + 12)
    refused: list[int] = []

    async def look_up(attempts: Sequence[int]) -> dict[int, WarehouseRows]:
        if CHUNK_ATTEMPTS in attempts:
            refused.extend(attempts)
            raise TransientError(Dependency.WAREHOUSE, "reports", "no answer in time")
        return await own_rows(attempts)

    await night.run(look_up)
    assert len(refused) == CHUNK_ATTEMPTS
    expected = {str(n) for n in night.new} - {str(n) for n in refused}
    assert night.outcomes() == Counter([*expected, str(night.record.tally.total + 9)])
    assert night.not_processed == night.stop_signal.unresolved == CHUNK_ATTEMPTS
    assert night.exit_code is ExitCode.STOPPED_EARLY


async def test_an_input_that_changes_stops_the_run(tmp_path: Path) -> None:
    night = Night(tmp_path, 8 * CHUNK_ATTEMPTS)

    async def look_up(attempts: Sequence[int]) -> dict[int, WarehouseRows]:
        with (tmp_path / "submission_files.csv").open("a") as file:
            file.write("\n")
        return await own_rows(attempts)

    await night.run(look_up)
    assert list(night.stop_signal.reasons) == [StopReason.INPUT_CHANGED]
    assert set(night.outcomes().values()) <= {1}
    assert night.not_processed


async def test_a_producer_that_fails_stops_the_run(tmp_path: Path) -> None:
    night = Night(tmp_path, 20)

    async def look_up(attempts: Sequence[int]) -> dict[int, WarehouseRows]:
        raise KeyError(attempts[0])

    await night.run(look_up)
    assert list(night.stop_signal.reasons) == [StopReason.FAULT]
    assert night.exit_code is ExitCode.INTERNAL
    assert night.not_processed == len(night.new)


async def test_a_writer_that_fails_stops_the_run(tmp_path: Path) -> None:
    """A row that cannot be written as text is not lost without a word."""
    night = Night(tmp_path, 20)

    async def handler(submission: Submission) -> Outcome:
        error = RowError(FailureCode.REPORT_MISSING, "a lone surrogate: \ud800")
        return Outcome.failed(submission.row, submission.attempt, error)

    await night.run(handler=handler)
    assert list(night.stop_signal.reasons) == [StopReason.FAULT]
    assert night.exit_code is ExitCode.INTERNAL


async def test_what_was_finished_before_a_stop_is_on_disk(tmp_path: Path) -> None:
    night = Night(tmp_path, 3 * CHUNK_ATTEMPTS)
    finished: list[int] = []

    async def handler(submission: Submission) -> Outcome:
        if len(finished) == 40:
            night.stop_signal.stop(StopReason.SIGTERM, "terminated")
        outcome = await migrate(submission)
        finished.append(submission.attempt)
        return outcome

    await night.run(handler=handler)
    on_disk = night.outcomes()
    assert set(on_disk.values()) == {1}
    assert {str(n) for n in finished} == set(on_disk) - {str(night.record.tally.total + 9)}
    assert night.record.tally.done + night.not_processed == night.record.tally.total
    assert night.exit_code is ExitCode.TERMINATED
