"""Compares the target after a run with the expected rows, table by table."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg

from rogo_async.demo.checks.comparison import CheckResult, Comparison
from rogo_async.demo.checks.expected import ExpectedFile, ExpectedSubmission
from rogo_async.demo.checks.expected_rules import ExpectedMalpracticeRule, Key
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.reference_data import Row

READ_TIMEOUT_S: Final = 120.0

FoundRow = Mapping[str, object]
"""A row of the target, by column name."""


@dataclass(frozen=True, slots=True)
class MigratedSubmission:
    """An expected submission that is in the target, with its ids."""

    expected: ExpectedSubmission
    launch_id: str
    submission_id: str
    session_record_id: str


@dataclass(frozen=True, slots=True)
class MigratedFile:
    """A file with a submission_files row. ``blob_name`` and ``blob_url`` are from that row."""

    expected: ExpectedFile
    attempt: int
    blob_name: str
    blob_url: str


@dataclass(frozen=True, slots=True)
class TargetResults:
    """The results for the target, and the migrated submissions and files for later checks."""

    results: list[CheckResult]
    migrated: list[MigratedSubmission]
    files: list[MigratedFile]


class TargetReader:
    """Reads whole tables and knows which rows existed before the run."""

    def __init__(self, connection: asyncpg.Connection, dataset: Dataset) -> None:
        self._connection = connection
        self._before = {
            table: {str(row["id"]) for row in rows} for table, rows in dataset.target.items()
        }

    async def all_rows(self, table: str) -> list[FoundRow]:
        rows = await self._connection.fetch(f'TABLE "{table}"', timeout=READ_TIMEOUT_S)
        return [dict(row) for row in rows]

    async def new(self, table: str) -> list[FoundRow]:
        """The rows that the run inserted."""
        before = self._before.get(table, set())
        return [row for row in await self.all_rows(table) if row["id"] not in before]


async def check_target(
    dataset: Dataset, connection: asyncpg.Connection, container: str
) -> TargetResults:
    """Checks all eight tables column by column, and that existing rows are unchanged.

    ``container`` is the name of the destination container.
    """
    reader = TargetReader(connection, dataset)
    complete, migrated = _find_submissions(dataset, await reader.new("assignment_submissions"))
    files, migrated_files = await _check_files(reader, migrated, container)
    results = [
        complete,
        *[await _check_one_row_table(table, reader, migrated) for table in _ONE_ROW_TABLES],
        files,
        await _check_marks(reader, migrated),
        await _check_malpractice_rules(reader, dataset, migrated),
        await _check_existing_rows(reader, dataset),
    ]
    return TargetResults(results, migrated, migrated_files)


def _find_submissions(
    dataset: Dataset, found: Sequence[FoundRow]
) -> tuple[CheckResult, list[MigratedSubmission]]:
    check = Comparison("each expected submission was migrated once, and no others")
    by_attempt: dict[int, list[FoundRow]] = defaultdict(list)
    for row in found:
        launch_id = str(row["lti_launch_id"])
        attempt = re.fullmatch(r"rogo_(\d+)_.+", launch_id)
        if attempt is None:
            check.add_difference(f"unexpected launch id {launch_id!r}")
        else:
            by_attempt[int(attempt[1])].append(row)
    migrated = []
    for expected in dataset.submissions():
        rows = by_attempt.pop(expected.attempt, [])
        if len(rows) != 1:
            check.add_difference(
                f"attempt {expected.attempt}: {len(rows)} submissions instead of 1"
            )
        for row in rows[:1]:
            record_id = str(row["lti_session_record_id"])
            migrated.append(
                MigratedSubmission(expected, str(row["lti_launch_id"]), str(row["id"]), record_id)
            )
    for attempt_id in by_attempt:
        check.add_difference(f"attempt {attempt_id} was migrated, which was not expected")
    return check.result(f"{len(migrated):,} submissions"), migrated


def _group_by(rows: Sequence[FoundRow], column: str) -> dict[str, list[FoundRow]]:
    grouped: dict[str, list[FoundRow]] = defaultdict(list)
    for row in rows:
        grouped[str(row[column])].append(row)
    return grouped


@dataclass(frozen=True, slots=True)
class _OneRowTable:
    """A table with one row for each submission. ``key_of`` gives its value of ``key_column``."""

    name: str
    what: str
    key_column: str
    key_of: Callable[[MigratedSubmission], str]
    expected: Callable[[MigratedSubmission], Row]


_ONE_ROW_TABLES: Final = (
    _OneRowTable(
        "assignment_submissions",
        "submission",
        "id",
        lambda submission: submission.submission_id,
        lambda submission: submission.expected.assignment_submission(),
    ),
    _OneRowTable(
        "lti_launch_sessions",
        "launch session",
        "launch_id",
        lambda submission: submission.launch_id,
        lambda submission: submission.expected.launch_session(),
    ),
    _OneRowTable(
        "lti_session_records",
        "session record",
        "launch_id",
        lambda submission: submission.launch_id,
        lambda submission: (
            submission.expected.session_record() | {"id": submission.session_record_id}
        ),
    ),
    _OneRowTable(
        "submission_marking_assignments",
        "marking assignment",
        "submission_id",
        lambda submission: submission.submission_id,
        lambda submission: submission.expected.marking_assignment(),
    ),
    _OneRowTable(
        "submission_grades",
        "grade",
        "submission_id",
        lambda submission: submission.submission_id,
        lambda submission: submission.expected.grade(),
    ),
)


async def _check_one_row_table(
    table: _OneRowTable, reader: TargetReader, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    check = Comparison(f"{table.what} rows have the expected values")
    rows = _group_by(await reader.new(table.name), table.key_column)
    for submission in migrated:
        attempt = f"attempt {submission.expected.attempt}"
        found = rows.pop(table.key_of(submission), [])
        check.row(attempt, table.expected(submission), found[0] if found else None)
        if len(found) > 1:
            check.add_difference(f"{attempt}: {len(found)} rows")
    return _no_extra_rows(check, rows, migrated)


def _no_extra_rows(
    check: Comparison, rows: dict[str, list[FoundRow]], migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    """Ends a check; all rows left in ``rows`` are unexpected."""
    for owner, extra_rows in rows.items():
        check.add_difference(f"{len(extra_rows)} unexpected rows of {owner!r}")
    if not migrated:
        check.add_difference("nothing to compare")
    return check.result(f"{check.rows:,} rows, {check.columns:,} values")


async def _check_marks(reader: TargetReader, migrated: Sequence[MigratedSubmission]) -> CheckResult:
    check = Comparison("section mark rows have the expected values")
    rows = _group_by(await reader.new("submission_section_marks"), "submission_id")
    for submission in migrated:
        attempt = f"attempt {submission.expected.attempt}"
        found_by_key = _group_by(rows.pop(submission.submission_id, []), "section_id")
        for expected in submission.expected.section_marks():
            found = found_by_key.pop(str(expected["section_id"]), [])
            check.row(attempt, expected, found[0] if len(found) == 1 else None)
        if found_by_key:
            check.add_difference(f"{attempt}: marks for {len(found_by_key)} unexpected sections")
    return _no_extra_rows(check, rows, migrated)


async def _check_files(
    reader: TargetReader, migrated: Sequence[MigratedSubmission], container: str
) -> tuple[CheckResult, list[MigratedFile]]:
    check = Comparison("file rows have the expected values")
    rows = _group_by(await reader.new("submission_files"), "submission_id")
    migrated_files = []
    for submission in migrated:
        attempt = submission.expected.attempt
        found_by_key = _group_by(rows.pop(submission.submission_id, []), "upload_order")
        for file in submission.expected.files():
            found = found_by_key.pop(str(file.order), [])
            what = f"attempt {attempt}, file {file.order}"
            expected = file.row | {"azure_container_name": container}
            check.row(what, expected, found[0] if len(found) == 1 else None)
            for row in found[:1]:
                migrated_file = MigratedFile(
                    file, attempt, str(row["azure_blob_name"]), str(row["azure_blob_url"])
                )
                _check_blob_name(check, what, submission, migrated_file)
                _check_url(check, what, migrated_file, str(row["file_url"]), container)
                migrated_files.append(migrated_file)
        if found_by_key:
            check.add_difference(f"attempt {attempt}: {len(found_by_key)} unexpected files")
    return _no_extra_rows(check, rows, migrated), migrated_files


def _check_blob_name(
    check: Comparison, what: str, submission: MigratedSubmission, file: MigratedFile
) -> None:
    """Checks that a blob is named after its submission, order and file."""
    expected, name = file.expected, file.blob_name
    prefix = f"{expected.folder}/{submission.submission_id}/{expected.order}_"
    check.equal(f"{what}: start of the blob name", prefix, name[: len(prefix)])
    tail = name[len(prefix) :]
    extension = f".{expected.row['file_type']}"
    if expected.exact_name is not None:
        check.equal(f"{what}: end of the blob name", expected.exact_name, tail)
    elif not tail.lower().endswith(extension) or re.search(r"\.\.|[/\\\x00-\x1f\x7f]", tail):
        check.add_difference(f"{what}: the blob name ends with {tail!r}")
    if len(name) > 1_024:
        check.add_difference(f"{what}: the blob name has {len(name)} characters")


def _check_url(
    check: Comparison, what: str, file: MigratedFile, file_url: str, container: str
) -> None:
    """Checks that both URLs are those of the blob, without a SAS."""
    check.equal(f"{what}: file_url", file.blob_url, file_url)
    url = urlsplit(file.blob_url)
    if url.query or not unquote(url.path).endswith(f"/{container}/{file.blob_name}"):
        check.add_difference(f"{what}: azure_blob_url is {file.blob_url!r}")


async def _check_malpractice_rules(
    reader: TargetReader, dataset: Dataset, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    check = Comparison("malpractice rules are those of the highest rank")
    submission_ids = {
        submission.expected.attempt: submission.submission_id for submission in migrated
    }
    rows: dict[Key, list[FoundRow]] = defaultdict(list)
    for row in await reader.all_rows("malpractice_enforcements"):
        key = (row["lms_user_id"], row["custom_assessment_code"], row["context_id"])
        rows[tuple(map(str, key))].append(row)  # type: ignore[index] # keys have as many parts as columns
    for key, expected_rows in dataset.expected_malpractice_rules.items():
        found_rows = rows.pop(key, [])
        for expected in expected_rows:
            _check_malpractice_rule(check, submission_ids, key, expected, found_rows)
        if len(found_rows) != len(expected_rows):
            check.add_difference(f"{key}: {len(found_rows)} rows instead of {len(expected_rows)}")
    for key in rows:
        check.add_difference(f"{key}: unexpected row")
    return check.result(f"{check.rows:,} rows, {check.columns:,} values")


def _check_malpractice_rule(
    check: Comparison,
    submission_ids: Mapping[int, str],
    key: Key,
    expected: ExpectedMalpracticeRule,
    found_rows: Sequence[FoundRow],
) -> None:
    columns = dict(expected.columns)
    if expected.attempt is not None:
        columns["submission_id"] = submission_ids.get(expected.attempt)
    if expected.row_id is None:
        found = found_rows[0] if len(found_rows) == 1 else None
    else:
        found = next((row for row in found_rows if row["id"] == expected.row_id), None)
    check.row(f"{key}", columns, found)


async def _check_existing_rows(reader: TargetReader, dataset: Dataset) -> CheckResult:
    check = Comparison("existing rows of the platform are unchanged")
    for table, expected_rows in dataset.target.items():
        if table == "malpractice_enforcements":
            continue
        found = {row["id"]: row for row in await reader.all_rows(table)}
        for expected in expected_rows:
            check.row(f"{table} {expected['id']}", expected, found.get(expected["id"]))
    return check.result(f"{check.rows:,} rows, {check.columns:,} values")
