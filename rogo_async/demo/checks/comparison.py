"""Holds found rows against expected ones and says how they differ."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rogo_async.demo.checks.expected import TIME_OF_WRITING

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check of a finished run. ``detail`` counts what was compared, or says what is wrong."""

    name: str
    ok: bool
    detail: str


class Comparison:
    """One check in the making: counts what it compares and keeps the first differences.

    A check that has compared nothing, though there was something to compare, is not passed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.columns = 0
        self._wrong: list[str] = []
        self._wrong_count = 0

    def add_difference(self, text: str) -> None:
        """Notes a difference."""
        self._wrong_count += 1
        if len(self._wrong) < _SHOWN:
            self._wrong.append(text)

    def equal(self, what: str, expected: object, found: object) -> None:
        """Notes a difference unless both values are the same."""
        if not same(expected, found):
            self.add_difference(f"{what} is {found!r}, not {expected!r}")

    def row(
        self, what: str, expected: Mapping[str, object], found: Mapping[str, object] | None
    ) -> None:
        """Compares the columns that are expected; others may hold anything."""
        self.rows += 1
        if found is None:
            self.add_difference(f"{what}: no row")
            return
        self.columns += len(expected)
        for column, value in expected.items():
            self.equal(f"{what}: {column}", value, found[column])

    def result(self, counted: str) -> CheckResult:
        """The end of the check. ``counted`` says what was compared, such as ``12 rows``."""
        if not self._wrong_count:
            return CheckResult(self.name, True, counted)
        more = self._wrong_count - len(self._wrong)
        tail = f"; and {more:,} more" if more else ""
        return CheckResult(self.name, False, "; ".join(self._wrong) + tail)


def same(expected: object, found: object) -> bool:
    """Equality as the target stores values.

    A ``real`` has the precision of 32 bits, JSON may come as text, and a name that is empty
    may be NULL.
    """
    if expected is TIME_OF_WRITING:
        return isinstance(found, datetime)
    match expected, found:
        case "", None:
            return True
        case float(), float():
            return struct.pack("f", expected) == struct.pack("f", found)
        case dict(), str():
            return bool(json.loads(found) == expected)
    return expected == found and isinstance(expected, bool) == isinstance(found, bool)
