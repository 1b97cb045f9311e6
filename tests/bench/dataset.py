"""The submissions of the benches: valid, all alike, any number.

Each row has a report, five scores and a line in the mapping. Its files are taken in turn from 1,024
blobs of one size in the source container, so that a long run does not need a large store.
"""

import contextlib
import csv
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import aiohttp
import asyncpg

from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.dataset.writers import MAPPING_COLUMNS, SUBMISSION_COLUMNS
from rogo_async.demo.servers.blob_container import Container, run_concurrently
from rogo_async.demo.servers.stack import Stack, Workspace

FIRST_ATTEMPT: Final = 200_001
FIRST_EXISTING: Final = 1_000_001
"""The first attempt of the rows that are migrated before a run."""
SCORES: Final = 5
FILES: Final = 2
FILE_BYTES: Final = 50_000
MAPPING_LINES: Final = 80_000
_BLOBS: Final = 1_024
_INSERTED: Final = datetime(2025, 3, 1, 9, 30, 15)  # noqa: DTZ001 - the warehouse's dates are naive
_COMMENT: Final = "Clear reasoning throughout, with sources that carry it. " * 3
_STATEMENT_S: Final = 600.0


@contextlib.asynccontextmanager
async def start_stack(directory: Path, *, keep: bool = False) -> AsyncIterator[Stack]:
    """The embedded stack; its blob store keeps idle connections as long as Azure does."""
    os.environ["NODE_OPTIONS"] = f"--require={Path(__file__).with_name('keepalive.cjs')}"
    async with Stack(directory, keep=keep) as stack:
        yield stack


