"""The two tables of the warehouse, read in chunks of attempts (DESIGN decision 1)."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from rogo_async.errors import SetupError
from rogo_async.model import Report, Score
from rogo_async.resilience import Gate
from rogo_async.warehouse import convert
from rogo_async.warehouse.pool import Pool

CHUNK_ATTEMPTS: Final = 500
"""Attempts in one query. SQL Server takes at most 2,100 parameters."""

_SCHEMA: Final = "dbo"
_REPORT: Final = "Rogo_AssessmentReport"
_SCORES: Final = "Rogo_AssessmentReportScores"
_MARKS: Final = ("MarksAchieved", "MarksAwarded")
_REPORT_COLUMNS: Final = (
    "AttemptId",
    "TIUserId",
    "TISectionId",
    "Exercise",
    "MarksAvailable",
    "GradePercent",
    "Grade",
    "MarkerNotes",
    "ResultsApproved",
    "DateInserted",
    "DateModified",
)
_SCORE_COLUMNS: Final = (
    "AttemptId",
    "ScoreLabelCorrected",
    "Score",
    "MarkerComment",
    "DateInserted",
    "DateModified",
)
_PROBE_SQL: Final = f'SELECT 1 FROM "{_SCHEMA}"."{_REPORT}" WHERE 1 = 0'  # noqa: S608 - constants
_COLUMNS_SQL: Final = (
    "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)


@dataclass(frozen=True, slots=True)
class LookUp:
    """What the warehouse holds of one attempt. Zero or more rows of each kind."""

    reports: tuple[Report, ...]
    scores: tuple[Score, ...]


class Warehouse:
    """Reads reports and scores. Made by ``open``; its owner calls ``aclose``."""

    def __init__(self, pool: Pool, gate: Gate) -> None:
        self._pool = pool
        self._gate = gate
        self._report_columns: tuple[str, ...] = ()

    @classmethod
    async def open(cls, dsn: str, size: int, gate: Gate) -> Self:
        """Connect and read the catalogue.

        Raises SetupError naming missing tables and columns, TransientFault while the server is
        away, SystemicFault where it refuses for good.
        """
        warehouse = cls(Pool(dsn, size), gate)
        try:
            await warehouse._read_catalogue()
        except BaseException:
            await warehouse.aclose()
            raise
        return warehouse

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def look_up(self, attempts: Sequence[int]) -> dict[int, LookUp]:
        """Reports and scores of up to CHUNK_ATTEMPTS attempts, in two queries side by side.

        Attempts without any row are not in the result. Raises RunStopped, or a DependencyFault
        when the warehouse keeps failing for this query alone.
        """
        asked = [*attempts, *[attempts[-1]] * (CHUNK_ATTEMPTS - len(attempts))]
        report_rows, score_rows = await _both(
            self._gate.call("reports", lambda: self._select("reports", asked), self._probe),
            self._gate.call("scores", lambda: self._select("scores", asked), self._probe),
        )
        reports: dict[int, list[Report]] = {}
        for row in report_rows:
            report = convert.report(dict(zip(self._report_columns, row, strict=True)))
            reports.setdefault(report.attempt, []).append(report)
        scores: dict[int, list[Score]] = {}
        for row in score_rows:
            score = convert.score(dict(zip(_SCORE_COLUMNS, row, strict=True)))
            scores.setdefault(score.attempt, []).append(score)
        return {
            attempt: LookUp(tuple(reports.get(attempt, ())), tuple(scores.get(attempt, ())))
            for attempt in reports.keys() | scores.keys()
        }

    async def _select(self, which: str, attempts: Sequence[int]) -> list[Any]:
        columns, table = (
            (self._report_columns, _REPORT) if which == "reports" else (_SCORE_COLUMNS, _SCORES)
        )
        names = ", ".join(f'"{name}"' for name in columns)
        places = ", ".join("?" * len(attempts))
        return await self._pool.rows(
            which,
            # Nothing in it comes from outside: names and question marks.
            f'SELECT {names} FROM "{_SCHEMA}"."{table}" WHERE "AttemptId" IN ({places})',  # noqa: S608
            attempts,
        )

    async def _probe(self) -> None:
        await self._pool.rows("probe", _PROBE_SQL)

    async def _read_catalogue(self) -> None:
        report = await self._columns_of(_REPORT)
        scores = await self._columns_of(_SCORES)
        problems = [
            *_missing(_REPORT, report, _REPORT_COLUMNS),
            *_missing(_SCORES, scores, _SCORE_COLUMNS),
        ]
        marks = tuple(name for name in _MARKS if name in report)
        if report and not marks:
            problems.append(f"warehouse: {_SCHEMA}.{_REPORT} has neither {' nor '.join(_MARKS)}")
        if problems:
            raise SetupError(*problems)
        self._report_columns = (*_REPORT_COLUMNS, *marks)

    async def _columns_of(self, table: str) -> set[str]:
        found = await self._pool.rows("catalogue", _COLUMNS_SQL, (_SCHEMA, table))
        return {str(row[0]) for row in found}


def _missing(table: str, found: set[str], wanted: Sequence[str]) -> list[str]:
    if not found:
        problem = (
            f"warehouse: there is no table {_SCHEMA}.{table}, or no right to see it. "
            "Check the database in DATA_WAREHOUSE_CONNECTION_STRING and grant SELECT"
        )
        return [problem]
    missing = [name for name in wanted if name not in found]
    if not missing:
        return []
    return [f"warehouse: {_SCHEMA}.{table} has no column {', '.join(missing)}"]


async def _both(*reads: Coroutine[Any, Any, list[Any]]) -> list[list[Any]]:
    """Both results. The one that fails first ends the other and is raised by itself."""
    tasks = [asyncio.create_task(read, name="warehouse-read") for read in reads]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
