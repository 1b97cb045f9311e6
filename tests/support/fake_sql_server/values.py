"""Types and values of columns and parameters ([MS-TDS] 2.2.5.4 and 2.2.5.5)."""

import struct
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any, Final, Protocol

from tests.support.fake_sql_server.wire import Reader

COLLATION: Final = bytes.fromhex("0904d00034")
"""SQL_Latin1_General_CP1_CI_AS."""

_EXACT: Final = Context(prec=80)
_ONE_DAY: Final = timedelta(days=1)
_PLP: Final = 0xFFFF
_PLP_NULL: Final = b"\xff" * 8
_PLP_CHUNK_BYTES: Final = 3_001


class Type(Protocol):
    """A type of SQL Server: its TYPE_INFO and the encoding of its values."""

    def info(self) -> bytes:
        """TYPE_INFO."""

    def value(self, value: Any) -> bytes:
        """A value, or NULL for None."""


@dataclass(frozen=True, slots=True)
class Int:
    """tinyint, smallint, int, bigint by size in bytes."""

    size: int = 4

    def info(self) -> bytes:
        return bytes([0x26, self.size])

    def value(self, value: int | None) -> bytes:
        if value is None:
            return b"\0"
        return bytes([self.size]) + value.to_bytes(self.size, "little", signed=self.size > 1)


@dataclass(frozen=True, slots=True)
class Float:
    """float(53)."""

    def info(self) -> bytes:
        return bytes([0x6D, 8])

    def value(self, value: float | None) -> bytes:
        return b"\0" if value is None else b"\x08" + struct.pack("<d", value)


@dataclass(frozen=True, slots=True)
class Bit:
    """bit."""

    def info(self) -> bytes:
        return bytes([0x68, 1])

    def value(self, value: bool | None) -> bytes:
        return b"\0" if value is None else bytes([1, value])


@dataclass(frozen=True, slots=True)
class Numeric:
    """decimal(precision, scale)."""

    precision: int = 38
    scale: int = 10

    def info(self) -> bytes:
        return bytes([0x6A, 17, self.precision, self.scale])

    def value(self, value: Decimal | None) -> bytes:
        if value is None:
            return b"\0"
        scaled = value.scaleb(self.scale, _EXACT)
        if scaled != int(scaled):
            raise ValueError(f"{value} has more than {self.scale} decimals")
        size = next(
            s for s, digits in ((4, 9), (8, 19), (12, 28), (16, 38)) if self.precision <= digits
        )
        sign = 0 if scaled < 0 else 1
        return bytes([size + 1, sign]) + abs(int(scaled)).to_bytes(size, "little")


