"""The progress of a run that is resumed: rate, rows left and time left."""

import asyncio
import csv
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast

import structlog
from pyroaring import BitMap

from rogo_async.common.data_dir import new_run_id
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.pipeline import Inputs, Pipeline
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.writer import ResultWriter
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.summary import RunRecord, Tally
from rogo_async.rules.records import Outcome, Status, Submission, WarehouseRows
from rogo_async.rules.row_filter import MigratedAttempts
from rogo_async.sources.http_files import Sources
from rogo_async.sources.warehouse.reader import Warehouse
from tests.support.builders import COLUMNS, MAPPING_COLUMNS

OLD, NEW, UNMAPPED = 2_000, 1_000, 7
WORKED = 5
ELSEWHERE = BitMap(range(1_000_000, 1_000_500))
"""Attempts in the target that are not in the input."""


class NoRows:
    """A warehouse and sources without content."""

    async def look_up(self, _: Sequence[int]) -> dict[int, WarehouseRows]:
        return {}

    def trip_host(self, _: str) -> None: ...


class Discard(ResultWriter):
    async def write_batch(self, batch: Sequence[Outcome]) -> None: ...


def write_inputs(folder: Path) -> None:
    """Migrated rows, then new ones, then rows that the producer fails at once."""
    attempts = range(1, OLD + NEW + UNMAPPED + 1)
    cells = ({"Attempt ID": str(n), "Learner Email": "a@b.example"} for n in attempts)
    mapping = ([n, "U", "24_01", "A", "Attempt 1"] for n in attempts if n <= OLD + NEW)
    for name, columns, rows in (
        ("submission_files.csv", COLUMNS, ([c.get(x, "") for x in COLUMNS] for c in cells)),
        ("attempt_number_mapping.csv", MAPPING_COLUMNS, mapping),
    ):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])


async def progress_of(folder: Path, selection: Selection) -> dict[str, object]:
    """The progress line after the consumer has finished WORKED rows."""
    write_inputs(folder)
    record, stop_signal = RunRecord.begin(new_run_id(), 1), StopSignal()
    settings = Settings.model_construct(
        rogo_concurrency=1, rogo_version_prefixes=("24",), rogo_progress_interval=0.01
    )
    worked = 0

    async def handler(submission: Submission) -> Outcome:
        nonlocal worked
        worked += 1
        if worked > WORKED:
            await stop_signal.wait()
        return Outcome(submission.row, Status.MIGRATED, submission.attempt)

    async with AsyncExitStack() as stack:
        file, mapping = await open_selection(selection, folder, stack, Stages(None, 60.0))
        record.tally.total = len(file)
        migrated = MigratedAttempts(BitMap(range(1, OLD + 1)) | ELSEWHERE)
        pipeline = Pipeline(settings, stop_signal, record, None)
        inputs = Inputs(file, mapping, migrated, selection.expected_skips(migrated.migrated, file))
        servers = NoRows()
        with structlog.testing.capture_logs() as lines:
            running = asyncio.create_task(
                pipeline.run(
                    inputs,
                    cast("Warehouse", servers),
                    cast("Sources", servers),
                    handler,
                    Discard(Tally(), 60.0),
                ),
                name="pipeline",
            )
            async with asyncio.timeout(30.0):
                while not any(line.get("rate_per_s") and worked > WORKED for line in lines):
                    await asyncio.sleep(0.01)
                told = len(lines)
                while len(lines) <= told:
                    await asyncio.sleep(0.01)
            stop_signal.stop(StopReason.SIGINT, "enough")
            await running
    facts = dict(lines[told])
    facts["metric"] = round(record.rate.per_s(), 1)
    return facts


async def test_rows_that_the_producer_skips_count_neither_as_work_nor_as_left(
    tmp_path: Path,
) -> None:
    facts = await progress_of(tmp_path, Selection())
    assert (facts["total"], facts["failed"]) == (OLD + NEW + UNMAPPED, UNMAPPED)
    assert facts["left"] == NEW - WORKED
    # The consumer finished five rows; the producer's seven are no work.
    assert facts["per_consumer"] == {"min": WORKED, "median": WORKED, "max": WORKED}


async def test_a_selection_expects_no_attempt_of_the_target(tmp_path: Path) -> None:
    facts = await progress_of(tmp_path, Selection(newest=NEW + UNMAPPED))
    assert facts["left"] == NEW - WORKED