@dataclass(frozen=True, slots=True)
class BenchDataset:
    """A stack, the workspace with warehouse and source, and its number of rows."""

    stack: Stack
    workspace: Workspace
    rows: int

    async def new_target(self, name: str, data_dir: Path) -> Workspace:
        """A fresh target and container for the same warehouse and sources."""
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = await self.stack.new_workspace(name, data_dir)
        workspace = replace(
            fresh,
            warehouse=self.workspace.warehouse,
            source_container=self.workspace.source_container,
        )
        await _fill_reference(self.stack.postgres.dsn(workspace.target))
        return workspace

    def blob_urls(self, row: int, files: int, size_bytes: int, base: str) -> list[str]:
        """The source URLs of a row's files. ``base`` is the address of the source container."""
        return [
            f"{base}/{_blob_path((row * files + n) % _BLOBS, size_bytes)}" for n in range(files)
        ]

    def write_inputs(
        self,
        data_dir: Path,
        rows: int,
        base: str,
        *,
        files: int = FILES,
        size_bytes: int = FILE_BYTES,
        existing: int = 0,
        mapping_lines: int | None = None,
    ) -> None:
        """Write both CSV files: ``existing`` rows that are already migrated, then ``rows`` more."""
        with (data_dir / "submission_files.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow(SUBMISSION_COLUMNS)
            old = self.blob_urls(0, files, size_bytes, base)
            writer.writerows(_cells(FIRST_EXISTING + n, old) for n in range(existing))
            writer.writerows(
                _cells(FIRST_ATTEMPT + n, self.blob_urls(n, files, size_bytes, base))
                for n in range(rows)
            )
        with (data_dir / "attempt_number_mapping.csv").open(
            "w", encoding="utf-8", newline=""
        ) as file:
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow(MAPPING_COLUMNS)
            lines = rows if mapping_lines is None else mapping_lines
            writer.writerows(
                (str(FIRST_ATTEMPT + rows - 1 - n), "5AB01", "24_01", "5AB01-1", "Attempt 1")
                for n in range(lines)
            )


async def prepare_rows(stack: Stack, rows: int, *, first: int = 0) -> BenchDataset:
    """Fill the stack's warehouse for rows ``first`` to ``rows``; the source has no files."""
    await _fill_warehouse(stack.postgres.dsn(stack.workspace.warehouse), first, rows)
    return BenchDataset(stack, stack.workspace, rows)


async def prepare_dataset(
    stack: Stack, rows: int, *, first: int = 0, size_bytes: int = FILE_BYTES
) -> BenchDataset:
    """Fill the stack's warehouse for rows ``first`` to ``rows`` and its source container."""
    data = await prepare_rows(stack, rows, first=first)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        container = Container(stack.azurite, stack.workspace.source_container, session)
        blobs = [
            BlobSpec(_blob_path(number, size_bytes), "txt", number, size_bytes)
            for number in range(_BLOBS)
        ]
        await run_concurrently(container.upload, blobs)
    return data


def own_of(workspace: Workspace) -> Workspace:
    """The workspace with its own warehouse and source, for its removal."""
    name = workspace.target.removeprefix("target_")
    return replace(workspace, warehouse=f"warehouse_{name}", source_container=f"source-{name}")


async def stored(stack: Stack, workspace: Workspace) -> list[tuple[int, bytes | None]]:
    """Length and MD5 of every blob in the destination."""
    async with aiohttp.ClientSession() as session:
        blobs = await Container(stack.azurite, workspace.container, session).listing()
    return [(blob.size_bytes, blob.md5) for blob in blobs.values()]


async def finish_times(dsn: str) -> list[float]:
    """When each migrated submission was written, on the system's clock, ascending."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT extract(epoch FROM assigned_at)::float8 AS at "
            "FROM submission_marking_assignments ORDER BY 1"
        )
    finally:
        await connection.close()
    return [row["at"] for row in rows]


def _blob_path(number: int, size_bytes: int) -> str:
    return f"bench/{size_bytes}/{number:06d}.txt"


def _cells(attempt: int, urls: list[str]) -> list[str]:
    cells = {
        "First Name": "Learner",
        "Surname": f"Number{attempt}",
        "Learner Email": f"learner{attempt}@college.example",
        "Attempt ID": str(attempt),
        "Unit Code": "5AB01",
        "Assessment ID": "5AB01-1",
        "Course Title": "Working Lives",
        "Rogo User ID": f"u{attempt}",
        "Rogo User Name": f"learner{attempt}",
        "Learner Files Count": str(len(urls)),
        "Learner File Names": ",".join(f"answer {n}.txt" for n in range(1, len(urls) + 1)),
        "Learner Azure Blob URLs": ",".join(urls),
        "Timestamp": "2025-03-01T09:30:15Z",
    }
    return [cells.get(name, "") for name in SUBMISSION_COLUMNS]


async def _fill_reference(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO users (id, role, created_at) VALUES ('user-1', 'admin', now());"
            "INSERT INTO assessments (id, name, code) "
            "VALUES ('a-5', '5AB01 Working 24_01', '5AB01');"
            "INSERT INTO malpractice_levels (id, level_text, sort_order) "
            "VALUES ('m', 'Severe', 1);"
        )
        await connection.executemany(
            "INSERT INTO assessment_sections (id, assessment_id, question_text) "
            "VALUES ($1, 'a-5', $2)",
            [(f"s-{n}", f"Question {n}") for n in range(1, SCORES + 1)],
        )
    finally:
        await connection.close()


async def _fill_warehouse(dsn: str, first: int, rows: int) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.copy_records_to_table(
            "Rogo_AssessmentReport",
            schema_name="dbo",
            columns=[
                *("AttemptId", "TIUserId", "TISectionId", "Exercise", "MarksAchieved"),
                *("MarksAvailable", "GradePercent", "Grade", "MarkerNotes", "DateInserted"),
            ],
            records=_reports(first, rows),
            timeout=_STATEMENT_S,
        )
        await connection.copy_records_to_table(
            "Rogo_AssessmentReportScores",
            schema_name="dbo",
            columns=["AttemptId", "ScoreLabelCorrected", "Score", "MarkerComment", "DateInserted"],
            records=_scores(first, rows),
            timeout=_STATEMENT_S,
        )
        await connection.execute('ANALYZE "dbo"."Rogo_AssessmentReport"')
        await connection.execute('ANALYZE "dbo"."Rogo_AssessmentReportScores"')
    finally:
        await connection.close()


def _reports(first: int, rows: int) -> Iterator[tuple[object, ...]]:
    for attempt in range(FIRST_ATTEMPT + first, FIRST_ATTEMPT + rows):
        user = str(500_000 + attempt)
        exercise = "5AB01 Working Lives"
        yield (attempt, user, "81", exercise, 40, 60, 66, "Pass", _COMMENT, _INSERTED)


def _scores(first: int, rows: int) -> Iterator[tuple[object, ...]]:
    for attempt in range(FIRST_ATTEMPT + first, FIRST_ATTEMPT + rows):
        for number in range(1, SCORES + 1):
            yield (attempt, f"Question {number}", 8, _COMMENT, _INSERTED)
