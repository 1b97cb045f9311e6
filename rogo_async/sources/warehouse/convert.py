"""Converts the values of ODBC drivers to the types that the rules need (specification §1).

If a value cannot be converted, its column is listed in the record's ``unreadable``, and the
rules fail the row.
"""

import re
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from rogo_async.rules.records import Report, Score

_DATETIMEOFFSET: Final = -155
"""SQL_SS_TIMESTAMPOFFSET, which pyodbc does not support."""
_OFFSET_STRUCT: Final = struct.Struct("<6hI2h")


def register_converters(pyodbc: Any, connection: Any) -> None:
    """Register converters for the types that pyodbc does not read, or reads incorrectly."""
    connection.add_output_converter(_DATETIMEOFFSET, datetimeoffset)
    for kind in (pyodbc.SQL_WCHAR, pyodbc.SQL_WVARCHAR, pyodbc.SQL_WLONGVARCHAR):
        connection.add_output_converter(kind, wide_text)


def datetimeoffset(raw: bytes | None) -> datetime | str | None:
    """Convert a SQL_SS_TIMESTAMPOFFSET_STRUCT to a time in UTC.

    For a time outside the years 1 to 9999 it returns a text, which is then unreadable.
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
    """Decode NVARCHAR. SQL Server stores lone surrogates, which pyodbc does not decode."""
    return None if raw is None else raw.decode("utf-16-le", "surrogatepass")


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class _Row:
    """Reads the columns of one row; collects the names of unreadable ones."""

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
            # A lone surrogate, which PostgreSQL does not store.
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
    """Convert to UTC. Raises ValueError, TypeError or OverflowError if it is not a time."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.strip())
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC)
    raise TypeError(type(value).__name__)


def _plain(value: object) -> str:
    """Convert text or a number to text; a whole number has no decimal point.

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
    """The attempt of a row; its column may have any type.

    Raises ValueError if it is not a whole number.
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
    """Convert a row of Rogo_AssessmentReport; MarksAchieved counts unless it is NULL (rule 8).

    Raises ValueError if AttemptId is not a whole number.
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
    """Convert a row of Rogo_AssessmentReportScores.

    Raises ValueError if AttemptId is not a whole number.
    """
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
