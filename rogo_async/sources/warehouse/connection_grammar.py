"""Parses connection strings in the syntax of ODBC or ADO.NET, and quotes values for ODBC.

Sources: Microsoft's pages on SQLDriverConnect and on DbConnectionStringBuilder. FreeTDS treats
the closing brace of an ODBC value differently.
"""

import re
from dataclasses import dataclass
from typing import Final

Pairs = list[tuple[str, str]]
"""Keywords as written, and values without their quotes, in order."""

_ODBC_PAIR: Final = re.compile(
    r"\s*(?P<key>[^\s=;{}][^=;{}]*?)\s*=\s*(?P<value>\{(?:[^}]|\}\})*\}|(?!\{)[^;]*?)\s*(?:;|\Z)",
    re.DOTALL,
)
_FREETDS_PAIR: Final = re.compile(
    r"\s*(?P<key>[^\s=;{}][^=;{}]*?)\s*=\s*(?P<value>\{.*?\}(?=\s*(?:;|\Z))|(?!\{)[^;]*?)\s*(?:;|\Z)",
    re.DOTALL,
)
_ADO_PAIR: Final = re.compile(
    r"\s*(?P<key>(?:==|[^\s=;])(?:==|[^=;])*?)\s*=(?!=)\s*"
    r"(?P<value>\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|(?![\"'])[^;]*?)\s*(?:;|\Z)",
    re.DOTALL,
)
_NEEDS_NO_BRACES: Final = re.compile(r"[A-Za-z0-9_.,:\-\\/+]*")
_ADO_ONLY: Final = frozenset(
    {"datasource", "initialcatalog", "userid", "user", "password", "integratedsecurity"}
)
"""Keywords of ADO.NET that ODBC does not have."""
_NAMES_DRIVER: Final = frozenset({"driver", "dsn", "filedsn"})


@dataclass(frozen=True, slots=True)
class ParsedString:
    """A parsed connection string. ``names_driver`` is true only for the ODBC syntax."""

    pairs: Pairs
    names_driver: bool


def parse(text: str) -> ParsedString | None:
    """Parse a string in either syntax; None if it has neither.

    A string with a driver is ODBC, one with a keyword that only ADO.NET has is ADO.NET, and an
    ambiguous one is ODBC.
    """
    odbc, ado = _pairs(_ODBC_PAIR, text), _pairs(_ADO_PAIR, text)
    if odbc is None and _keys(freetds := _pairs(_FREETDS_PAIR, text)) & _NAMES_DRIVER:
        odbc = freetds
    is_ado = bool(_keys(ado) & _ADO_ONLY) and not _keys(ado) & _NAMES_DRIVER
    is_odbc = bool(_keys(odbc) & _NAMES_DRIVER) or not _keys(odbc) & _ADO_ONLY
    if odbc is not None and is_odbc and not is_ado:
        pairs = [(key, _unbraced(value)) for key, value in odbc]
        return ParsedString(pairs, bool(_keys(odbc) & _NAMES_DRIVER))
    if ado is not None and not _keys(ado) & _NAMES_DRIVER:
        pairs = [(key.replace("==", "="), _unquoted(value)) for key, value in ado]
        return ParsedString(pairs, names_driver=False)
    return None


def normalized(key: str) -> str:
    """A keyword in the form to compare: lower case, without white space."""
    return "".join(key.lower().split())


def odbc_value(value: str) -> str:
    """Quote a value for ODBC: in braces, with a closing brace doubled, if it needs them."""
    if _NEEDS_NO_BRACES.fullmatch(value):
        return value
    return "{" + value.replace("}", "}}") + "}"


def freetds_value(value: str) -> str | None:
    """Quote a value for FreeTDS; None if that is impossible.

    FreeTDS ends a value in braces at the first ``};`` and does not know doubled braces. The pair
    must be followed by a semicolon.
    """
    if ";" not in value and not value.startswith("{"):
        return value
    return None if "};" in value else "{" + value + "}"


def _pairs(pair: re.Pattern[str], text: str) -> Pairs | None:
    pairs = []
    position = 0
    while text[position:].strip(" ;\t\r\n"):
        position += len(text[position:]) - len(text[position:].lstrip(" ;\t\r\n"))
        found = pair.match(text, position)
        if found is None:
            return None
        pairs.append((found["key"], found["value"]))
        position = found.end()
    return pairs


def _keys(pairs: Pairs | None) -> set[str]:
    return {normalized(key) for key, _ in pairs or ()}


def _unbraced(value: str) -> str:
    return value[1:-1].replace("}}", "}") if value.startswith("{") else value


def _unquoted(value: str) -> str:
    mark = value[:1]
    return value[1:-1].replace(mark * 2, mark) if mark and mark in "\"'" else value
