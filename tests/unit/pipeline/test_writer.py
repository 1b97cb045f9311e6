"""The single writer counts exactly the rows that are on disk."""

import asyncio
import csv
import io
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.common.files import AppendFile, csv_of
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.pipeline.failed_rows_file import PLAIN, FailedRowsWriter
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.pipeline.writer import MIGRATED_COLUMNS, CsvResultWriter
from rogo_async.reporting.summary import Tally
from rogo_async.rules.records import MigratedLine, Outcome, SourceRow, Status
from rogo_async.sources.accepted_failures import AcceptedFailures

DEADLINE_S = 60.0


def row(*cells: str) -> SourceRow:
    return SourceRow(2, cells, None, *[""] * 11)


def failure(attempt: int, *cells: str) -> Outcome:
    code = FailureCode.REPORT_MISSING
    return Outcome(row(*cells), Status.FAILED, attempt, code, 'none, "really"\nnone')


def migrated(attempt: int) -> Outcome:
    line = MigratedLine(attempt, f"rogo_{attempt}_x", "s", "r", "u", "c")
    return Outcome(row("a"), Status.MIGRATED, attempt, migrated_line=line)


def skip() -> Outcome:
    return Outcome(row("a"), Status.SKIPPED, 3, SkipCode.DUPLICATE_ROW)


class Scenario:
    """A result writer on two files, with its task running."""

    def __init__(self, folder: Path, interval_s: float = 0.01) -> None:
        self.failed = FailedRowsWriter(folder / "failed.csv", PLAIN)
        self.migrated = AppendFile(folder / "migrated.csv")
        self.stop_signal = StopSignal()
        self.known = KnownFailures()
        self.results = CsvResultWriter(
            self.migrated,
            self.failed,
            Tally(total=10),
            self.known,
            AcceptedFailures(frozenset({(9, "report_missing"), (2, "email_missing")})),
            self.stop_signal,
            interval_s,
        )

    async def __aenter__(self) -> Self:
        await self.failed.open(["A", "B"])
        await self.migrated.open(MIGRATED_COLUMNS)
        self.writing = asyncio.create_task(self.results.run(), name="writer")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.results.finish()
        await asyncio.wait_for(self.writing, DEADLINE_S)
        await self.failed.close()
        await self.migrated.close()


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


async def test_outcomes_are_written_and_counted(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        scenario.known.add(1, ["x", "y"], "report_missing")
        await scenario.results.record([failure(1, "x", "y,\n"), failure(2, "", "z"), skip()])
        await scenario.results.record([migrated(7)])
        await scenario.results.record([])
    assert lines(tmp_path / "failed.csv") == [
        ["A", "B", "Error"],
        ["x", "y,\n", 'report_missing: none, "really"\nnone'],
        ["", "z", 'report_missing: none, "really"\nnone'],
    ]
    assert lines(tmp_path / "migrated.csv")[1:] == [["7", "rogo_7_x", "s", "r", "u", "c"]]
    tally = scenario.results.tally
    assert tally.by_status == {Status.FAILED: 2, Status.SKIPPED: 1, Status.MIGRATED: 1}
    assert tally.by_code == {"report_missing": 2, "duplicate_row": 1}
    assert (tally.done, tally.failed_new) == (4, 1)
    for name in ("failed.csv", "migrated.csv"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


async def test_an_accepted_failure_is_written_and_never_new(tmp_path: Path) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.results.record([failure(9, "x", "y"), failure(2, "x", "y")])
    assert len(lines(tmp_path / "failed.csv")) == 3
    tally = scenario.results.tally
    assert tally.by_status == {Status.FAILED: 2}
    assert (tally.failed_new, tally.failed_accepted) == (1, 1)


async def test_a_finished_row_is_on_disk_within_the_interval(tmp_path: Path) -> None:
    async with Scenario(tmp_path, interval_s=0.05) as scenario:
        await scenario.results.record([failure(1, "x", "y")])
        async with asyncio.timeout(DEADLINE_S):
            while not scenario.results.tally.done:
                await asyncio.sleep(0.01)
        assert len(lines(tmp_path / "failed.csv")) == 2


async def test_rows_that_keep_coming_do_not_delay_the_others(tmp_path: Path) -> None:
    """The interval begins with the first row of a batch."""
    async with Scenario(tmp_path, interval_s=0.05) as scenario:
        given = 0
        async with asyncio.timeout(DEADLINE_S):
            while not scenario.results.tally.done:
                await scenario.results.record([skip()])
                given += 1
                await asyncio.sleep(0.001)
        assert given < 5_000  # so many rows are written at once


async def test_nothing_is_counted_before_it_is_written(tmp_path: Path) -> None:
    async with Scenario(tmp_path, interval_s=3600) as scenario:
        await scenario.results.record([failure(1, "x", "y")])
        await asyncio.sleep(0.05)
        assert scenario.results.tally.done == 0
        assert scenario.results.handed_over[Status.FAILED] == 1
    assert scenario.results.tally.done == 1


@pytest.fixture
def small_files() -> Iterator[int]:
    """Limit the size of files of this process, to simulate a full disk.

    The limit also applies to the file that pytest's output may be redirected to: it is far larger.
    """
    limit = 1024 * 1024
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_stops_the_run_and_leaves_no_partial_line(
    tmp_path: Path, small_files: int
) -> None:
    async with Scenario(tmp_path) as scenario:
        await scenario.results.record([failure(1, "x", "y")])
        async with asyncio.timeout(DEADLINE_S):
            while not scenario.results.tally.done:
                await asyncio.sleep(0.01)
        await scenario.results.record([failure(2, "x" * small_files, "y"), skip()])
        await asyncio.wait_for(scenario.stop_signal.wait(), DEADLINE_S)
        await scenario.results.record([failure(3, "x", "y"), migrated(4)])
    assert "failed.csv cannot be written" in scenario.stop_signal.reasons[StopReason.DISK]
    assert [line[0] for line in lines(tmp_path / "failed.csv")] == ["A", "x"]
    assert scenario.results.tally.by_status == {
        Status.FAILED: 1,
        Status.SKIPPED: 1,
        Status.MIGRATED: 1,
    }


async def test_migrated_rows_that_cannot_be_written_stop_the_run(
    tmp_path: Path, small_files: int
) -> None:
    """They are in the target: the next run rebuilds migrated.csv from it."""
    async with Scenario(tmp_path) as scenario:
        await scenario.results.record([migrated(n) for n in range(small_files // 10)])
        await asyncio.wait_for(scenario.stop_signal.wait(), DEADLINE_S)
    assert "migrated.csv cannot be written" in scenario.stop_signal.reasons[StopReason.DISK]
    assert len(lines(tmp_path / "migrated.csv")) == 1
    assert scenario.results.tally.by_status == {Status.MIGRATED: small_files // 10}


@given(st.lists(st.lists(st.text('a\r\n",; é'), min_size=2, max_size=4), max_size=4))
def test_what_is_written_is_read_back_cell_by_cell(rows: list[list[str]]) -> None:
    assert list(csv.reader(io.StringIO(csv_of(rows), newline=""), strict=True)) == rows
