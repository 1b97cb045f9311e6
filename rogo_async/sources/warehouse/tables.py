"""The two tables of the warehouse: required columns, and the queries that read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rogo_async.sources.warehouse.pool import Pool

SCHEMA: Final = "dbo"
REPORT: Final = "Rogo_AssessmentReport"
SCORES: Final = "Rogo_AssessmentReportScores"
_MARKS: Final = ("MarksAchieved", "MarksAwarded")
"""An installation has one of these columns or both."""
_REQUIRED: Final = {
    REPORT: (
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
    ),
    SCORES: (
        "AttemptId",
        "ScoreLabelCorrected",
        "Score",
        "MarkerComment",
        "DateInserted",
        "DateModified",
    ),
}
_COLUMNS_SQL: Final = (
    "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?"
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table to read: this tool's names of its columns, and the server's spelling of them."""

    name: str
    columns: tuple[str, ...]
    spelled: tuple[str, ...]

    def select(self, condition: str) -> str:
        """A SELECT statement. It contains only constants and names from the server's catalogue."""
        names = ", ".join(f'"{name}"' for name in self.spelled)
        return f'SELECT {names} FROM "{SCHEMA}"."{self.name}" WHERE {condition}'  # noqa: S608

    def select_attempts(self, count: int) -> str:
        """A SELECT statement for ``count`` attempts, which are its parameters."""
        return self.select(f'"{self.spelled[0]}" IN ({", ".join("?" * count)})')


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The columns of both tables as the server spells them, by their lower-case names.

    SQL Server compares names without case. A table that does not exist, or that the login may
    not see, has no columns.
    """

    report: Mapping[str, str]
    scores: Mapping[str, str]

    def missing_tables(self) -> list[str]:
        """Full names of the tables that do not exist or are not visible."""
        return [full_name(name) for name, columns in self._columns() if not columns]

    def missing_columns(self) -> dict[str, list[str]]:
        """The required columns that an existing table does not have, by the table's full name."""
        missing = {}
        for name, columns in self._columns():
            names = [each for each in _REQUIRED[name] if each.lower() not in columns]
            if name == REPORT and not self._marks():
                names.append(" or ".join(_MARKS))
            if columns and names:
                missing[full_name(name)] = names
        return missing

    def tables(self) -> tuple[Table, Table]:
        """Reports and scores, with the columns to read. The catalogue must have all columns."""
        columns = (*_REQUIRED[REPORT], *self._marks())
        return (
            Table(REPORT, columns, tuple(self.report[each.lower()] for each in columns)),
            Table(
                SCORES,
                _REQUIRED[SCORES],
                tuple(self.scores[each.lower()] for each in _REQUIRED[SCORES]),
            ),
        )

    def _columns(self) -> tuple[tuple[str, Mapping[str, str]], ...]:
        return (REPORT, self.report), (SCORES, self.scores)

    def _marks(self) -> tuple[str, ...]:
        return tuple(name for name in _MARKS if name.lower() in self.report)


async def read_catalogue(pool: Pool) -> Catalogue:
    """Read the columns of both tables. Raises TransientError or SystemicError."""
    return Catalogue(await _columns_of(pool, REPORT), await _columns_of(pool, SCORES))


async def _columns_of(pool: Pool, table: str) -> dict[str, str]:
    rows = await pool.rows("catalogue", _COLUMNS_SQL, (SCHEMA, table))
    return {str(row[0]).lower(): str(row[0]) for row in rows}


def full_name(table: str) -> str:
    """Schema and name."""
    return f"{SCHEMA}.{table}"
