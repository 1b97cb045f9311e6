"""Rows whose source answered 401 or 403: is the row wrong, or are the credentials? (rule 14)

A refused row is held back until that is known. It fails when its host serves another file, or
when the run ends. It is retried when the host refuses ten files in a row.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rogo_async.common.errors import SourceForbidden
from rogo_async.rules.records import Outcome, Submission


@dataclass(frozen=True, slots=True)
class ForbiddenRow:
    """A submission whose source refused a file. ``delete_files`` deletes those already copied."""

    submission: Submission
    error: SourceForbidden
    delete_files: Callable[[], Awaitable[None]]

    @property
    def outcome(self) -> Outcome:
        """The outcome if the row is wrong."""
        return Outcome.failed(self.submission.row, self.submission.attempt, self.error)


class ForbiddenTracker:
    """Holds refused rows back until the cause of the refusals is known."""

    def __init__(self) -> None:
        self._held: list[ForbiddenRow] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, row: ForbiddenRow) -> None:
        """Hold a refused row back."""
        self._held.append(row)

    def take_systemic(self) -> list[ForbiddenRow]:
        """Remove and return the rows that belong to a streak of ten refusals: retry them."""
        return self._take([row for row in self._held if row.error.streak.is_systemic])

    def take_failed(self) -> list[ForbiddenRow]:
        """Remove and return the rows whose host served another file since: they fail.

        Rows of a streak of ten never fail: call ``take_systemic`` first.
        """
        return self._take([row for row in self._held if row.error.streak.is_over])

    def take_all(self) -> list[ForbiddenRow]:
        """Remove and return all rows, at the end of the run: they fail."""
        return self._take(self._held)

    def _take(self, rows: list[ForbiddenRow]) -> list[ForbiddenRow]:
        taken = {id(row) for row in rows}
        self._held = [row for row in self._held if id(row) not in taken]
        return rows
