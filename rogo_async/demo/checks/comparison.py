"""Compares found rows with expected rows and describes the differences."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rogo_async.demo.checks.expected import TIME_OF_INSERT

_MAX_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Result of one check. ``detail`` counts the compared items, or describes the differences."""

    name: str
    ok: bool
    detail: str


class Comparison:
    """One check in progress: counts the comparisons and stores the first differences."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows = 0
        self.columns = 0
        self._differences: list[str] = []
        self._difference_count = 0

    def add_difference(self, text: str) -> None:
        """Records a difference."""
        self._difference_count += 1
        if len(self._differences) < _MAX_SHOWN:
            self._differences.append(text)

    def equal(self, what: str, expected: object, found: object) -> None:
        """Records a difference unless both values are the same."""
        if not same(expected, found):
            self.add_difference(f"{what}: {found!r} instead of {expected!r}")

    def row(
        self, what: str, expected: Mapping[str, object], found: Mapping[str, object] | None
    ) -> None:
        """Compares the columns of ``expected`` and ignores others."""
        self.rows += 1
        if found is None:
            self.add_difference(f"{what}: row missing")
            return
        self.columns += len(expected)
        for column, value in expected.items():
            self.equal(f"{what}: {column}", value, found[column])

    def result(self, counted: str) -> CheckResult:
        """Ends the check. ``counted`` is the detail of a passed check, such as ``12 rows``."""
        if not self._difference_count:
            return CheckResult(self.name, True, counted)
        more = self._difference_count - len(self._differences)
        tail = f"; and {more:,} more" if more else ""
        return CheckResult(self.name, False, "; ".join(self._differences) + tail)


def same(expected: object, found: object) -> bool:
    """Whether two values are equal as the target stores them.

    A ``real`` has a precision of 32 bits, and an empty name may be NULL.
    """
    if expected is TIME_OF_INSERT:
        return isinstance(found, datetime)
    match expected, found:
        case "", None:
            return True
        case float(), float():
            return struct.pack("f", expected) == struct.pack("f", found)
    return expected == found and isinstance(expected, bool) == isinstance(found, bool)
