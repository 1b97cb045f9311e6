"""Values as drivers give them, into the types that the rules need (specification §1).

A value that cannot be converted is not dropped: its column is named in the record's
``unreadable`` and the rules fail the row for it.
"""

import re
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from rogo_async.rules.records import Report, Score

_DATETIMEOFFSET: Final = -155
"""SQL_SS_TIMESTAMPOFFSET; pyodbc does not know it."""
_OFFSET_STRUCT: Final = struct.Struct("<6hI2h")


def register_converters(pyodbc: Any, connection: Any) -> None:
    """Let a raw connection read what pyodbc cannot read, or misreads, by itself."""
    connection.add_output_converter(_DATETIMEOFFSET, datetimeoffset)
    for kind in (pyodbc.SQL_WCHAR, pyodbc.SQL_WVARCHAR, pyodbc.SQL_WLONGVARCHAR):
        connection.add_output_converter(kind, wide_text)


def datetimeoffset(raw: bytes | None) -> datetime | str | None:
    """SQL_SS_TIMESTAMPOFFSET_STRUCT as an aware time in UTC; as a text that is no time where
    this lies outside of the years 1 to 9999.
    """
    if raw is None:
        return None
    year, month, day, hour, minute, second, nanosecond, hours, minutes = _OFFSET_STRUCT.unpack(raw)
    try:
        local = datetime(year, month, day, hour, minute, second, nanosecond // 1000, tzinfo=UTC)
        return local - timedelta(hours=hours, minutes=minutes)
    except (ValueError, OverflowError):
        return "out of range"


def wide_text(raw: bytes | None) -> str | None:
    """NVARCHAR. SQL Server takes halves of surrogate pairs, which pyodbc refuses to decode."""
    return None if raw is None else raw.decode("utf-16-le", "surrogatepass")


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Row:
    """A row of the catalogue's names, read one column at a time."""

    def __init__(self, cells: Mapping[str, Any]) -> None:
        self._cells = cells
        self.unreadable: list[str] = []

    def text(self, column: str) -> str | None:
        value = self._cells[column]
        if value is None:
            return None
        try:
            text = _plain(value)
        except (ValueError, TypeError):
            self.unreadable.append(column)
            return None
        if not text.isascii() and _SURROGATE.search(text):
            # Half of a surrogate pair, which SQL Server takes and no other system does.
            self.unreadable.append(column)
            return None
        return text.strip() or None

    def number(self, column: str) -> Decimal | None:
        value = self._cells.get(column)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            number = value if isinstance(value, Decimal) else Decimal(str(value).strip())
        except (InvalidOperation, ValueError):
            number = Decimal("NaN")
        if not number.is_finite():
            self.unreadable.append(column)
            return None
        return number

    def moment(self, column: str) -> datetime | None:
        value = self._cells[column]
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            return _utc(value)
        except (ValueError, TypeError, OverflowError):
            self.unreadable.append(column)
            return None


def _utc(value: object) -> datetime:
    """A moment in UTC. Raises ValueError, TypeError or OverflowError for what is none."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise TypeError(type(value).__name__)


def _plain(value: object) -> str:
    """Text of a text or a number; a whole number has no decimal point.

    Raises TypeError for bytes and ValueError for a number of several thousand digits.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | bytearray):
        raise TypeError(type(value).__name__)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Decimal):
        whole = value.is_finite() and value == value.to_integral_value()
        return str(int(value)) if whole else str(value)
    return str(value)


def attempt(cells: Mapping[str, Any]) -> int:
    """The attempt that a row is about, whatever the type of its column.

    Raises ValueError where it is no whole number.
    """
    value = cells["AttemptId"]
    try:
        number = int(value)
    except (OverflowError, TypeError):
        raise ValueError("AttemptId") from None
    if not isinstance(value, str) and number != value:
        raise ValueError("AttemptId")
    return number


def report(cells: Mapping[str, Any]) -> Report:
    """A row of Rogo_AssessmentReport. MarksAchieved counts unless it is NULL (rule 8).

    Raises ValueError as ``attempt`` does.
    """
    row = _Row(cells)
    marks = row.number("MarksAchieved")
    if marks is None and "MarksAchieved" not in row.unreadable:
        marks = row.number("MarksAwarded")
    return Report(
        attempt=attempt(cells),
        ti_user_id=row.text("TIUserId"),
        ti_section_id=row.text("TISectionId"),
        exercise=row.text("Exercise"),
        marks=marks,
        marks_available=row.number("MarksAvailable"),
        grade_percent=row.number("GradePercent"),
        grade=row.text("Grade"),
        marker_notes=row.text("MarkerNotes"),
        results_approved=row.moment("ResultsApproved"),
        date_inserted=row.moment("DateInserted"),
        date_modified=row.moment("DateModified"),
        unreadable=tuple(row.unreadable),
    )


def score(cells: Mapping[str, Any]) -> Score:
    """A row of Rogo_AssessmentReportScores. Raises ValueError as ``attempt`` does."""
    row = _Row(cells)
    return Score(
        attempt=attempt(cells),
        label=row.text("ScoreLabelCorrected"),
        score=row.number("Score"),
        marker_comment=row.text("MarkerComment"),
        date_inserted=row.moment("DateInserted"),
        date_modified=row.moment("DateModified"),
        unreadable=tuple(row.unreadable),
    )
