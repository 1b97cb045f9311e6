"""Is a refusal the row's fault or the credentials'? (SPEC §3 rule 14)

One 403 may be the row's own; ten in a row from one host are not. Until that is known a refused
row is held back: it fails when the host serves another file or the run ends, and is tried again
when the run of refusals reaches ten.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rogo_async.pipeline.migrate import ForbiddenRow
from rogo_async.sources.http_files import SYSTEMIC_AFTER, Host


@dataclass(slots=True)
class _Held:
    successes: int
    rows: list[ForbiddenRow] = field(default_factory=list)


class ForbiddenTracker:
    """Holds refused rows back, by host."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._held: dict[str, _Held] = {}

    def refused(self, forbidden: ForbiddenRow) -> list[ForbiddenRow]:
        """Take a refused row in, after ``settled``. Gives the rows to be tried again once the
        host lets anyone in: none while the run of refusals is short.

        A row that was refused in a run which reached ten, whether then or meanwhile, is none of
        those that fail.
        """
        fault = forbidden.fault
        host = self._hosts[fault.origin]
        held = self._held.setdefault(fault.origin, _Held(host.successes))
        held.rows.append(forbidden)
        if fault.in_row < SYSTEMIC_AFTER and host.suspicions == fault.suspicions:
            return []
        return self._held.pop(fault.origin).rows

    def settled(self) -> list[ForbiddenRow]:
        """The rows whose refusal has turned out to be their own: the host served meanwhile."""
        over = [
            origin
            for origin, held in self._held.items()
            if held.successes != self._hosts[origin].successes
        ]
        return [each for origin in over for each in self._held.pop(origin).rows]

    def remaining(self) -> list[ForbiddenRow]:
        """The rows that are still held, at the end of all work."""
        held, self._held = self._held, {}
        return [each for one in held.values() for each in one.rows]
