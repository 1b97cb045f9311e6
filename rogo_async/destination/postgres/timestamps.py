"""Reads and writes timestamps exactly (specification §3, derived values).

asyncpg's own codec writes the first and the last moment of Python's range as ``-infinity`` and
``infinity``, reads these as real times, and raises OverflowError for years outside 1 to 9999.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


async def register_timestamps(connection: Any) -> None:
    """Make a connection use this codec for timestamptz, and for arrays of it."""
    await connection.set_type_codec(
        "timestamptz", schema="pg_catalog", encoder=_encode, decoder=_decode, format="tuple"
    )


def _encode(moment: datetime) -> tuple[int]:
    """Microseconds since 2000. Raises TypeError for a time without a zone."""
    return ((moment - _EPOCH) // _MICROSECOND,)


def _decode(value: tuple[int]) -> datetime | None:
    """The time; None for infinity and for years outside 1 to 9999."""
    try:
        return _EPOCH + value[0] * _MICROSECOND
    except OverflowError:
        return None
