"""Builds submissions: a test sets the special values, all others are valid."""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from azure.storage.blob.aio import ContainerClient
from yarl import URL

from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.blobs.shared_key import SharedKey

COLUMNS = [
    "Membership Number",
    "First Name",
    "Surname",
    "Learner Email",
    "Attempt ID",
    "Unit Code",
    "Assessment ID",
    "Course Title",
    "Attempt Number",
    "Rogo User ID",
    "Rogo User Name",
    "Learner Files Count",
    "Learner File Names",
    "Learner File URLs",
    "Learner Azure Blob Names",
    "Learner Azure Blob URLs",
    "Marker Files Count",
    "Marker File Names",
    "Marker File URLs",
    "Marker Azure Blob Names",
    "Marker Azure Blob URLs",
    "Timestamp",
    "Error",
]
MAPPING_COLUMNS = ("Attempt ID", "Unit Code", "Unit Code Version", "Assessment ID", "Submission")

INSERTED = datetime(2025, 3, 1, 9, 30, 15)  # noqa: DTZ001 - the warehouse's dates are naive
APPROVED = datetime(2025, 3, 9, 16, 0)  # noqa: DTZ001
MODIFIED = datetime(2025, 3, 5, 12, 45)  # noqa: DTZ001

REFERENCE: Mapping[str, Sequence[Mapping[str, object]]] = {
    "users": [
        {"id": "user-late", "role": "admin", "created_at": datetime(2024, 1, 1, tzinfo=UTC)},
        {"id": "user-first", "role": "admin", "created_at": datetime(2023, 1, 1, tzinfo=UTC)},
        {"id": "user-marker", "role": "marker", "created_at": datetime(2022, 1, 1, tzinfo=UTC)},
    ],
    "assessments": [
        {"id": "assessment-5", "code": "5AB01", "name": "5AB01 Working 24_01"},
        {"id": "assessment-7", "code": "7CD02", "name": "7CD02 Leading 25_01"},
    ],
    "assessment_sections": [
        {"id": "section-5-1", "assessment_id": "assessment-5", "question_text": "Question 1"},
        {"id": "section-5-2", "assessment_id": "assessment-5", "question_text": "Question 2: why"},
        {"id": "section-7-1", "assessment_id": "assessment-7", "question_text": "Task A"},
    ],
    "malpractice_levels": [
        {"id": "level-minor", "level_text": "Minor", "sort_order": 1},
        {"id": "level-moderate", "level_text": "Moderate", "sort_order": 2},
        {"id": "level-considerable", "level_text": "Considerable", "sort_order": 3},
        {"id": "level-severe", "level_text": "Severe", "sort_order": 4},
    ],
}
"""The target's reference data of these submissions."""

TABLES = (
    "lti_launch_sessions",
    "lti_session_records",
    "assignment_submissions",
    "submission_files",
    "submission_marking_assignments",
    "submission_section_marks",
    "submission_grades",
    "malpractice_enforcements",
)
"""The tables that a migration writes."""

Row = Mapping[str, object]


@dataclass(slots=True)
class SourceSubmission:
    """A submission in its sources. ``cells`` are the cells of its line that are not empty."""

    attempt: int
    cells: dict[str, str]
    version: str = "24_01"
    submission: str = "Attempt 1"
    report: dict[str, object] = field(default_factory=dict)
    scores: list[dict[str, object]] = field(default_factory=list)

    def line(self) -> list[str]:
        """Its line of submission_files.csv."""
        unknown = self.cells.keys() - set(COLUMNS)
        assert not unknown, unknown
        return [self.cells.get(name, "") for name in COLUMNS]


def valid_submission(attempt: int, *urls: str, **report: object) -> SourceSubmission:
    """A submission that migrates when its files, all the learner's, can be fetched."""
    return SourceSubmission(
        attempt,
        {
            "First Name": "Ada",
            "Surname": "Lovelace",
            "Learner Email": f"learner{attempt}@college.example",
            "Attempt ID": str(attempt),
            "Assessment ID": "A-77",
            "Rogo User ID": f"u{attempt}",
            "Learner Azure Blob URLs": ",".join(urls),
        },
        report={
            "TIUserId": str(500_000 + attempt),
            "TISectionId": "81",
            "Exercise": "5AB01 Working Lives",
            "MarksAchieved": 40,
            "MarksAvailable": 60,
            "GradePercent": 66,
            "Grade": "Pass",
            "DateInserted": INSERTED,
            **report,
        },
    )


