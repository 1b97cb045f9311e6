"""Clocks that differ: signatures are refused, and times in the target are wrong."""

from datetime import datetime, timedelta
from typing import Final

from rogo_async.check.findings import Verdict, fail, ok, warning

_TOO_FAR: Final = timedelta(minutes=5)
_FAR: Final = timedelta(seconds=30)
_REMEDY: Final = "Set the clocks by NTP (timedatectl set-ntp true), this machine's first"


def compared(there: datetime, before: datetime, after: datetime, whose: str) -> Verdict:
    """Hold a server's time against ours, ``before`` and ``after`` it was asked."""
    skew = there - (before + (after - before) / 2)
    seconds = abs(skew.total_seconds())
    shown = f"{whose} clock is {seconds:,.0f} s {_way(skew)} ours"
    if abs(skew) > _TOO_FAR:
        return fail(shown, _REMEDY)
    if abs(skew) > _FAR:
        return warning(shown, _REMEDY)
    return ok(f"{whose} clock agrees with ours to within {max(1, round(seconds))} s")


def _way(skew: timedelta) -> str:
    return "ahead of" if skew > timedelta() else "behind"
