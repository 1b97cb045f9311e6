"""The target after a run, table by table, against the known answer."""

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
"""A row as it was found, by column name."""


@dataclass(frozen=True, slots=True)
class MigratedSubmission:
    """A submission that was found where one is expected, with its ids."""

    expected: ExpectedSubmission
    launch_id: str
    submission_id: str
    session_record_id: str


@dataclass(frozen=True, slots=True)
class MigratedFile:
    """A file that a submission_files row speaks of. ``blob_name`` is what the row says."""

    expected: ExpectedFile
    attempt: int
    blob_name: str
    blob_url: str


@dataclass(frozen=True, slots=True)
class TargetResults:
    """The checks of the target, and what they found there for the checks that follow."""

    results: list[CheckResult]
    migrated: list[MigratedSubmission]
    files: list[MigratedFile]


class TargetReader:
    """Reads whole tables; rows that stood there before the run are told apart by their ids."""

    def __init__(self, connection: asyncpg.Connection, dataset: Dataset) -> None:
        self._connection = connection
        self._before = {
            table: {str(row["id"]) for row in rows} for table, rows in dataset.target.items()
        }

    async def all_rows(self, table: str) -> list[FoundRow]:
        rows = await self._connection.fetch(f'TABLE "{table}"', timeout=READ_TIMEOUT_S)
        return [dict(row) for row in rows]

    async def new(self, table: str) -> list[FoundRow]:
        """The rows that were not there before the run."""
        before = self._before.get(table, set())
        return [row for row in await self.all_rows(table) if row["id"] not in before]


async def check_target(
    dataset: Dataset, connection: asyncpg.Connection, container: str
) -> TargetResults:
    """All eight tables, column by column, and that nothing else was touched.

    ``container`` is the name of the destination container.
    """
    reader = TargetReader(connection, dataset)
    once, migrated = _find_submissions(dataset, await reader.new("assignment_submissions"))
    files, migrated_files = await _check_files(reader, migrated, container)
    results = [
        once,
        await _check_submissions(reader, migrated),
        await _check_launches(reader, migrated),
        await _check_records(reader, migrated),
        files,
        await _check_marking(reader, migrated),
        await _check_marks(reader, migrated),
        await _check_grades(reader, migrated),
        await _check_malpractice_rules(reader, dataset, migrated),
        await _check_untouched(reader, dataset),
    ]
    return TargetResults(results, migrated, migrated_files)


def _find_submissions(
    dataset: Dataset, found: Sequence[FoundRow]
) -> tuple[CheckResult, list[MigratedSubmission]]:
    check = Comparison("every submission that should migrate is there, once, and no other")
    by_attempt: dict[int, list[FoundRow]] = defaultdict(list)
    for row in found:
        launch_id = str(row["lti_launch_id"])
        attempt = re.fullmatch(r"rogo_(\d+)_.+", launch_id)
        if attempt is None:
            check.add_difference(f"a submission has the launch id {launch_id!r}")
        else:
            by_attempt[int(attempt[1])].append(row)
    migrated = []
    for expected in dataset.submissions():
        rows = by_attempt.pop(expected.attempt, [])
        if len(rows) != 1:
            check.add_difference(f"attempt {expected.attempt} has {len(rows)} submissions")
        for row in rows[:1]:
            record_id = str(row["lti_session_record_id"])
            migrated.append(
                MigratedSubmission(expected, str(row["lti_launch_id"]), str(row["id"]), record_id)
            )
    for attempt_id in by_attempt:
        check.add_difference(f"attempt {attempt_id} should not have migrated")
    return check.result(f"{len(migrated):,} submissions"), migrated


def _by(rows: Sequence[FoundRow], column: str) -> dict[str, list[FoundRow]]:
    grouped: dict[str, list[FoundRow]] = defaultdict(list)
    for row in rows:
        grouped[str(row[column])].append(row)
    return grouped


def _check_one_each(
    check: Comparison,
    rows: dict[str, list[FoundRow]],
    migrated: Sequence[MigratedSubmission],
    key: Callable[[MigratedSubmission], str],
    answer: Callable[[MigratedSubmission], Row],
) -> CheckResult:
    """A table that has exactly one row for each submission, and no others."""
    for one in migrated:
        attempt = f"attempt {one.expected.attempt}"
        mine = rows.pop(key(one), [])
        check.row(attempt, answer(one), mine[0] if mine else None)
        if len(mine) > 1:
            check.add_difference(f"{attempt} has {len(mine)} rows")
    return _no_extra_rows(check, rows, migrated)


