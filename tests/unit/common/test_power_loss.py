"""Whatever this tool writes is on disk when the call returns (specification §2, §6)."""

import os
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rogo_async.common.data_dir import FAILED, FAILURES, DataDir, new_run_id
from rogo_async.common.files import AppendFile, csv_of, write_private
from rogo_async.common.shutdown import StopSignal
from rogo_async.destination.postgres.journal import Journal, journal_path
from rogo_async.pipeline.failed_rows_file import PLAIN, FailedRowsWriter
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.pipeline.writer import CsvResultWriter
from rogo_async.reporting import starts as starts_module
from rogo_async.reporting.failures_csv import write_failures
from rogo_async.reporting.starts import Starts
from rogo_async.reporting.summary import Tally
from rogo_async.reporting.verification import VerificationRecord, write_verification
from rogo_async.rules.records import Status
from rogo_async.sources.accepted_failures import AcceptedFailures
from tests.support.power_loss import recorded
from tests.unit.pipeline.test_writer import failure, migrated

RUN = new_run_id()
Write = Callable[[Path], Awaitable[None]]


OLD_FILES = ("plan.csv", "run_summary.json", "verification.json", "migrated.csv", FAILED, FAILURES)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data directory with files of an earlier run. New files could be read by everybody."""
    for name in OLD_FILES:
        (tmp_path / name).write_bytes(b"old\n")
        (tmp_path / name).chmod(0o600)
    umask = os.umask(0)
    yield tmp_path.resolve()
    os.umask(umask)


async def rows_in_a_new_file(folder: Path) -> None:
    """sweep, rollback, plan and verify write such files."""
    file = AppendFile(folder / "verification_failures.csv")
    await file.open(["A"])
    await file.append([["1"], ["2"]])
    await file.append([["3"]])
    await file.close()


async def rows_in_an_existing_file(folder: Path) -> None:
    file = AppendFile(folder / "plan.csv")
    await file.open(["A"])
    await file.append([["1"]])
    await file.close()


async def further_rows(folder: Path) -> None:
    file = AppendFile(folder / "migrated.csv")
    await file.open(None)
    await file.append([["1"]])
    await file.close()


async def results_of_rows(folder: Path) -> None:
    files = AppendFile(folder / "migrated.csv"), FailedRowsWriter(folder / FAILED, PLAIN)
    await files[0].open(None)
    await files[1].open(["A", "B"])
    writer = CsvResultWriter(
        *files, Tally(total=2), KnownFailures(), AcceptedFailures(), StopSignal(), 1.0
    )
    await writer.write_batch([failure(1, "x", "y"), migrated(7)])
    assert writer.tally.by_status == {Status.FAILED: 1, Status.MIGRATED: 1}
    for file in files:
        await file.close()


async def a_new_private_file(folder: Path) -> None:
    write_private(folder / "x.json", b"new")


async def an_existing_private_file(folder: Path) -> None:
    write_private(folder / "run_summary.json", b"new")


async def the_summary_of_a_full_run(folder: Path) -> None:
    DataDir(folder).write_summary(RUN, b"{}", is_full=True)


async def the_summary_of_a_selection(folder: Path) -> None:
    DataDir(folder).write_summary(RUN, b"{}", is_full=False)


async def the_begin_of_a_full_run(folder: Path) -> None:
    data = DataDir(folder)
    data.make_runs()
    data.begin_full_run(RUN)
    assert (data.runs / f"{RUN}.before.failed.csv").read_bytes() == b"old\n"


async def migrated_csv_rebuilt(folder: Path) -> None:
    async def export(sink: Callable[[bytes], Awaitable[None]]) -> None:
        for part in (b"Attempt ID\n", b"1\n"):
            await sink(part)

    await DataDir(folder).rebuild_migrated(export)


async def the_journal(folder: Path) -> None:
    DataDir(folder).make_runs()
    journal = Journal(journal_path(folder / "runs", RUN))
    for attempt in (1, 2):
        await journal.record_original(attempt, "s", {"id": "x"})


async def the_begin_of_a_start(folder: Path) -> None:
    Starts(folder / "runs").began(RUN)


async def the_end_of_a_start(folder: Path) -> None:
    Starts(folder / "runs").began(RUN)
    Starts(folder / "runs").ended(RUN, 0, ["done"])


async def the_verification(folder: Path) -> None:
    record = VerificationRecord(finished_at=datetime.now(UTC), exit_code=0, result="ok")
    write_verification(folder, record)


async def the_failures_by_assessment(folder: Path) -> None:
    failed = folder / FAILED
    header = ["Attempt ID", "Unit Code", "Assessment ID", "Error"]
    write_private(failed, csv_of([header, ["1", "U", "A", "email_missing: none"]]).encode())
    write_failures(failed, folder / FAILURES, lambda _: True, lambda _: False)


@pytest.mark.parametrize(
    "write",
    [
        rows_in_a_new_file,
        rows_in_an_existing_file,
        further_rows,
        results_of_rows,
        a_new_private_file,
        an_existing_private_file,
        the_summary_of_a_full_run,
        the_summary_of_a_selection,
        the_begin_of_a_full_run,
        migrated_csv_rebuilt,
        the_journal,
        the_begin_of_a_start,
        the_end_of_a_start,
        the_verification,
        the_failures_by_assessment,
    ],
)
async def test_it_survives_a_power_loss(folder: Path, write: Write) -> None:
    """Nobody but the owner can read it (invariant 8)."""
    with recorded(folder) as disk:
        await write(folder)
        assert disk.at_risk() == {}
        assert disk.torn == []
    modes = {path.name: oct(path.stat().st_mode & 0o77) for path in folder.rglob("*")}
    assert set(modes.values()) == {"0o0"}, modes


@pytest.mark.parametrize(
    "write",
    [
        further_rows,
        an_existing_private_file,
        the_summary_of_a_full_run,
        the_begin_of_a_full_run,
        migrated_csv_rebuilt,
        the_verification,
        the_failures_by_assessment,
    ],
)
async def test_the_former_file_is_intact_until_the_new_one_is_complete(
    folder: Path, write: Write
) -> None:
    with recorded(folder) as disk:
        await write(folder)
        assert disk.overwritten() == []


async def test_the_shortened_list_of_starts_survives_a_power_loss(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts_module, "_MAX_BYTES", 100)
    monkeypatch.setattr(starts_module, "_KEPT_LINES", 2)
    starts = Starts(folder / "runs")
    for _ in range(5):
        starts.began(new_run_id())
    with recorded(folder) as disk:
        starts.shorten()
        assert len((folder / "runs" / "starts.jsonl").read_bytes().splitlines()) == 2
        assert disk.at_risk() == {}
        assert disk.torn == []
