"""The SQL files of this folder, by the names of their statements.

A statement follows a line ``-- name: x``; ``:name`` marks a parameter. Parameters are numbered in
the order they first stand, as PostgreSQL wants them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_]+)")
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True, slots=True)
class Query:
    """A statement with numbered parameters and the names that they stand for."""

    sql: str
    parameters: tuple[str, ...]

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """The values in the order of the parameters. Raises KeyError for one that is missing."""
        return [values[name] for name in self.parameters]


@cache
def query(name: str) -> Query:
    """The statement of this name. Raises KeyError when no file has it."""
    return _all()[name]


@cache
def _all() -> dict[str, Query]:
    found: dict[str, Query] = {}
    for file in (resources.files(__package__) / "sql").iterdir():
        parts = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            found[name] = _numbered(_COMMENT.sub("", text).strip().rstrip(";"))
    return found


def _numbered(text: str) -> Query:
    names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
    return Query(_PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text), names)
