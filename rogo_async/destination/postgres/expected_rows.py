"""The rows that an insert would write, computed by PostgreSQL and not inserted.

The statement is made from the text of ``insert_submission`` and ``insert_malpractice_rule``: each
INSERT becomes a SELECT of the same values. So the columns and the values have one definition, and
every value has been through the type of its column, as in the table (specification §5,
``verify --source``).
"""

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import orjson

from rogo_async.destination.postgres.queries import statement_text

_INSERT: Final = re.compile(r"INSERT INTO (\w+) \(([^)]*)\)\s*(VALUES|SELECT)\b")
_END: Final = re.compile(r"\s*(?:ON CONFLICT|RETURNING)\b")
_FROM: Final = re.compile(r"\bFROM\s+(?:launch|session|submission)\b,?")
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)(?:::([a-z]+(?:\[\])?))?")
_SUBMISSIONS: Final = (
    "WITH p AS MATERIALIZED ("
    "SELECT * FROM json_to_recordset($1::json) AS submissions (number int, {columns}))"
)
_ROWS: Final = (
    "SELECT p.number, '{name}' AS table_name, "
    "to_jsonb(jsonb_populate_record(NULL::{name}, to_jsonb(v)))::text AS content "
    "FROM p CROSS JOIN LATERAL ({select}) AS v"
)
_ARRAY: Final = re.compile(r":([a-z_]+)::[a-z]+\[\]")
_UNNESTED: Final = re.compile(r"\b[fm]\.\w+")
_RETURNED: Final = {
    "launch.launch_id": ":launch_id::text",
    "session.id": ":session_record_id::text",
    "session.launch_id": ":launch_id::text",
    "submission.id": ":submission_id::text",
}
"""What an earlier part of ``insert_submission`` returns to a later one."""

Row = Mapping[str, Any]
"""A row as JSON values, by column."""


@dataclass(frozen=True, slots=True)
class InsertedTable:
    """One INSERT. ``select`` returns its rows; ``columns`` are those that have a known value."""

    name: str
    columns: tuple[str, ...]
    parameters: Mapping[str, frozenset[str]]
    """What the value of each column uses: parameters, and columns of ``unnest`` as ``f.name``."""
    select: str
    array: str | None
    """A parameter that has an element for each row; None for a single row."""


@dataclass(frozen=True, slots=True)
class ExpectedQuery:
    """A statement whose only argument is a JSON list of the parameters of several submissions."""

    tables: Mapping[str, InsertedTable]
    types: Mapping[str, str]

    @property
    def submissions(self) -> str:
        """The WITH clause that reads the argument as ``p``; ``p.number`` counts from 0."""
        columns = ", ".join(f"{parameter} {kind}" for parameter, kind in self.types.items())
        return _SUBMISSIONS.format(columns=columns)

    @property
    def sql(self) -> str:
        """Returns ``number``, ``table_name`` and ``content`` (JSON) of each row."""
        parts = [
            _ROWS.format(name=table.name, select=self.select(table))
            for table in self.tables.values()
        ]
        return f"{self.submissions} {' UNION ALL '.join(parts)}"

    def select(self, table: InsertedTable) -> str:
        """The SELECT of the rows of one submission ``p`` in a table."""
        return _PARAMETER.sub(_of_submission, table.select)

    def count_rows(self, values: Mapping[str, Any]) -> int:
        """How many rows an insert of these parameters writes, in all tables."""
        return sum(len(values[table.array]) if table.array else 1 for table in self.tables.values())

    def argument(self, submissions: Sequence[Mapping[str, object]]) -> str:
        """The parameters of these submissions; ``number`` counts them from 0.

        A number for a ``real`` column is rounded as asyncpg rounds it. Raises KeyError.
        """
        reals = [name for name, kind in self.types.items() if kind in {"real", "real[]"}]
        return orjson.dumps(
            [
                {
                    **values,
                    **{name: _as_real(values[name]) for name in reals},
                    "number": number,
                }
                for number, values in enumerate(submissions)
            ]
        ).decode()


@cache
def expected_query(name: str) -> ExpectedQuery:
    """The statement that returns the rows which the insert ``name`` would write."""
    text = statement_text(name)
    tables = {table.name: table for table in _inserts(text)}
    types = {
        parameter: kind or "text"
        for table in tables.values()
        for parameter, kind in _PARAMETER.findall(table.select)
    }
    return ExpectedQuery(tables, types)


def _of_submission(match: re.Match[str]) -> str:
    name, kind = match.groups()
    return f"p.{name}::{kind}" if kind else f"p.{name}"


def _as_real(value: object) -> object:
    if isinstance(value, float):
        return _single(value)
    if isinstance(value, Sequence):
        return [_as_real(each) for each in value]
    return value


def _single(value: float) -> float:
    """The nearest number of single precision."""
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return float(rounded)


def _inserts(text: str) -> list[InsertedTable]:
    found = []
    for match in _INSERT.finditer(text):
        columns = tuple(column.strip() for column in match[2].split(","))
        body = _until_end(text[match.end() :])
        for returned, parameter in _RETURNED.items():
            body = re.sub(rf"\b{re.escape(returned)}\b", parameter, body)
        if match[3] == "VALUES":
            body = body.strip().removeprefix("(").removesuffix(")")
        values, source = _split(body)
        pairs = [(c, v) for c, v in zip(columns, values, strict=True) if v != "now()"]
        selected = ", ".join(f"{value} AS {column}" for column, value in pairs)
        found.append(
            InsertedTable(
                name=match[1],
                columns=tuple(column for column, _ in pairs),
                parameters={
                    column: frozenset(
                        [name for name, _ in _PARAMETER.findall(value)] + _UNNESTED.findall(value)
                    )
                    for column, value in pairs
                },
                select=f"SELECT {selected} {source}".strip(),
                array=next(iter(_ARRAY.findall(source)), None),
            )
        )
    return found


def _until_end(text: str) -> str:
    """The values of an INSERT, up to its ON CONFLICT, RETURNING or end."""
    depth = 0
    for position, character in enumerate(text):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0 or (depth == 0 and _END.match(text, position)):
            return text[:position]
    return text


def _split(body: str) -> tuple[list[str], str]:
    """The values of a SELECT list, and the FROM clause after them without earlier parts."""
    values: list[str] = []
    depth = start = 0
    for position, character in enumerate(body):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0 and character == ",":
            values.append(body[start:position].strip())
            start = position + 1
        elif depth == 0 and body.startswith("FROM", position) and body[position - 1].isspace():
            values.append(body[start:position].strip())
            source = _FROM.sub("", body[position:]).strip()
            return values, f"FROM {source}" if source else ""
    return [*values, body[start:].strip()], ""
