"""The two grammars of connection strings, ODBC's and ADO.NET's, and how to write values down.

Sources: Microsoft's page on the arguments of SQLDriverConnect and its rules for
DbConnectionStringBuilder; FreeTDS's own reading of ODBC strings differs in the closing brace.
"""

import re
from dataclasses import dataclass
from typing import Final

Pairs = list[tuple[str, str]]
"""Keywords, as written, and values, freed of their quotes, in the order in which they stand."""

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
_ADO_ALONE: Final = frozenset(
    {"datasource", "initialcatalog", "userid", "user", "password", "integratedsecurity"}
)
"""Keywords that ADO.NET has and ODBC has not."""
_NAMES_DRIVER: Final = frozenset({"driver", "dsn", "filedsn"})


@dataclass(frozen=True, slots=True)
class ParsedString:
    """A connection string that was read. ``names_driver`` is only true of the ODBC form."""

    pairs: Pairs
    names_driver: bool


def parse(text: str) -> ParsedString | None:
    """Read either form; None for a text of neither.

    A string with a driver is ODBC's; one with a keyword that only ADO.NET knows is ADO.NET's;
    what could be either is read as ODBC's.
    """
    odbc, ado = _pairs(_ODBC_PAIR, text), _pairs(_ADO_PAIR, text)
    if odbc is None and _keys(freetds := _pairs(_FREETDS_PAIR, text)) & _NAMES_DRIVER:
        odbc = freetds
    is_ado = bool(_keys(ado) & _ADO_ALONE) and not _keys(ado) & _NAMES_DRIVER
    is_odbc = bool(_keys(odbc) & _NAMES_DRIVER) or not _keys(odbc) & _ADO_ALONE
    if odbc is not None and is_odbc and not is_ado:
        pairs = [(key, _unbraced(value)) for key, value in odbc]
        return ParsedString(pairs, bool(_keys(odbc) & _NAMES_DRIVER))
    if ado is not None and not _keys(ado) & _NAMES_DRIVER:
        pairs = [(key.replace("==", "="), _unquoted(value)) for key, value in ado]
        return ParsedString(pairs, names_driver=False)
    return None


def normalized(key: str) -> str:
    """A keyword as it is compared: any case, white space or none."""
    return "".join(key.lower().split())


def odbc_value(value: str) -> str:
    """A value as ODBC reads it back: in braces, a closing brace doubled, where it needs them."""
    if _NEEDS_NO_BRACES.fullmatch(value):
        return value
    return "{" + value.replace("}", "}}") + "}"


def freetds_value(value: str) -> str | None:
    """A value as FreeTDS reads it back, None where it cannot be written.

    FreeTDS ends a value in braces at the first ``};`` and knows no doubled brace. The pair must
    be followed by a semicolon.
    """
    if ";" not in value and not value.startswith("{"):
        return value
    return None if "};" in value else "{" + value + "}"


def _pairs(pair: re.Pattern[str], text: str) -> Pairs | None:
    pairs = []
    place = 0
    while text[place:].strip(" ;\t\r\n"):
        place += len(text[place:]) - len(text[place:].lstrip(" ;\t\r\n"))
        found = pair.match(text, place)
        if found is None:
            return None
        pairs.append((found["key"], found["value"]))
        place = found.end()
    return pairs


def _keys(pairs: Pairs | None) -> set[str]:
    return {normalized(key) for key, _ in pairs or ()}


def _unbraced(value: str) -> str:
    return value[1:-1].replace("}}", "}") if value.startswith("{") else value


def _unquoted(value: str) -> str:
    mark = value[:1]
    return value[1:-1].replace(mark * 2, mark) if mark and mark in "\"'" else value
