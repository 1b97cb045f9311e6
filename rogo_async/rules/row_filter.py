"""Rules 0 to 7: select the new and complete rows, which are then read from the warehouse."""

from collections.abc import Callable
from dataclasses import dataclass, field

from pyroaring import BitMap

from rogo_async.common.errors import FailureCode, RowError, RowSkip, SkipCode
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.mapping import complete_row
from rogo_async.rules.records import MappingRow, Outcome, SourceRow, Submission


@dataclass(frozen=True, slots=True)
class MigratedAttempts:
    """The attempts in the target, as compressed bitmaps (a few bits per attempt)."""

    migrated: BitMap = field(default_factory=BitMap)
    """Attempts with a submission."""
    started: BitMap = field(default_factory=BitMap)
    """Attempts with a launch or a session record."""

    def is_migrated(self, attempt: int) -> bool:
        """Whether the target has a submission of exactly this attempt."""
        return attempt in self.migrated

    def is_incomplete(self, attempt: int) -> bool:
        """Whether the target has a launch or session record, but no submission."""
        return attempt in self.started and attempt not in self.migrated


class RowFilter:
    """Applies rules 0 to 7 to one row after another, from the end of the file (rule 2)."""

    def __init__(
        self,
        mapping_row: Callable[[int], MappingRow | None],
        migrated: MigratedAttempts,
        version_prefixes: tuple[str, ...],
    ) -> None:
        self._mapping_row = mapping_row
        self._migrated = migrated
        self._version_prefixes = version_prefixes
        self._seen = BitMap()

    def apply(self, row: SourceRow) -> Outcome | Submission:
        """The row's outcome if one of these rules decides it, else the submission."""
        attempt = None
        try:
            _require_well_formed(row)
            attempt = parse_attempt_id(row.attempt_id)
            self._require_new(attempt)
            return complete_row(row, attempt, self._mapping_row(attempt), self._version_prefixes)
        except RowError as error:
            return Outcome.failed(row, attempt, error)
        except RowSkip as skip:
            return Outcome.skipped(row, attempt, skip)

    def count_unseen(self, attempts: BitMap) -> int:
        """How many of these attempts have not been in a row so far."""
        return len(attempts) - attempts.intersection_cardinality(self._seen)

    def _require_new(self, attempt: int) -> None:
        """Rules 2 and 3."""
        if attempt in self._seen:
            raise RowSkip(
                SkipCode.DUPLICATE_ROW, "a row nearer the end of the file has the same Attempt ID"
            )
        self._seen.add(attempt)
        if self._migrated.is_migrated(attempt):
            raise RowSkip(SkipCode.ALREADY_MIGRATED, "the target has a submission of this attempt")
        if self._migrated.is_incomplete(attempt):
            raise incomplete_in_target()


def _require_well_formed(row: SourceRow) -> None:
    """Rule 0."""
    if row.malformed is not None:
        raise RowError(FailureCode.ROW_MALFORMED, row.malformed)


def incomplete_in_target() -> RowError:
    """The error of an attempt that is incomplete in the target (rule 3)."""
    return RowError(
        FailureCode.TARGET_INCOMPLETE,
        "the target has a launch or session record of this attempt and no submission",
    )
