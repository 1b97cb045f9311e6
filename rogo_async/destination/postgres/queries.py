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
