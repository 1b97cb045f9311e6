"""Compares the target after a run with refresh with the target before it and the known answer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rogo_async.demo.changes.changed_dataset import ChangedDataset
from rogo_async.demo.changes.snapshot import (
    LAUNCHES,
    RECORDS,
    RULES,
    SUBMISSIONS,
    StoredRow,
    TargetSnapshot,
)
from rogo_async.demo.checks.comparison import CheckResult, Comparison
from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.checks.expected_rules import (
    ExpectedMalpracticeRule,
    Key,
    rank_malpractice_rules,
)
from rogo_async.demo.dataset.reference_data import Row

_FILES: Final = "submission_files"
_MARKS: Final = "submission_section_marks"
_KEY: Final = ("lms_user_id", "custom_assessment_code", "context_id")
_KEPT: Final[Mapping[str, Sequence[str]]] = {
    LAUNCHES: ("id", "launch_id"),
    RECORDS: ("id", "launch_id"),
    SUBMISSIONS: ("lti_launch_id", "lti_session_record_id", "total_file_size"),
    _FILES: (
        "id",
        "file_size",
        "file_url",
        "azure_blob_url",
        "azure_container_name",
        "azure_blob_name",
    ),
    "submission_marking_assignments": ("id", "assigned_at"),
    "submission_grades": ("id",),
    _MARKS: ("id",),
}
"""The columns that a refresh leaves as they are."""


@dataclass(frozen=True, slots=True)
class _Refreshed:
    """A submission that the run must have refreshed: its new expected rows and all its rows."""

    expected: ExpectedSubmission
    before: Sequence[StoredRow]
    after: Sequence[StoredRow]

    @property
    def what(self) -> str:
        return f"attempt {self.expected.attempt}"


def check_refresh(
    changed: ChangedDataset, before: TargetSnapshot, after: TargetSnapshot
) -> list[CheckResult]:
    """Check the target after a run with refresh, against the snapshot that was taken before it."""
    refreshed = [
        _Refreshed(
            expected,
            before.rows_of(before.submission_ids[attempt]),
            after.rows_of(before.submission_ids[attempt]),
        )
        for attempt, expected in changed.refreshed().items()
    ]
    return [
        _check_values(refreshed),
        _check_kept_columns(refreshed),
        _check_transactions(refreshed, after),
        _check_other_rows(changed, before, after),
        _check_rules(changed, before, after),
    ]


def _check_values(refreshed: Sequence[_Refreshed]) -> CheckResult:
    check = Comparison("refreshed rows have the values of a first migration")
    for each in refreshed:
        found = {_place(row): row.values for row in each.after}
        for place, expected in _expected_rows(each.expected):
            check.row(f"{each.what}, {' '.join(place)}", expected, found.pop(place, None))
        for place in found:
            check.add_difference(f"{each.what}: unexpected row, {' '.join(place)}")
    if not refreshed:
        check.add_difference("nothing to compare")
    return check.result(
        f"{len(refreshed):,} submissions, {check.rows:,} rows, {check.columns:,} values"
    )


def _check_kept_columns(refreshed: Sequence[_Refreshed]) -> CheckResult:
    check = Comparison("refreshed rows keep ids, launch id and blobs")
    for each in refreshed:
        found = {_place(row): row.values for row in each.after}
        old, new = (
            {row.id for row in rows if row.table == _MARKS} for rows in (each.before, each.after)
        )
        for row in each.before:
            place = _place(row)
            if row.table == _MARKS and (place not in found or len(new) < len(old)):
                continue
            kept = {column: row.values[column] for column in _KEPT[row.table]}
            check.row(f"{each.what}, {' '.join(place)}", kept, found.get(place))
        # Marks are numbered without gaps: one may get the id of another that is gone.
        if len(new) < len(old) and new - old:
            check.add_difference(f"{each.what}: a mark with a new id")
    return check.result(f"{check.rows:,} rows, {check.columns:,} values")


def _check_transactions(refreshed: Sequence[_Refreshed], after: TargetSnapshot) -> CheckResult:
    """A later run and a rollback recognize untouched submissions by this."""
    check = Comparison("one transaction has written all rows of each refreshed submission")
    seen: dict[str, str] = {}
    for each in refreshed:
        writers = {row.written_by for row in each.after}
        check.equal(f"{each.what}: number of transactions", 1, len(writers))
        if writers & {row.written_by for row in each.before}:
            check.add_difference(f"{each.what}: a row was not written again")
        for writer in writers:
            if writer in seen:
                check.add_difference(f"{each.what}: the same transaction as {seen[writer]}")
            seen[writer] = each.what
    return check.result(f"{len(seen):,} transactions of {len([*after.rows()]):,} rows")


def _check_other_rows(
    changed: ChangedDataset, before: TargetSnapshot, after: TargetSnapshot
) -> CheckResult:
    check = Comparison("all other rows are those of before")
    attempts = changed.refreshed()
    owned = {
        (row.table, row.id)
        for snapshot in (before, after)
        for attempt in attempts
        for row in snapshot.rows_of(before.submission_ids[attempt])
    }
    old, new = (
        {(row.table, row.id): row for row in snapshot.rows() if row.table != RULES}
        for snapshot in (before, after)
    )
    for place in (old.keys() | new.keys()) - owned:
        check.rows += 1
        row, found = old.get(place), new.get(place)
        if row is None or found is None:
            check.add_difference(f"{' '.join(place)}: {'added' if row is None else 'deleted'}")
        elif (row.text, row.written_by) != (found.text, found.written_by):
            check.add_difference(f"{' '.join(place)}: written again")
    return check.result(f"{check.rows:,} rows")


def _check_rules(
    changed: ChangedDataset, before: TargetSnapshot, after: TargetSnapshot
) -> CheckResult:
    check = Comparison("malpractice rules are as if the new grades had been the first")
    expected = expected_rules(changed, before)
    old, new = _by_key(before.rules()), _by_key(after.rules())
    for key in expected.keys() | old.keys() | new.keys():
        found = new.get(key, [])
        if key in expected:
            _check_key(check, key, expected[key], found, before.submission_ids)
        else:
            check.rows += len(found)
            check.equal(f"{key}", _texts(old.get(key, [])), _texts(found))
    return check.result(f"{check.rows:,} rows, {len(expected):,} keys of refreshed submissions")


def _check_key(
    check: Comparison,
    key: Key,
    expected: Sequence[ExpectedMalpracticeRule],
    found: Sequence[StoredRow],
    submission_ids: Mapping[int, str],
) -> None:
    check.equal(f"{key}: number of rules", len(expected), len(found))
    for rule in expected:
        columns = dict(rule.columns)
        if rule.attempt is not None:
            columns["submission_id"] = submission_ids[rule.attempt]
        rows = [row.values for row in found if rule.row_id is None or row.id == rule.row_id]
        check.row(f"{key}", columns, rows[0] if rows else None)


def expected_rules(
    changed: ChangedDataset, before: TargetSnapshot
) -> dict[Key, list[ExpectedMalpracticeRule]]:
    """The rules of each key with a refreshed submission, computed from all submissions at once.

    Rules of the platform are those of before the first run, and those that it has entered since.
    """
    existing: dict[str, Row] = {
        str(row["id"]): row for row in changed.before.target.get(RULES, ())
    } | {row.id: dict(row.values) for row in before.rules() if row.values["submission_id"] is None}
    refreshed = changed.refreshed()
    ranked = rank_malpractice_rules(
        existing.values(),
        (
            refreshed.get(submission.attempt, submission)
            for submission in changed.before.submissions()
        ),
    )
    keys = {submission.malpractice_key for submission in refreshed.values()}
    return {key: ranked.get(key, []) for key in keys}


def _expected_rows(expected: ExpectedSubmission) -> Iterator[tuple[tuple[str, ...], Row]]:
    yield (LAUNCHES,), expected.launch_session()
    yield (RECORDS,), expected.session_record()
    yield (SUBMISSIONS,), expected.assignment_submission()
    yield ("submission_marking_assignments",), expected.marking_assignment()
    yield ("submission_grades",), expected.grade()
    for mark in expected.section_marks():
        yield (_MARKS, str(mark["section_id"])), mark
    for file in expected.files():
        yield (_FILES, str(file.order)), file.row


def _place(row: StoredRow) -> tuple[str, ...]:
    """The table, and what tells a row from the others of its submission in this table."""
    match row.table:
        case "submission_section_marks":
            return row.table, str(row.values["section_id"])
        case "submission_files":
            return row.table, str(row.values["upload_order"])
    return (row.table,)


def _by_key(rules: Sequence[StoredRow]) -> dict[Key, list[StoredRow]]:
    found: dict[Key, list[StoredRow]] = {}
    for row in rules:
        user, code, context = (str(row.values[name]) for name in _KEY)
        found.setdefault((user, code, context), []).append(row)
    return found


def _texts(rows: Sequence[StoredRow]) -> list[tuple[str, str]]:
    return sorted((row.text, row.written_by) for row in rows)
