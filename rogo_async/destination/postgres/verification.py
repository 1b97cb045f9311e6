"""Reads the target's submissions for the command ``verify``."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from rogo_async.common.retry import CircuitBreaker
from rogo_async.destination.postgres.connections import Connections

_PAGE: int = 2_000
_SCAN_S = 600.0


@dataclass(frozen=True, slots=True)
class FileRow:
    """The verified columns of a submission_files row."""

    order: int | None
    container: str | None
    blob_name: str | None
    size: str | None


@dataclass(frozen=True, slots=True)
class SubmissionRow:
    """A submission and its rows in other tables. Counts are numbers of rows that refer to it."""

    id: str
    launch_id: str
    session_record_id: str | None
    session_id: str | None
    has_launch: bool
    launch_agrees: bool
    session_agrees: bool
    file_count: int | None
    total_size: str | None
    files: tuple[FileRow, ...]
    grades: int
    markings: int
    mismatched_marks: int
    """Section marks whose section belongs to another assessment than the grade."""
    rule_missing: bool
    """The grade has malpractice, but no malpractice rule exists for its key."""
    infinite_times: str
    """The columns with ``infinity`` or ``-infinity`` instead of a time, joined by commas."""


class VerificationReader:
    """Reads the target page by page, and retries during outages. Raises RunStopped."""

    def __init__(self, connections: Connections, breaker: CircuitBreaker) -> None:
        self._connections = connections
        self._breaker = breaker

    async def total(self) -> int:
        """Number of submissions with a launch id of the form ``rogo_{integer}_…``."""
        (row,) = await self._rows("submissions_total", {})
        return int(row["total"])

    async def sample(self, count: int) -> list[str]:
        """The ids of ``count`` random submissions."""
        return [row["id"] for row in await self._rows("submissions_sample", {"count": count})]

    async def of_launches(self, launch_ids: Sequence[str]) -> list[str]:
        """The ids of the submissions with these launch ids."""
        values: dict[str, object] = {"launch_ids": list(launch_ids)}
        return [row["id"] for row in await self._rows("submissions_of_launches", values)]

    async def pages(self, ids: Sequence[str] | None) -> AsyncIterator[list[SubmissionRow]]:
        """All submissions of that form, or only those of ``ids``, ordered by id."""
        after = ""
        while True:
            values = {"after": after, "count": _PAGE, "ids": None if ids is None else list(ids)}
            rows = [_submission(row) for row in await self._rows("submissions_page", values)]
            if not rows:
                return
            yield rows
            after = rows[-1].id

    async def duplicate_attempts(self) -> list[tuple[int, list[str], list[str]]]:
        """Attempts with several submissions: attempt, launch ids, submission ids."""
        rows = await self._rows("duplicate_attempts", {})
        return [(row["attempt"], row["launch_ids"], row["ids"]) for row in rows]

    async def launches_without_submission(self) -> list[str]:
        """Launch ids of attempts in launch or session records that have no submission."""
        return [row["launch_id"] for row in await self._rows("launches_without_submission", {})]

    async def _rows(self, name: str, values: dict[str, object]) -> list[Any]:
        async def ask() -> list[Any]:
            async with self._connections.session(name) as session:
                return await session.rows(name, values, deadline_s=_SCAN_S)

        return await self._breaker.call(name, ask)


def _submission(row: Any) -> SubmissionRow:
    files = orjson.loads(row["files"]) if row["files"] else []
    return SubmissionRow(
        id=row["id"],
        launch_id=row["launch_id"],
        session_record_id=row["session_record_id"],
        session_id=row["session_id"],
        has_launch=row["has_launch"],
        launch_agrees=row["launch_agrees"],
        session_agrees=row["session_agrees"],
        file_count=row["file_count"],
        total_size=row["total_file_size"],
        files=tuple(FileRow(f["order"], f["container"], f["name"], f["size"]) for f in files),
        grades=row["grades"],
        markings=row["markings"],
        mismatched_marks=row["mismatched_marks"],
        rule_missing=row["rule_missing"],
        infinite_times=row["infinite_times"],
    )
