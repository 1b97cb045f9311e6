"""How values of SQL Server's own types are read, on each connection to it."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any, Final

_DATETIMEOFFSET: Final = -155
"""SQL_SS_TIMESTAMPOFFSET; pyodbc does not know it."""
_OFFSET_STRUCT: Final = struct.Struct("<6hI2h")


def set_up(pyodbc: Any, connection: Any) -> None:
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