def _no_extra_rows(
    check: Comparison, rows: dict[str, list[FoundRow]], migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    """The end of a check whose rows should all have been claimed by now."""
    for owner, extra_rows in rows.items():
        check.add_difference(
            f"{len(extra_rows)} rows belong to {owner!r}, which should not be there"
        )
    if not migrated:
        check.add_difference("there was nothing to compare")
    return check.result(f"{check.rows:,} rows, {check.columns:,} values")


async def _check_submissions(
    reader: TargetReader, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    return _check_one_each(
        Comparison("submissions say what they should"),
        _by(await reader.new("assignment_submissions"), "id"),
        migrated,
        key=lambda one: one.submission_id,
        answer=lambda one: one.expected.assignment_submission(),
    )


async def _check_launches(
    reader: TargetReader, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    return _check_one_each(
        Comparison("launch sessions say what they should"),
        _by(await reader.new("lti_launch_sessions"), "launch_id"),
        migrated,
        key=lambda one: one.launch_id,
        answer=lambda one: one.expected.launch_session(),
    )


async def _check_records(
    reader: TargetReader, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    return _check_one_each(
        Comparison("session records say what they should"),
        _by(await reader.new("lti_session_records"), "launch_id"),
        migrated,
        key=lambda one: one.launch_id,
        answer=lambda one: one.expected.session_record() | {"id": one.session_record_id},
    )


async def _check_marking(
    reader: TargetReader, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    return _check_one_each(
        Comparison("marking assignments say what they should"),
        _by(await reader.new("submission_marking_assignments"), "submission_id"),
        migrated,
        key=lambda one: one.submission_id,
        answer=lambda one: one.expected.marking_assignment(),
    )


async def _check_grades(
    reader: TargetReader, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    return _check_one_each(
        Comparison("grades say what they should"),
        _by(await reader.new("submission_grades"), "submission_id"),
        migrated,
        key=lambda one: one.submission_id,
        answer=lambda one: one.expected.grade(),
    )


async def _check_marks(reader: TargetReader, migrated: Sequence[MigratedSubmission]) -> CheckResult:
    check = Comparison("section marks say what they should")
    rows = _by(await reader.new("submission_section_marks"), "submission_id")
    for one in migrated:
        attempt = f"attempt {one.expected.attempt}"
        mine = _by(rows.pop(one.submission_id, []), "section_id")
        for expected in one.expected.section_marks():
            found = mine.pop(str(expected["section_id"]), [])
            check.row(attempt, expected, found[0] if len(found) == 1 else None)
        if mine:
            check.add_difference(f"{attempt} has marks for {len(mine)} sections too many")
    return _no_extra_rows(check, rows, migrated)


async def _check_files(
    reader: TargetReader, migrated: Sequence[MigratedSubmission], container: str
) -> tuple[CheckResult, list[MigratedFile]]:
    check = Comparison("file rows say what they should")
    rows = _by(await reader.new("submission_files"), "submission_id")
    migrated_files = []
    for one in migrated:
        attempt = one.expected.attempt
        mine = _by(rows.pop(one.submission_id, []), "upload_order")
        for file in one.expected.files():
            found = mine.pop(str(file.order), [])
            what = f"attempt {attempt}, file {file.order}"
            answer = file.row | {"azure_container_name": container}
            check.row(what, answer, found[0] if len(found) == 1 else None)
            for row in found[:1]:
                migrated_file = MigratedFile(
                    file, attempt, str(row["azure_blob_name"]), str(row["azure_blob_url"])
                )
                _check_blob_name(check, what, one, migrated_file)
                _check_url(check, what, migrated_file, str(row["file_url"]), container)
                migrated_files.append(migrated_file)
        if mine:
            check.add_difference(f"attempt {attempt} has {len(mine)} files too many")
    return _no_extra_rows(check, rows, migrated), migrated_files


def _check_blob_name(
    check: Comparison, what: str, one: MigratedSubmission, file: MigratedFile
) -> None:
    """A blob is named after its submission, order and file."""
    expected, name = file.expected, file.blob_name
    prefix = f"{expected.folder}/{one.submission_id}/{expected.order}_"
    check.equal(f"{what}: the beginning of the blob's name", prefix, name[: len(prefix)])
    tail = name[len(prefix) :]
    extension = f".{expected.row['file_type']}"
    if expected.exact_name is not None:
        check.equal(f"{what}: the end of the blob's name", expected.exact_name, tail)
    elif not tail.lower().endswith(extension) or re.search(r"\.\.|[/\\\x00-\x1f\x7f]", tail):
        check.add_difference(f"{what}: the end of the blob's name is {tail!r}")
    if len(name) > 1_024:
        check.add_difference(f"{what}: the blob's name has {len(name)} characters")


def _check_url(
    check: Comparison, what: str, file: MigratedFile, file_url: str, container: str
) -> None:
    """Both URLs are the blob's, and carry no SAS."""
    check.equal(f"{what}: file_url", file.blob_url, file_url)
    url = urlsplit(file.blob_url)
    if url.query or not unquote(url.path).endswith(f"/{container}/{file.blob_name}"):
        check.add_difference(f"{what}: azure_blob_url is {file.blob_url!r}")


async def _check_malpractice_rules(
    reader: TargetReader, dataset: Dataset, migrated: Sequence[MigratedSubmission]
) -> CheckResult:
    check = Comparison("the malpractice rules that stand are the ones that rank highest")
    submission_ids = {one.expected.attempt: one.submission_id for one in migrated}
    rows: dict[Key, list[FoundRow]] = defaultdict(list)
    for row in await reader.all_rows("malpractice_enforcements"):
        key = (row["lms_user_id"], row["custom_assessment_code"], row["context_id"])
        rows[tuple(map(str, key))].append(row)  # type: ignore[index]
    for key, expected_rows in dataset.expected_malpractice_rules.items():
        found_rows = rows.pop(key, [])
        for expected in expected_rows:
            _check_malpractice_rule(check, submission_ids, key, expected, found_rows)
        if len(found_rows) != len(expected_rows):
            check.add_difference(f"{key} has {len(found_rows)} rows, not {len(expected_rows)}")
    for key in rows:
        check.add_difference(f"{key} should have no row")
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


async def _check_untouched(reader: TargetReader, dataset: Dataset) -> CheckResult:
    check = Comparison("the platform's own rows are as they were")
    for table, expected_rows in dataset.target.items():
        if table == "malpractice_enforcements":
            continue
        found = {row["id"]: row for row in await reader.all_rows(table)}
        for expected in expected_rows:
            check.row(f"{table} {expected['id']}", expected, found.get(expected["id"]))
    return check.result(f"{check.rows:,} rows, {check.columns:,} values")
