"""Durations and times of day as the operator writes them (specification §4 and §5)."""

import re
from datetime import datetime, time, timedelta
from typing import Final

DURATION_FORM: Final = "write seconds, or a duration such as 30s, 90m, 5h, 1h30m or 2d"
_UNITS_S: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SECONDS: Final = re.compile(r"(?:\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})", re.ASCII)
_WITH_UNITS: Final = re.compile(
    "(?=.)" + "".join(rf"(?:(\d{{1,6}}){unit})?" for unit in _UNITS_S), re.ASCII
)


def parse_duration(text: str) -> float:
    """Read ``1.5`` (seconds), ``30s``, ``90m`` or ``1h30m``, in seconds. Raises ValueError."""
    lower = text.strip().lower()
    if _SECONDS.fullmatch(lower):
        return float(lower)
    match = _WITH_UNITS.fullmatch(lower)
    if match is None:
        raise ValueError(f"is not a duration: {DURATION_FORM}")
    numbers = (int(number or 0) for number in match.groups())
    return float(
        sum(number * unit_s for number, unit_s in zip(numbers, _UNITS_S.values(), strict=True))
    )


def seconds_until(at: time, now: datetime) -> float:
    """Seconds from ``now`` to the next ``at`` in the zone of this machine.

    Right also over a change of the clocks.
    """
    for days in (0, 1):
        following = datetime.combine(now.astimezone() + timedelta(days=days), at).astimezone()
        if following > now:
            break
    return (following - now).total_seconds()
