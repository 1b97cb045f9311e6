"""Decides why the rows of a migrated submission differ from its source. No I/O.

A row that the platform has not changed carries the transaction that wrote the submission, like all
its other rows. A difference in such a row comes from the source, or is unexplained if its column
does not depend on the source (specification §5, ``verify --source``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from rogo_async.destination.postgres.existing_rows import (
    FILES,
    GRADES,
    MARKINGS,
    MARKS,
    RULES,
    SUBMISSIONS,
    ExistingRow,
    ExistingSubmission,
    Row,
)
from rogo_async.destination.postgres.rollback import OwnedRow, writing_transaction
from rogo_async.destination.postgres.row_comparison import (
    RULE,
    RULE_KEY,
    SUBMISSION,
    Expected,
    Found,
    compare_rule,
    compare_submission,
    is_run_id,
    run_mark_ids,
)
from rogo_async.destination.postgres.rule_restoration import RemovalSkipped

STORED_COLUMNS: Final = frozenset(
    {
        "azure_blob_name",
        "azure_blob_url",
        "azure_container_name",
        "file_size",
        "file_url",
        "total_file_size",
    }
)
"""Columns that describe the stored blobs. A refresh never changes them."""

_FILE_COLUMNS: Final = frozenset({"id", "submission_file_type", "upload_order", "file_type"})
_CONSTANTS: Final = frozenset(
    {
        "applied_by",
        "assignment_title",
        "consumer_key",
        "consumer_name",
        "container",
        "context_type",
        "custom_action",
        "instance_id",
        "instruction_set",
        "lti_message_type",
        "never",
        "role",
    }
)
"""Parameters that do not depend on the submission."""

IsRestored = Callable[[Row], bool]
"""Whether a rollback or a refresh wrote exactly this content of a malpractice rule."""


class SourceVerdict(StrEnum):
    """Why a row differs from the source. The values are stable: operators search for them."""

    SOURCE_CHANGED = "source_changed"
    CHANGED_ON_PLATFORM = "changed_on_platform"
    BOTH_CHANGED = "both_changed"
    SOURCE_GONE = "source_gone"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Difference:
    """A column that differs. A row that one side does not have is a difference of its key."""

    table: str
    column: str
    verdict: SourceVerdict
    existing: Any
    expected: Any


@dataclass(frozen=True, slots=True)
class Reconciled:
    """The differences of a submission. ``touched`` says what the platform has changed, if so."""

    differences: tuple[Difference, ...] = ()
    touched: str | None = None
    files_changed: bool = False

    @property
    def is_stale(self) -> bool:
        """Whether the source has changed."""
        return any(
            each.verdict in {SourceVerdict.SOURCE_CHANGED, SourceVerdict.BOTH_CHANGED}
            for each in self.differences
        )


def reconcile(
    existing: ExistingSubmission,
    expected: Expected,
    is_restored: IsRestored,
    *,
    shares_transaction: bool = False,
) -> Reconciled:
    """Compare all rows, column by column.

    ``shares_transaction``: one transaction wrote these rows and those of another submission, so
    they do not show what the platform has changed.
    """
    founds = [*compare_submission(existing, expected), *compare_rule(existing, expected)]
    if not founds:
        return Reconciled()
    touched = touched_by_platform(existing, is_restored)
    if touched is None and shares_transaction:
        touched = f"{SUBMISSIONS}: one transaction rewrote the row together with others"
    from_source = [
        not shares_transaction and _is_from_source(found, existing, is_restored) for found in founds
    ]
    files_changed = any(
        of_source and _is_of_files(found)
        for found, of_source in zip(founds, from_source, strict=True)
    )
    missing = [
        found.table
        for found, of_source in zip(founds, from_source, strict=True)
        if found.row is None and not of_source
    ]
    if touched is None and missing:
        touched = f"{missing[0]}: a row was deleted"
    both = touched is not None and (any(from_source) or any(map(_is_newer, founds)))
    differences = []
    for found, of_source in zip(founds, from_source, strict=True):
        if both:
            verdict = SourceVerdict.BOTH_CHANGED
        elif of_source:
            is_gone = found.table == FILES and found.wanted is None
            verdict = SourceVerdict.SOURCE_GONE if is_gone else SourceVerdict.SOURCE_CHANGED
        elif shares_transaction or not _is_untouched(found.row, existing, is_restored):
            verdict = SourceVerdict.CHANGED_ON_PLATFORM
        elif files_changed and found.column in STORED_COLUMNS:
            verdict = SourceVerdict.SOURCE_CHANGED
        else:
            verdict = SourceVerdict.UNEXPLAINED
        differences.append(_difference(found, verdict))
    return Reconciled(tuple(differences), touched, files_changed)


def without_submission(existing: ExistingSubmission) -> Reconciled:
    """The result for a launch id whose submission is missing."""
    verdict = SourceVerdict.CHANGED_ON_PLATFORM
    missing = Difference(SUBMISSIONS, "lti_launch_id", verdict, None, existing.launch_id)
    return Reconciled((missing,), f"{SUBMISSIONS}: the row was deleted")


def touched_by_platform(existing: ExistingSubmission, is_restored: IsRestored) -> str | None:
    """What shows that the platform has changed the submission, or None."""
    if existing.submission is None:
        return f"{SUBMISSIONS}: the row was deleted"
    rows = [OwnedRow(row.table, row.id, row.written_by) for row in existing.rows]
    try:
        file_count = existing.submission["file_count"] or 0
        written_by = writing_transaction(existing.submission_id or "", file_count, rows)
    except RemovalSkipped as reason:
        return str(reason)
    for rule in existing.named_rules():
        if rule.written_by != written_by and not is_restored(rule.content):
            return f"{RULES}: the row was changed"
    return None


def _difference(found: Found, verdict: SourceVerdict) -> Difference:
    return Difference(found.table, found.column, verdict, found.existing, found.expected)


def _is_untouched(
    row: ExistingRow | None, existing: ExistingSubmission, is_restored: IsRestored
) -> bool:
    if row is None:
        return False
    return row.written_by == existing.written_by or (
        row.table == RULES and is_restored(row.content)
    )


def _is_from_source(found: Found, existing: ExistingSubmission, is_restored: IsRestored) -> bool:
    """Whether a change of the source explains the difference."""
    if found.row is None or found.row.named not in {None, existing.launch_id}:
        return _was_added(found, existing)
    if not _is_untouched(found.row, existing, is_restored):
        return False
    if found.wanted is None:
        return found.table != MARKS or is_run_id(found.row, existing)
    return found.column not in STORED_COLUMNS and _depends_on_source(found)


def _depends_on_source(found: Found) -> bool:
    table = (RULE if found.table == RULES else SUBMISSION).tables[found.table]
    return not table.parameters[found.column] <= _CONSTANTS


def _was_added(found: Found, existing: ExistingSubmission) -> bool:
    """Whether a row is missing because the source added it, not because the platform deleted it."""
    wanted, submission = found.wanted or {}, existing.submission or {}
    match found.table:
        case str(table) if table == FILES:
            return int(wanted["upload_order"]) > (submission["file_count"] or 0)
        case str(table) if table == MARKS:
            return _mark_was_added(wanted, existing)
        case str(table) if table == RULES:
            return _gave_other_rule(wanted, existing)
    return False


def _mark_was_added(wanted: Row, existing: ExistingSubmission) -> bool:
    """Whether the source got the mark after the migration.

    A run numbers the marks without gaps, but nothing shows that the last ones were deleted. So the
    date of the mark decides, or that of the report if it has none. In doubt, the platform has
    deleted it.
    """
    ids = {row.id for row in existing.of(MARKS)}
    if ids != set(run_mark_ids(existing)[: len(ids)]):
        return False
    date = moment(wanted["created_at"])
    if date == moment((existing.submission or {}).get("created_at")):
        date = moment(wanted["updated_at"])
    return all(date > moment(row.content["assigned_at"]) for row in existing.of(MARKINGS))


def _gave_other_rule(wanted: Row, existing: ExistingSubmission) -> bool:
    """Whether the submission as it was migrated has another malpractice rule, or none."""
    for row in existing.of(SUBMISSIONS):
        is_moved = any(row.content[column] != wanted[column] for column in RULE_KEY)
        if is_moved and row.written_by == existing.written_by:
            return True
    rank = (wanted["malpractice_level_id"], wanted["attempt_number"])
    number = (existing.submission or {}).get("attempt_number")
    levels = [row.content["malpractice_level_id"] for row in existing.of(GRADES)]
    return all((level, number) != rank for level in levels)


def _is_newer(found: Found) -> bool:
    """Whether the source has changed since the platform's last change of this row."""
    if found.row is None or found.wanted is None or found.column != "updated_at":
        return False
    return moment(found.expected) > moment(found.existing)


def _is_of_files(found: Found) -> bool:
    """Whether the source has other files than those that were migrated."""
    if found.table == SUBMISSIONS:
        return found.column == "file_count"
    if found.table != FILES:
        return False
    if found.row is None or found.wanted is None or found.column in _FILE_COLUMNS:
        return True
    # The names of feedback files follow from the name of the person.
    is_learner_file = found.row.content["submission_file_type"] == "submission"
    return is_learner_file and found.column == "file_name"


def moment(text: str | None) -> datetime:
    """A timestamp of PostgreSQL's JSON; the earliest one for null and infinity."""
    try:
        return datetime.fromisoformat(text or "")
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
