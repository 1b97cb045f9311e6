"""The design that this tool replaces, ported unchanged (docs/performance.md).

Five workers, each a thread that takes one row at a time from top to bottom: a duplicate check (a
LIKE scan for the launch id), two lookups in the warehouse, one file after another (GET, then
PUT), then twelve inserts one by one in a separate transaction. Every wait holds its thread.

Libraries: pyodbc for the warehouse and azure-storage-blob's synchronous client for the files, as
such a tool has them. Its PostgreSQL driver is no dependency here, so each thread uses asyncpg
with its own event loop and blocks on every call: the same statements and, prepared once a
connection, the same round trips. Connections and prepared statements are kept, which favours it.

Run as ``python -m tests.bench.old_design ORDER``; ORDER and the result on stdout are JSON.
"""

import asyncio
import json
import queue
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg
import pyodbc
from azure.storage.blob import BlobServiceClient, ContainerClient

WORKERS = 5


@dataclass(frozen=True, slots=True)
class Order:
    """Where everything is, and the rows: attempt and URLs."""

    target: str
    duplicates: str
    warehouse: str
    source: str
    source_sas: str
    store: str
    container: str
    rows: Sequence[tuple[int, Sequence[str]]]


class Worker:
    """One thread's connections, and one row from top to bottom."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._loop = asyncio.new_event_loop()
        self._duplicates: Any = self._wait(asyncpg.connect(order.duplicates, ssl=False))
        self._target: Any = self._wait(asyncpg.connect(order.target, ssl=False))
        self._warehouse = pyodbc.connect(order.warehouse, autocommit=True)
        self._source = ContainerClient.from_container_url(f"{order.source}?{order.source_sas}")
        service = BlobServiceClient.from_connection_string(order.store)
        self._store = service.get_container_client(order.container)

    def migrate(self, attempt: int, urls: Sequence[str]) -> None:
        """One submission."""
        if self._is_duplicate(attempt):
            return
        report, scores = self._look_up(attempt)
        launch_id, submission_id = f"rogo_{attempt}_{uuid.uuid4().hex[:12]}", str(uuid.uuid4())
        files = [self._copy(attempt, n, url) for n, url in enumerate(urls, start=1)]
        self._insert(attempt, launch_id, submission_id, report, scores, files)

    def _wait(self, what: Any) -> Any:
        return self._loop.run_until_complete(what)

    def _is_duplicate(self, attempt: int) -> bool:
        found = self._wait(
            self._duplicates.fetchrow(
                "SELECT id FROM assignment_submissions WHERE lti_launch_id LIKE $1",
                f"rogo_{attempt}_%",
            )
        )
        return found is not None

    def _look_up(self, attempt: int) -> tuple[Any, list[Any]]:
        cursor = self._warehouse.cursor()
        report = cursor.execute(
            'SELECT "TIUserId", "TISectionId", "Exercise", "MarksAchieved", "MarksAvailable", '
            '"GradePercent", "Grade", "MarkerNotes", "DateInserted" '
            'FROM "dbo"."Rogo_AssessmentReport" WHERE "AttemptId" = ?',
            attempt,
        ).fetchone()
        scores = cursor.execute(
            'SELECT "ScoreLabelCorrected", "Score", "MarkerComment" '
            'FROM "dbo"."Rogo_AssessmentReportScores" WHERE "AttemptId" = ?',
            attempt,
        ).fetchall()
        return report, scores

    def _copy(self, attempt: int, number: int, url: str) -> tuple[str, str, int]:
        path = unquote(urlsplit(url).path).partition("/bench/")[2]
        data = self._source.download_blob(f"bench/{path}").readall()
        name = f"LTI_Uploads/rogo_{attempt}/{number}_{uuid.uuid4().hex}.txt"
        self._store.upload_blob(name, data, overwrite=True)
        return name, f"{self._store.url}/{name}", len(data)

    def _insert(
        self,
        attempt: int,
        launch_id: str,
        submission_id: str,
        report: Any,
        scores: Sequence[Any],
        files: Sequence[tuple[str, str, int]],
    ) -> None:
        async def work() -> None:
            target = self._target
            async with target.transaction():
                await target.execute(
                    "INSERT INTO lti_launch_sessions (launch_id, consumer_key, user_id, "
                    "course_name, expires_at) VALUES ($1, 'key', $2, $3, '2099-12-31')",
                    *(launch_id, report.TIUserId, report.Exercise),
                )
                session_id = await target.fetchval(
                    "INSERT INTO lti_session_records (launch_id, lms_user_id, full_name, "
                    "session_expiry) VALUES ($1, $2, 'Learner', '2099-12-31') RETURNING id",
                    *(launch_id, report.TIUserId),
                )
                await target.execute(
                    "INSERT INTO assignment_submissions (id, lti_session_record_id, "
                    "lti_launch_id, file_count, attempt_number, lms_user_id) "
                    "VALUES ($1, $2, $3, $4, 1, $5)",
                    *(submission_id, session_id, launch_id, len(files), report.TIUserId),
                )
                for order, (name, url, size) in enumerate(files, start=1):
                    await target.execute(
                        "INSERT INTO submission_files (submission_id, file_name, file_size, "
                        "file_url, azure_blob_name, upload_order, submission_file_type) "
                        "VALUES ($1, $2, $3, $4, $5, $6, 'submission')",
                        *(submission_id, f"answer {order}.txt", str(size), url, name, order),
                    )
                await target.execute(
                    "INSERT INTO submission_marking_assignments (submission_id, marking_status, "
                    "assigned_at) VALUES ($1, 'released', now())",
                    submission_id,
                )
                for number, score in enumerate(scores, start=1):
                    await target.execute(
                        "INSERT INTO submission_section_marks (submission_id, section_id, "
                        "marks_awarded, feedback) VALUES ($1, $2, $3, $4)",
                        *(submission_id, f"s-{number}", float(score.Score), score.MarkerComment),
                    )
                await target.execute(
                    "INSERT INTO submission_grades (submission_id, assessment_id, "
                    "total_marks_awarded, percentage_score, final_grade, overall_summary) "
                    "VALUES ($1, 'a-5', $2, $3, $4, $5)",
                    *(submission_id, float(report.MarksAchieved), float(report.GradePercent)),
                    *(report.Grade, report.MarkerNotes),
                )

        self._wait(work())


def main() -> None:
    """Migrate all rows of the order and return their finish times."""
    order = Order(**json.loads(sys.stdin.read()))
    waiting: queue.SimpleQueue[tuple[int, Sequence[str]]] = queue.SimpleQueue()
    for row in order.rows:
        waiting.put(row)
    finished: list[float] = []
    faults: list[str] = []

    def work() -> None:
        try:
            worker = Worker(order)
            while True:
                attempt, urls = waiting.get_nowait()
                worker.migrate(attempt, urls)
                finished.append(time.time())
        except queue.Empty:
            return
        except Exception as error:  # noqa: BLE001 - told to the bench, which ends
            faults.append(f"{type(error).__name__}: {error}")

    began = time.time()
    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump({"began": began, "finished": finished, "faults": faults}, sys.stdout)


if __name__ == "__main__":
    main()
