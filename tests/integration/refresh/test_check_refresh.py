"""The checks of a refresh pass after a perfect one, and each detects its own kind of error."""

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace

import asyncpg
import pytest

from rogo_async.demo.changes.changed_dataset import ChangedDataset, change
from rogo_async.demo.changes.check_refresh import check_refresh
from rogo_async.demo.changes.load_changes import change_platform
from rogo_async.demo.changes.snapshot import RULES, StoredRow, TargetSnapshot, take_snapshot
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack
from tests.support.expected_refresh import write_expected_refresh
from tests.support.expected_run import ExpectedRun

ROWS = 150
VALUES = "refreshed rows have the values of a first migration"
KEPT = "refreshed rows keep ids, launch id and blobs"
TRANSACTIONS = "one transaction has written all rows of each refreshed submission"
OTHERS = "all other rows are those of before"
RULES_CHECK = "malpractice rules are as if the new grades had been the first"


@dataclass(frozen=True, slots=True)
class Finished:
    """A perfect run with refresh: the target before and after it."""

    changed: ChangedDataset
    before: TargetSnapshot
    after: TargetSnapshot

    def failed(self, after: TargetSnapshot) -> set[str]:
        return {
            each.name for each in check_refresh(self.changed, self.before, after) if not each.ok
        }

    def rows(self, table: str, *, refreshed: bool = True) -> list[StoredRow]:
        """The rows of all refreshed submissions, or all other rows."""
        ids = [self.before.submission_ids[attempt] for attempt in self.changed.refreshed()]
        owned = {row.id for each in ids for row in self.after.rows_of(each)}
        found = self.after.tables[table].values()
        return [row for row in found if (row.id in owned) == refreshed]

    def other(self, *rows: StoredRow, without: StoredRow | None = None) -> TargetSnapshot:
        """The target after the run with these rows and without that one."""
        tables = {name: dict(found) for name, found in self.after.tables.items()}
        for row in rows:
            tables[row.table][row.id] = row
        if without is not None:
            del tables[without.table][without.id]
        return TargetSnapshot(tables)


def edited(row: StoredRow, **values: object) -> StoredRow:
    written = {**row.values, **values}
    return replace(row, values=written, text=str(written), written_by="4000000000")


@pytest.fixture(scope="module")
async def finished(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Finished]:
    workspace = await stack.new_workspace(uuid.uuid4().hex[:12], tmp_path_factory.mktemp("refresh"))
    dataset = generate_for(stack, workspace, ROWS, seed=7)
    await load(dataset, stack, workspace)
    await ExpectedRun(dataset, stack, workspace).write()
    changed = change(dataset, 7)
    await change_platform(changed, stack, workspace)
    connection = await asyncpg.connect(stack.postgres.dsn(workspace.target))
    try:
        before = await take_snapshot(connection)
        await write_expected_refresh(changed, before, connection)
        yield Finished(changed, before, await take_snapshot(connection))
    finally:
        await connection.close()
        await stack.remove_workspace(workspace)


async def test_all_checks_pass_after_a_perfect_refresh(finished: Finished) -> None:
    results = check_refresh(finished.changed, finished.before, finished.after)
    assert [each for each in results if not each.ok] == []
    assert len(results) == 5


async def test_no_check_of_the_rows_passes_without_a_refresh(finished: Finished) -> None:
    assert finished.failed(finished.before) == {VALUES, TRANSACTIONS, RULES_CHECK}


WRONG_VALUES: Mapping[str, Mapping[str, object]] = {
    "lti_launch_sessions": {"lis_person_name_family": "Other"},
    "lti_session_records": {"email": "other@learner.example"},
    "assignment_submissions": {"updated_at": None},
    "submission_files": {"original_file_name": "other.docx"},
    "submission_marking_assignments": {"status_updated_at": None},
    "submission_section_marks": {"marks_awarded": 1.5},
    "submission_grades": {"overall_summary": "An old note"},
}


@pytest.mark.parametrize("table", WRONG_VALUES)
async def test_a_wrong_value(finished: Finished, table: str) -> None:
    row = finished.rows(table)[0]
    changed = replace(edited(row, **WRONG_VALUES[table]), written_by=row.written_by)
    assert finished.failed(finished.other(changed)) == {VALUES}


@pytest.mark.parametrize("table", WRONG_VALUES)
async def test_a_row_of_another_submission_that_is_written_again(
    finished: Finished, table: str
) -> None:
    row = finished.rows(table, refreshed=False)[0]
    assert finished.failed(finished.other(replace(row, written_by="4000000000"))) == {OTHERS}
    assert finished.failed(finished.other(replace(row, text="other"))) == {OTHERS}
    assert finished.failed(finished.other(without=row)) == {OTHERS}


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("submission_files", "azure_blob_name"),
        ("submission_files", "file_url"),
        ("submission_marking_assignments", "assigned_at"),
    ],
)
async def test_a_column_that_was_not_kept(finished: Finished, table: str, column: str) -> None:
    row = finished.rows(table)[0]
    kept = finished.before.tables[table][row.id].values[column]
    new = f"{kept}x" if isinstance(kept, str) else row.values["created_at"]
    changed = replace(edited(row, **{column: new}), written_by=row.written_by)
    assert finished.failed(finished.other(changed)) == {KEPT}


async def test_a_row_with_a_new_id(finished: Finished) -> None:
    row = finished.rows("submission_grades")[0]
    changed = replace(edited(row, id="new"), written_by=row.written_by)
    assert finished.failed(finished.other(changed, without=row)) == {KEPT}


async def test_a_row_that_was_written_by_another_transaction(finished: Finished) -> None:
    row = finished.rows("submission_files")[0]
    assert finished.failed(finished.other(replace(row, written_by="4"))) == {TRANSACTIONS}


async def test_a_missing_and_an_extra_mark(finished: Finished) -> None:
    row = finished.rows("submission_section_marks")[0]
    assert finished.failed(finished.other(without=row)) >= {VALUES}
    extra = replace(edited(row, id="new", section_id="other"), written_by=row.written_by)
    assert finished.failed(finished.other(extra)) == {VALUES}


async def test_a_row_that_was_added_for_another_submission(finished: Finished) -> None:
    row = edited(finished.rows("submission_section_marks", refreshed=False)[0], id="new")
    assert finished.failed(finished.other(row)) == {OTHERS}


async def test_malpractice_rules(finished: Finished) -> None:
    keys = {each.malpractice_key for each in finished.changed.refreshed().values()}
    columns = ("lms_user_id", "custom_assessment_code", "context_id")

    def is_of_refreshed(row: StoredRow) -> bool:
        return tuple(row.values[name] for name in columns) in keys

    rows = [*finished.after.tables[RULES].values()]
    mine = next(row for row in rows if is_of_refreshed(row) and row.values["submission_id"])
    other = next(row for row in rows if not is_of_refreshed(row))
    wrong: list[Callable[[StoredRow], TargetSnapshot]] = [
        lambda row: finished.other(edited(row, enforced_max_attempts=77)),
        lambda row: finished.other(edited(row, submission_id=None)),
        lambda row: finished.other(without=row),
        lambda row: finished.other(edited(row, id="new")),
    ]
    for row in (mine, other):
        for change_rule in wrong:
            assert finished.failed(change_rule(row)) == {RULES_CHECK}
    assert finished.failed(finished.other(replace(other, written_by="4"))) == {RULES_CHECK}
