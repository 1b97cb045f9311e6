"""Is a refusal the row's fault or the credentials'? (SPEC §3 rule 14)

One 403 may be the row's own; ten in a row from one host are not. Until that is known a refused
row is held back: it fails when the host serves another file or the run ends, and is tried again
when the run of refusals reaches ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rogo_async.migrate import Forbidden

SYSTEMIC_AFTER: Final = 10


@dataclass(slots=True)
class _Streak:
    successes: int
    held: list[Forbidden] = field(default_factory=list)


class RefusalWatch:
    """Holds refused rows back, by host. ``successes`` counts the files that a host has served."""

    def __init__(self, successes: Mapping[str, int]) -> None:
        self._successes = successes
        self._streaks: dict[str, _Streak] = {}

    def refused(self, forbidden: Forbidden) -> list[Forbidden]:
        """Take a refused row in. Gives the rows to be tried again once the host lets anyone in:
        none while the run of refusals is short, all that are held when it reaches ten.
        """
        served = self._successes.get(forbidden.origin, 0)
        streak = self._streaks.setdefault(forbidden.origin, _Streak(served))
        streak.held.append(forbidden)
        if streak.successes != served or len(streak.held) < SYSTEMIC_AFTER:
            return []
        return self._streaks.pop(forbidden.origin).held

    def settled(self) -> list[Forbidden]:
        """The rows whose refusal has turned out to be their own: the host served meanwhile."""
        over = [
            origin
            for origin, streak in self._streaks.items()
            if streak.successes != self._successes.get(origin, 0)
        ]
        return [each for origin in over for each in self._streaks.pop(origin).held]

    def remaining(self) -> list[Forbidden]:
        """The rows that are still held, at the end of all work."""
        streaks, self._streaks = self._streaks, {}
        return [each for streak in streaks.values() for each in streak.held]