@dataclass(frozen=True, slots=True)
class Money:
    """money."""

    def info(self) -> bytes:
        return bytes([0x6E, 8])

    def value(self, value: Decimal | None) -> bytes:
        if value is None:
            return b"\0"
        scaled = int(value.scaleb(4))
        return b"\x08" + struct.pack("<iI", scaled >> 32, scaled & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Text:
    """nvarchar(n), or nvarchar(max) for None."""

    characters: int | None = None

    def info(self) -> bytes:
        room = _PLP if self.characters is None else 2 * self.characters
        return b"\xe7" + struct.pack("<H", room) + COLLATION

    def value(self, value: str | None) -> bytes:
        if value is None:
            return b"\xff\xff" if self.characters else _PLP_NULL
        data = value.encode("utf-16-le", "surrogatepass")
        if self.characters:
            return struct.pack("<H", len(data)) + data
        chunks = (
            data[start : start + _PLP_CHUNK_BYTES]
            for start in range(0, len(data), _PLP_CHUNK_BYTES)
        )
        return (
            struct.pack("<Q", len(data))
            + b"".join(struct.pack("<I", len(chunk)) + chunk for chunk in chunks)
            + bytes(4)
        )


@dataclass(frozen=True, slots=True)
class Narrow:
    """varchar(8000) in code page 1252."""

    def info(self) -> bytes:
        return b"\xa7" + struct.pack("<H", 8000) + COLLATION

    def value(self, value: str | None) -> bytes:
        if value is None:
            return b"\xff\xff"
        data = value.encode("cp1252")
        return struct.pack("<H", len(data)) + data


@dataclass(frozen=True, slots=True)
class Guid:
    """uniqueidentifier; values are 16 bytes."""

    def info(self) -> bytes:
        return bytes([0x24, 16])

    def value(self, value: bytes | None) -> bytes:
        return b"\0" if value is None else b"\x10" + value


@dataclass(frozen=True, slots=True)
class Date:
    """date."""

    def info(self) -> bytes:
        return b"\x28"

    def value(self, value: date | None) -> bytes:
        return b"\0" if value is None else b"\x03" + _days(value)


@dataclass(frozen=True, slots=True)
class DateTime:
    """datetime, to the three-hundredth of a second."""

    def info(self) -> bytes:
        return bytes([0x6F, 8])

    def value(self, value: datetime | None) -> bytes:
        if value is None:
            return b"\0"
        since = value - datetime(1900, 1, 1)  # noqa: DTZ001 - naive as in the warehouse
        ticks = round((since % _ONE_DAY) / timedelta(seconds=1) * 300)
        return b"\x08" + struct.pack("<iI", since // _ONE_DAY, ticks)


@dataclass(frozen=True, slots=True)
class SmallDateTime:
    """smalldatetime, to the minute."""

    def info(self) -> bytes:
        return bytes([0x6F, 4])

    def value(self, value: datetime | None) -> bytes:
        if value is None:
            return b"\0"
        since = value - datetime(1900, 1, 1)  # noqa: DTZ001 - naive as in the warehouse
        minutes = (since % _ONE_DAY) // timedelta(minutes=1)
        return b"\x04" + struct.pack("<HH", since // _ONE_DAY, minutes)


@dataclass(frozen=True, slots=True)
class DateTime2:
    """datetime2(7)."""

    def info(self) -> bytes:
        return bytes([0x2A, 7])

    def value(self, value: datetime | None) -> bytes:
        return b"\0" if value is None else b"\x08" + _ticks(value) + _days(value)


@dataclass(frozen=True, slots=True)
class DateTimeOffset:
    """datetimeoffset(7); values are aware."""

    def info(self) -> bytes:
        return bytes([0x2B, 7])

    def value(self, value: datetime | None) -> bytes:
        if value is None:
            return b"\0"
        offset = value.utcoffset()
        if offset is None:
            raise ValueError("a datetimeoffset needs an aware value")
        utc = value.astimezone(UTC)
        minutes = struct.pack("<h", offset // timedelta(minutes=1))
        return b"\x0a" + _ticks(utc) + _days(utc) + minutes


def _days(value: date) -> bytes:
    return (value.toordinal() - 1).to_bytes(3, "little")


def _ticks(value: datetime) -> bytes:
    midnight = value.replace(hour=0, minute=0, second=0, microsecond=0)
    return ((value - midnight) // timedelta(microseconds=1) * 10).to_bytes(5, "little")


def read_parameter(data: Reader) -> Any:
    """TYPE_INFO and value of a parameter: an int, a text, bytes or None."""
    kind = data.number(1)
    match kind:
        case 0x26 | 0x68:
            data.number(1)
            size = data.number(1)
            return data.number(size, signed=True) if size else None
        case 0x38:
            return data.number(4, signed=True)
        case 0xE7 | 0xA7 | 0xEF | 0xAF:
            room = data.number(2)
            data.take(5)
            raw = _chunks(data) if room == _PLP else _counted(data, 2)
            if raw is None:
                return None
            return raw.decode("utf-16-le" if kind in {0xE7, 0xEF} else "cp1252")
        case 0x63:
            data.take(9)
            raw = _counted(data, 4)
            return None if raw is None else raw.decode("utf-16-le")
        case 0x6A | 0x6C:
            data.take(3)
            return _counted(data, 1)
        case _:
            raise ValueError(f"a parameter of type {kind:#x}")


def _counted(data: Reader, size_bytes: int) -> bytes | None:
    size = data.number(size_bytes)
    return None if size == (1 << 8 * size_bytes) - 1 else data.take(size)


def _chunks(data: Reader) -> bytes | None:
    if data.take(8) == _PLP_NULL:
        return None
    whole = b""
    while size := data.number(4):
        whole += data.take(size)
    return whole
