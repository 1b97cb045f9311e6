"""The two tables of the warehouse, and how a driver is told of them (SPEC §1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rogo_async.sources.warehouse.pool import Pool

SCHEMA: Final = "dbo"
REPORT: Final = "Rogo_AssessmentReport"
SCORES: Final = "Rogo_AssessmentReportScores"
MARKS: Final = ("MarksAchieved", "MarksAwarded")
REPORT_COLUMNS: Final = (
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
SCORE_COLUMNS: Final = (
    "AttemptId",
    "ScoreLabelCorrected",
    "Score",
    "MarkerComment",
    "DateInserted",
    "DateModified",
)
_COLUMNS_SQL: Final = (
    "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is read: our names of its columns, and the catalogue's own spelling."""

    name: str
    columns: tuple[str, ...]
    spelled: tuple[str, ...]

    def select(self, condition: str) -> str:
        """A query. Nothing in it comes from outside: the catalogue's names and constants."""
        names = ", ".join(f'"{name}"' for name in self.spelled)
        return f'SELECT {names} FROM "{SCHEMA}"."{self.name}" WHERE {condition}'  # noqa: S608

    def select_attempts(self, count: int) -> str:
        """A query for so many attempts, which are its parameters."""
        return self.select(f'"{self.spelled[0]}" IN ({", ".join("?" * count)})')


def table_of(name: str, columns: tuple[str, ...], found: Mapping[str, str]) -> Table:
    """A table whose columns stand in the catalogue as ``found`` (by their lower case)."""
    return Table(name, columns, tuple(found[column.lower()] for column in columns))


async def columns_of(pool: Pool, table: str) -> dict[str, str]:
    """The names of a table's columns, by their lower case: SQL Server's names have no case."""
    found = await pool.rows("catalogue", _COLUMNS_SQL, (SCHEMA, table))
    return {str(row[0]).lower(): str(row[0]) for row in found}


def missing_from(found: Mapping[str, str], wanted: Sequence[str]) -> list[str]:
    """Those of the wanted columns that the catalogue does not have."""
    return [name for name in wanted if name.lower() not in found]


def marks_in(found: Mapping[str, str]) -> tuple[str, ...]:
    """The columns of marks that this installation has."""
    return tuple(name for name in MARKS if name.lower() in found)


def full_name(table: str) -> str:
    """Schema and name."""
    return f"{SCHEMA}.{table}"
