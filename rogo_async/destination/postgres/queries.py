"""Loads the named statements of ``sql/*.sql``.

A statement follows a line ``-- name: x``; ``:name`` marks a parameter. Parameters become ``$1``,
``$2`` and so on, in the order of their first use.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_INSERT = re.compile(r"INSERT INTO (\w+) \(([^)]*)\)")
_VALUES = re.compile(r"\s*(VALUES\s*\(|SELECT)")
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with numbered parameters, and their names in that order."""

    sql: str
    parameters: tuple[str, ...]

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The values in the order of the parameters. Raises KeyError for a missing one."""
        return [values[name] for name in self.parameters]


@cache
def query(name: str) -> Query:
    """The statement of this name. Raises KeyError for an unknown one."""
    return _all()[name]


def statement_text(name: str) -> str:
    """The text of a statement with its parameters as ``:name``. Raises KeyError."""
    return _texts()[name]


def inserted_tables(*names: str) -> dict[str, tuple[str, ...]]:
    """Tables and columns of the INSERTs in the named statements, in the order of their SQL."""
    return {
        table: tuple(column.strip() for column in columns.split(","))
        for name in names
        for table, columns in _INSERT.findall(query(name).sql)
    }


def place_in_insert(sql: str, position: int) -> tuple[str | None, str | None]:
    """Table and column of an INSERT to which an offset in ``sql`` belongs, as far as known.

    The offset is in the list of columns, or in the list of their values.
    """
    inserts = [found for found in _INSERT.finditer(sql) if found.start() <= position]
    if not inserts:
        return None, None
    table, names = inserts[-1].groups()
    if position < inserts[-1].end():
        word = re.match(r"\w+", sql[position:])
        return table, word[0] if word and position > inserts[-1].end(1) else None
    columns = [name.strip() for name in names.split(",")]
    text = _VALUES.sub("", sql[inserts[-1].end() : position], count=1)
    depth = index = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        index += character == "," and depth == 0
    return table, columns[index] if depth >= 0 and index < len(columns) else None


@cache
def _all() -> dict[str, Query]:
    return {name: _numbered(text) for name, text in _texts().items()}


@cache
def _texts() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in (resources.files(__package__) / "sql").iterdir():
        parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            found[name] = _COMMENT.sub("", text).strip().rstrip(";")
    return found


def _numbered(text: str) -> Query:
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return Query(_PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text), names)
