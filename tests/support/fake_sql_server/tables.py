"""Tables in memory, and the statements that the product sends to read them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.support.fake_sql_server.values import Text, Type

KEY: Final = "AttemptId"

_SELECT: Final = re.compile(
    r'SELECT (?P<columns>.+) FROM "dbo"\."(?P<table>\w+)" WHERE (?P<condition>.+)', re.DOTALL
)
_ATTEMPTS: Final = re.compile(r'"AttemptId" IN \(.+\)')
_CATALOGUE: Final = re.compile(r"SELECT COLUMN_NAME FROM INFORMATION_SCHEMA\.COLUMNS WHERE .+")
_OPERATIONS: Final = {
    "Rogo_AssessmentReport": "reports",
    "Rogo_AssessmentReportScores": "scores",
}


class NotAnswered(Exception):
    """The server answers a statement with this error number and text."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{number}: {text}")
        self.number = number
        self.text = text


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Result:
    """A result set."""

    columns: list[tuple[str, Type]]
    rows: Sequence[Sequence[Any]]


class Table:
    """A table of the schema dbo, indexed by attempt."""

    def __init__(
        self, name: str, columns: Sequence[Column], rows: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self.name = name
        self.types = {column.name: column.type for column in columns}
        self._rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for row in rows:
            self._rows[row[KEY]].append(dict(row))

    def rows_of(self, attempt: int) -> list[dict[str, Any]]:
        return self._rows[attempt]

    def select(self, columns: Sequence[str], attempts: Iterable[int]) -> Result:
        """Raises NotAnswered for an unknown column."""
        for column in columns:
            if column not in self.types:
                raise NotAnswered(207, f"Invalid column name '{column}'.")
        rows = [
            [row.get(column) for column in columns]
            for attempt in dict.fromkeys(attempts)
            for row in self._rows.get(attempt, ())
        ]
        return Result([(column, self.types[column]) for column in columns], rows)


class Database:
    """The tables that a statement may name."""

    def __init__(self, tables: Iterable[Table]) -> None:
        self.tables = {table.name: table for table in tables}

    def operation_of(self, sql: str) -> str:
        """The operation of the product that sends this statement; ``other`` for none."""
        if found := _SELECT.fullmatch(sql):
            if _ATTEMPTS.fullmatch(found["condition"]):
                return _OPERATIONS.get(found["table"], "other")
            return "probe" if found["condition"] == "1 = 0" else "other"
        return "catalogue" if _CATALOGUE.fullmatch(sql) else "other"

    def answer(self, sql: str, parameters: Sequence[Any]) -> Result | None:
        """The result set, or None for a statement without one. Raises NotAnswered."""
        if found := _SELECT.fullmatch(sql):
            columns = re.findall(r'"(\w+)"', found["columns"])
            return self._table(found["table"]).select(columns, parameters)
        if _CATALOGUE.fullmatch(sql):
            table = self.tables.get(parameters[1]) if parameters[0] == "dbo" else None
            names = [[name] for name in table.types] if table else []
            return Result([("COLUMN_NAME", Text(128))], names)
        if re.match(r"(?i)\s*(set|use)\s", sql):
            return None
        raise NotAnswered(102, f"Incorrect syntax near '{sql[:40]}'.")

    def _table(self, name: str) -> Table:
        if name not in self.tables:
            raise NotAnswered(208, f"Invalid object name 'dbo.{name}'.")
        return self.tables[name]
