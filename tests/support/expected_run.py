"""Writes the expected result of a run without the code of the migration.

Tests of the demo's checks use it: all checks pass, and after a change the right one fails.
"""

import csv
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

from rogo_async.demo.checks.check_files import FAILED, MIGRATED, SUMMARY
from rogo_async.demo.checks.check_run import check
from rogo_async.demo.checks.comparison import CheckResult
from rogo_async.demo.checks.expected import TIME_OF_INSERT, ExpectedFile, ExpectedSubmission
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.writers import SUBMISSION_COLUMNS
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import FileKind, Status

ROWS = 60
RUN_ID = "20260101T000000Z-perfect"


@dataclass(frozen=True, slots=True)
class LoadedDataset:
    """A loaded data set and its workspace."""

    dataset: Dataset
    stack: Stack
    workspace: Workspace

    async def results(self) -> list[CheckResult]:
        return await check(self.dataset, self.stack, self.workspace)

    async def failed(self) -> set[str]:
        return {result.name for result in await self.results() if not result.ok}

    async def target(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.stack.postgres.dsn(self.workspace.target))

    def container(self) -> ContainerClient:
        return ContainerClient.from_connection_string(
            self.stack.azurite.connection_string, self.workspace.container
        )


class ExpectedRun:
    """Writes the expected result to target, container and data directory of a loaded workspace."""

    def __init__(self, dataset: Dataset, stack: Stack, workspace: Workspace) -> None:
        self._dataset = dataset
        self._stack = stack
        self._workspace = workspace
        self._receipts: list[tuple[str, ...]] = []
        self._submission_ids: dict[int, str] = {}

    async def write(self) -> None:
        """Write everything, once."""
        connection = await asyncpg.connect(self._stack.postgres.dsn(self._workspace.target))
        container = ContainerClient.from_connection_string(
            self._stack.azurite.connection_string, self._workspace.container
        )
        async with container:
            try:
                for submission in self._dataset.submissions():
                    await self._submission(connection, container, submission)
                await self._enforcements(connection)
            finally:
                await connection.close()
        self._files()

    async def _submission(
        self,
        connection: asyncpg.Connection,
        container: ContainerClient,
        submission: ExpectedSubmission,
    ) -> None:
        launch_id = f"{submission.launch_prefix}0f3a"
        record_id, submission_id = str(uuid.uuid4()), str(uuid.uuid4())
        mine = {"submission_id": submission_id}
        launch = submission.launch_session()
        await insert(connection, "lti_launch_sessions", launch | {"launch_id": launch_id})
        await insert(
            connection,
            "lti_session_records",
            submission.session_record() | {"id": record_id, "launch_id": launch_id},
        )
        await insert(
            connection,
            "assignment_submissions",
            submission.assignment_submission()
            | {
                "id": submission_id,
                "lti_launch_id": launch_id,
                "lti_session_record_id": record_id,
            },
        )
        await insert(
            connection, "submission_marking_assignments", submission.marking_assignment() | mine
        )
        await insert(connection, "submission_grades", submission.grade() | mine)
        for mark in submission.section_marks():
            await insert(connection, "submission_section_marks", mark | mine)
        for file in submission.files():
            row = await self._file(container, submission, submission_id, file)
            await insert(connection, "submission_files", row | mine)
        self._submission_ids[submission.attempt] = submission_id
        self._receipts.append(
            (
                str(submission.attempt),
                launch_id,
                submission_id,
                record_id,
                submission.user_id,
                submission.context_id,
            )
        )

    async def _file(
        self,
        container: ContainerClient,
        submission: ExpectedSubmission,
        submission_id: str,
        file: ExpectedFile,
    ) -> dict[str, object]:
        tail = file.exact_name or f"made_safe.{file.row['file_type']}"
        blob = container.get_blob_client(f"{file.folder}/{submission_id}/{file.order}_{tail}")
        body = file.source.body()
        feedback = {"fileType": "marker_feedback"} if file.kind is FileKind.FEEDBACK else {}
        await blob.upload_blob(
            body,
            content_settings=ContentSettings(
                content_type=file.content_type,
                content_md5=bytearray(hashlib.md5(body, usedforsecurity=False).digest()),
            ),
            metadata={
                "attemptId": str(submission.attempt),
                "migratedFrom": "rogo_warehouse",
                "runId": RUN_ID,
                "target": "a-digest",
            }
            | feedback,
        )
        return file.row | {
            "file_url": blob.url,
            "azure_blob_url": blob.url,
            "azure_blob_name": blob.blob_name,
            "azure_container_name": self._workspace.container,
        }

    async def _enforcements(self, connection: asyncpg.Connection) -> None:
        for rows in self._dataset.expected_malpractice_rules.values():
            for row in rows:
                if row.attempt is None:
                    continue
                await connection.execute(
                    "DELETE FROM malpractice_enforcements WHERE id = $1", row.row_id
                )
                columns = row.columns | {"submission_id": self._submission_ids[row.attempt]}
                kept = {"id": row.row_id} if row.row_id else {}
                await insert(connection, "malpractice_enforcements", columns | kept)

    def _files(self) -> None:
        self._csv(
            MIGRATED,
            (
                "Attempt ID",
                "Launch ID",
                "Submission ID",
                "Session Record ID",
                "User ID",
                "LTI Context ID",
            ),
            [*self._receipts, *self._of_the_earlier_tool()],
        )
        failed = [row for row in self._dataset.expected if row.status is Status.FAILED]
        self._csv(
            FAILED,
            SUBMISSION_COLUMNS,
            [(*row.cells, f"{row.code}: line {row.line}, as expected") for row in failed],
        )
        summary = json.dumps(self._summary(len(failed)))
        runs = self._workspace.data_dir / "runs"
        runs.mkdir()
        for path in (self._workspace.data_dir / SUMMARY, runs / f"{RUN_ID}.json"):
            path.write_text(summary, encoding="utf-8")

    def _of_the_earlier_tool(self) -> Iterable[tuple[str, ...]]:
        for row in self._dataset.target["assignment_submissions"]:
            marker, _, rest = str(row["lti_launch_id"]).partition("_")
            attempt = rest.partition("_")[0]
            if marker == "rogo" and attempt.isdecimal():
                columns = ("lti_launch_id", "id", "lti_session_record_id", "lms_user_id")
                yield (attempt, *(str(row[name]) for name in columns), str(row["context_id"]))

    def _summary(self, failed: int) -> dict[str, object]:
        counts = self._dataset.counts()
        return {
            "run_id": RUN_ID,
            "exit_code": 1 if failed else 0,
            "rows_total": len(self._dataset.expected),
            **{status.value: counts[status] for status in Status},
            "by_code": dict(self._dataset.by_code()),
        }

    def _csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        path = self._workspace.data_dir / name
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])


async def insert(connection: asyncpg.Connection, table: str, columns: Mapping[str, object]) -> None:
    """Inserts one row."""
    now = datetime.now(UTC)
    columns = {name: now if value is TIME_OF_INSERT else value for name, value in columns.items()}
    await connection.copy_records_to_table(
        table, columns=list(columns), records=[tuple(columns.values())]
    )