class Scenario:
    """A workspace, its input, and queries for its result."""

    def __init__(self, stack: Stack, workspace: Workspace) -> None:
        self.stack = stack
        self.workspace = workspace
        self.data_dir = workspace.data_dir
        self.source = stack.source

    def serve_file(self, name: str, body: bytes = b"a file", **answer: Any) -> str:
        """Serve a file from the scripted source; returns its URL."""
        self.source.routes[f"/{name}"] = Answer(body=body, **answer)
        return self.source.url(f"/{name}")

    async def upload(self, blobs: Mapping[str, bytes]) -> None:
        """Create blobs in the source container. The SDK would warn about large ones."""
        azurite = self.stack.azurite
        key = SharedKey(azurite.account_name, azurite.account_key)
        headers = {
            "x-ms-version": "2021-12-02",
            "x-ms-blob-type": "BlockBlob",
            "Content-Type": "application/octet-stream",
        }
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            for name, body in blobs.items():
                url = URL(f"{self.stack.source_url(self.workspace)}/{name}")
                signed = key.signed("PUT", url.raw_path, headers, len(body))
                async with session.put(url, data=io.BytesIO(body), headers=signed):
                    pass

    def submission(self, attempt: int, **report: object) -> SourceSubmission:
        """A submission that migrates, with one file."""
        return valid_submission(
            attempt, self.serve_file(f"{attempt}.txt", b"text %d" % attempt), **report
        )

    async def load(
        self,
        submissions: Iterable[SourceSubmission],
        reference: Mapping[str, Sequence[Row]] = REFERENCE,
    ) -> None:
        """Fill warehouse, reference data and data directory, in the order of the submissions."""
        submissions = list(submissions)
        self.write_lines(each.line() for each in submissions)
        self.write_mapping(
            (str(each.attempt), "", each.version, "", each.submission) for each in submissions
        )
        async with self.target() as target:
            for name, rows in reference.items():
                await _insert(target, name, rows)
        async with self.warehouse() as warehouse:
            await _insert(
                warehouse,
                'dbo"."Rogo_AssessmentReport',
                [{"AttemptId": each.attempt, **each.report} for each in submissions if each.report],
            )
            await _insert(
                warehouse,
                'dbo"."Rogo_AssessmentReportScores',
                [
                    {"AttemptId": each.attempt, **score}
                    for each in submissions
                    for score in each.scores
                ],
            )

    def write_lines(self, lines: Iterable[Sequence[str]]) -> Path:
        """Replace submission_files.csv."""
        return _write(self.data_dir / "submission_files.csv", [COLUMNS, *lines])

    def write_mapping(self, lines: Iterable[Sequence[str]]) -> Path:
        """Replace attempt_number_mapping.csv."""
        return _write(self.data_dir / "attempt_number_mapping.csv", [MAPPING_COLUMNS, *lines])

    @asynccontextmanager
    async def target(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the target with all rights."""
        connection = await asyncpg.connect(self.stack.postgres.dsn(self.workspace.target))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def warehouse(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the warehouse with all rights."""
        connection = await asyncpg.connect(self.stack.postgres.dsn(self.workspace.warehouse))
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def container(self) -> AsyncIterator[ContainerClient]:
        """The destination container."""
        async with ContainerClient.from_connection_string(
            self.stack.azurite.connection_string, self.workspace.container
        ) as container:
            yield container

    async def blobs(self) -> list[str]:
        """The names of the blobs in the destination."""
        async with self.container() as container:
            return [name async for name in container.list_blob_names()]

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table of the target."""
        async with self.target() as target:
            return [dict(row) for row in await target.fetch(f'SELECT * FROM "{table}"')]

    async def attempts(self) -> list[int]:
        """The attempt of every submission in the target, ascending, with duplicates."""
        async with self.target() as target:
            found = await target.fetch(
                "SELECT split_part(lti_launch_id, '_', 2)::int AS attempt "
                "FROM assignment_submissions ORDER BY 1"
            )
        return [row["attempt"] for row in found]

    async def nothing_written(self) -> bool:
        """Whether target and container have no migrated rows or blobs."""
        async with self.target() as target:
            for name in TABLES:
                exists = await target.fetchval("SELECT to_regclass($1) IS NOT NULL", name)
                if exists and await target.fetchval(f'SELECT count(*) FROM "{name}"'):
                    return False
        return not await self.blobs()


async def assert_consistent(scenario: Scenario) -> None:
    """Assert that each submission is complete, exists once, and has its blobs."""
    async with scenario.target() as target:
        for name, count in await target.fetch(
            "SELECT lti_launch_id, count(*) FROM assignment_submissions GROUP BY 1"
        ):
            assert count == 1, name
        orphans = await target.fetchval(
            "SELECT count(*) FROM lti_launch_sessions l FULL JOIN lti_session_records r "
            "USING (launch_id) FULL JOIN assignment_submissions s "
            "ON s.lti_launch_id = launch_id AND s.lti_session_record_id = r.id "
            "FULL JOIN submission_grades g ON g.submission_id = s.id "
            "FULL JOIN submission_marking_assignments m ON m.submission_id = s.id "
            "WHERE l.id IS NULL OR r.id IS NULL OR s.id IS NULL OR g.id IS NULL OR m.id IS NULL"
        )
        assert orphans == 0
        files = await target.fetch(
            "SELECT s.file_count, array_agg(f.azure_blob_name) AS names "
            "FROM assignment_submissions s JOIN submission_files f ON f.submission_id = s.id "
            "GROUP BY s.id, s.file_count"
        )
        assert len(files) == await target.fetchval("SELECT count(*) FROM assignment_submissions")
    blobs = set(await scenario.blobs())
    for row in files:
        assert row["file_count"] == len(row["names"])
        assert blobs.issuperset(row["names"])


def _write(path: Path, lines: Iterable[Sequence[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\r\n").writerows(lines)
    return path


async def _insert(connection: asyncpg.Connection, table: str, rows: Sequence[Row]) -> None:
    for row in rows:
        columns = ", ".join(f'"{name}"' for name in row)
        placeholders = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await connection.execute(
            f'INSERT INTO "{table}" ({columns}) VALUES ({placeholders})', *row.values()
        )
