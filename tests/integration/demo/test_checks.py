"""The demo's checks pass after a perfect run, and each one detects its own kind of error."""

import csv
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import ContainerClient

from rogo_async.demo.checks.check_files import FAILED, INPUT, MIGRATED, SUMMARY
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import Status
from tests.support.expected_run import ROWS, ExpectedRun, LoadedDataset

ONCE = "each expected submission was migrated once, and no others"
SUBMISSIONS = "submission rows have the expected values"
LAUNCHES = "launch session rows have the expected values"
RECORDS = "session record rows have the expected values"
FILES = "file rows have the expected values"
MARKING = "marking assignment rows have the expected values"
MARKS = "section mark rows have the expected values"
GRADES = "grade rows have the expected values"
RULES = "malpractice rules are those of the highest rank"
UNTOUCHED = "existing rows of the platform are unchanged"
BYTES = "blobs are identical to their source files"
LABELS = "blobs have the expected content type, MD5 and metadata"
NO_ORPHANS = "no orphaned blobs"
LISTED = "migrated.csv lists every migrated submission"
FAILED_ROWS = f"{FAILED} has exactly the failed rows"
NUMBERS = f"{SUMMARY} has the expected counts"
INPUTS = "the input files are unchanged"
MODES = "only the owner can read files with personal data"


@pytest.fixture
async def loaded(stack: Stack, workspace: Workspace) -> LoadedDataset:
    dataset = generate_for(stack, workspace, ROWS, seed=7)
    await load(dataset, stack, workspace)
    return LoadedDataset(dataset, stack, workspace)


@pytest.fixture(scope="module")
async def finished_once(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LoadedDataset]:
    """A finished run that no test changes; tests copy it, which is faster than a new one."""
    workspace = await stack.new_workspace(
        uuid.uuid4().hex[:12], tmp_path_factory.mktemp("finished")
    )
    env = LoadedDataset(generate_for(stack, workspace, ROWS, seed=7), stack, workspace)
    await load(env.dataset, stack, workspace)
    await ExpectedRun(env.dataset, stack, workspace).write()
    yield env
    await stack.remove_workspace(workspace)


@pytest.fixture
async def finished(finished_once: LoadedDataset, tmp_path: Path) -> AsyncIterator[LoadedDataset]:
    """A finished run with its own target and data directory. Its blobs are shared."""
    stack, workspace = finished_once.stack, finished_once.workspace
    copy = replace(workspace, target=f"{workspace.target}_copy", data_dir=tmp_path / "data")
    await stack.postgres.create_database(copy.target, workspace.target)
    shutil.copytree(workspace.data_dir, copy.data_dir)
    yield replace(finished_once, workspace=copy)
    await stack.postgres.drop_databases(copy.target)


@pytest.fixture
async def finished_alone(loaded: LoadedDataset) -> LoadedDataset:
    """A finished run that shares nothing with other tests."""
    await ExpectedRun(loaded.dataset, loaded.stack, loaded.workspace).write()
    return loaded


async def test_before_a_run_only_the_checks_of_unchanged_data_pass(loaded: LoadedDataset) -> None:
    results = await loaded.results()
    passed = {result.name for result in results if result.ok}
    assert passed == {UNTOUCHED, NO_ORPHANS, INPUTS}
    assert len(results) == 18


async def test_all_checks_pass_after_a_perfect_run(finished: LoadedDataset) -> None:
    results = await finished.results()
    assert [result for result in results if not result.ok] == []
    counted = {result.name: result.detail for result in results}
    migrated = finished.dataset.counts()[Status.MIGRATED]
    assert counted[ONCE] == f"{migrated} submissions"
    assert counted[GRADES].startswith(f"{migrated} rows, ")
    assert all(any(character.isdigit() for character in detail) for detail in counted.values())


ATTEMPT_1 = "(SELECT id FROM assignment_submissions WHERE lti_launch_id LIKE 'rogo\\_1\\_%')"
STATEMENTS = [
    (f"UPDATE assignment_submissions SET full_name = 'X' WHERE id = {ATTEMPT_1}", {SUBMISSIONS}),
    (f"UPDATE assignment_submissions SET updated_at = now() WHERE id = {ATTEMPT_1}", {SUBMISSIONS}),
    (
        "UPDATE lti_launch_sessions SET custom_params = '{}' WHERE launch_id LIKE 'rogo\\_1\\_%'",
        {LAUNCHES},
    ),
    ("DELETE FROM lti_launch_sessions WHERE launch_id LIKE 'rogo\\_1\\_%'", {LAUNCHES}),
    (
        (
            "UPDATE lti_session_records SET resource_link_title = NULL"
            " WHERE launch_id LIKE 'rogo\\_7\\_%'"
        ),
        {RECORDS},
    ),
    (
        (
            "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at)"
            " VALUES ('rogo_99_0f3a', 'k', now())"
        ),
        {LAUNCHES},
    ),
    (
        "INSERT INTO assignment_submissions (lti_launch_id) VALUES ('rogo_1_again')",
        {ONCE, SUBMISSIONS},
    ),
    (
        "INSERT INTO assignment_submissions (lti_launch_id) VALUES ('rogo_99_0f3a')",
        {ONCE, SUBMISSIONS},
    ),
    (
        f"UPDATE submission_files SET turnitin_status = 'x' WHERE submission_id = {ATTEMPT_1}",
        {FILES},
    ),
    (
        (
            f"UPDATE submission_files SET file_url = file_url || '?sig=x'"
            f" WHERE submission_id = {ATTEMPT_1}"
        ),
        {FILES},
    ),
    (
        f"DELETE FROM submission_files WHERE submission_id = {ATTEMPT_1}",
        {FILES, BYTES, NO_ORPHANS},
    ),
    (
        (
            f"INSERT INTO submission_files (submission_id, file_url, upload_order)"
            f" SELECT {ATTEMPT_1}, 'x', 9"
        ),
        {FILES},
    ),
    (
        (
            "UPDATE submission_marking_assignments SET marking_status = 'waiting'"
            f" WHERE submission_id = {ATTEMPT_1}"
        ),
        {MARKING},
    ),
    (
        (
            "UPDATE submission_section_marks SET marks_awarded = marks_awarded + 0.5 WHERE id ="
            " (SELECT min(id) FROM submission_section_marks)"
        ),
        {MARKS},
    ),
    (
        (
            f"INSERT INTO submission_section_marks (submission_id, section_id)"
            f" SELECT {ATTEMPT_1}, (SELECT min(id) FROM assessment_sections)"
        ),
        {MARKS},
    ),
    (
        (
            "UPDATE submission_grades SET percentage_score = percentage_score + 0.01"
            f" WHERE submission_id = {ATTEMPT_1}"
        ),
        {GRADES},
    ),
    (f"DELETE FROM submission_grades WHERE submission_id = {ATTEMPT_1}", {GRADES}),
    ("UPDATE submission_marking_assignments SET assigned_at = NULL", {MARKING, UNTOUCHED}),
    (
        (
            "UPDATE malpractice_enforcements SET rule_applied_at = NULL"
            " WHERE context_title <> 'Entered by hand'"
        ),
        {RULES},
    ),
    (
        (
            "UPDATE malpractice_enforcements SET enforced_max_attempts = 99"
            " WHERE context_title <> 'Entered by hand'"
        ),
        {RULES},
    ),
    (
        (
            "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id,"
            " malpractice_level_id, rule_applied_by) SELECT lms_user_id, custom_assessment_code,"
            " context_id, malpractice_level_id, rule_applied_by"
            " FROM malpractice_enforcements LIMIT 1"
        ),
        {RULES},
    ),
    ("UPDATE assessments SET name = name || ' ' WHERE code = '3LM01_24'", {UNTOUCHED}),
    ("DELETE FROM lti_launch_sessions WHERE launch_id = 'rogo_12_x'", {UNTOUCHED}),
]


@pytest.mark.parametrize(("statement", "red"), STATEMENTS)
async def test_errors_in_the_target_are_detected(
    finished: LoadedDataset, statement: str, red: set[str]
) -> None:
    connection = await finished.target()
    try:
        assert await connection.execute(statement) not in {"UPDATE 0", "DELETE 0"}
    finally:
        await connection.close()
    assert await finished.failed() == red


async def change_bytes(container: ContainerClient, name: str) -> None:
    blob = container.get_blob_client(name)
    properties = await blob.get_blob_properties()
    other_bytes = bytes(properties.size)
    await blob.upload_blob(other_bytes, overwrite=True, metadata=properties.metadata)
    await blob.set_http_headers(properties.content_settings)


async def remove_metadata(container: ContainerClient, name: str) -> None:
    await container.get_blob_client(name).set_blob_metadata({"attemptId": "1"})


async def change_type(container: ContainerClient, name: str) -> None:
    blob = container.get_blob_client(name)
    settings = (await blob.get_blob_properties()).content_settings
    await blob.set_http_headers(
        ContentSettings(content_type="text/html", content_md5=settings.content_md5)
    )


async def delete(container: ContainerClient, name: str) -> None:
    await container.delete_blob(name)


async def add_another(container: ContainerClient, name: str) -> None:
    await container.upload_blob(f"{name}.copy", b"left over")


@pytest.mark.parametrize(
    ("tamper", "red"),
    [
        (change_bytes, {BYTES}),
        (remove_metadata, {LABELS}),
        (change_type, {LABELS}),
        (delete, {BYTES, LABELS}),
        (add_another, {NO_ORPHANS}),
    ],
)
async def test_errors_in_the_container_are_detected(
    finished_alone: LoadedDataset,
    tamper: Callable[[ContainerClient, str], Awaitable[None]],
    red: set[str],
) -> None:
    async with finished_alone.container() as container:
        names = [blob.name async for blob in container.list_blobs() if blob.size]
        await tamper(container, names[0])
    assert await finished_alone.failed() == red


def without_last_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def last_line_twice(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))


def other_cell(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows[-1][0] += " "
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def one_less(path: Path) -> None:
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["migrated"] -= 1
    path.write_text(json.dumps(summary), encoding="utf-8")


def not_json(path: Path) -> None:
    path.write_text("{", encoding="utf-8")


def readable_for_all(path: Path) -> None:
    path.chmod(0o644)


def delete_file(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("name", "tamper", "red"),
    [
        (MIGRATED, without_last_line, {LISTED}),
        (MIGRATED, last_line_twice, {LISTED}),
        (MIGRATED, delete_file, {LISTED, MODES}),
        (MIGRATED, readable_for_all, {MODES}),
        (FAILED, without_last_line, {FAILED_ROWS}),
        (FAILED, last_line_twice, {FAILED_ROWS}),
        (FAILED, other_cell, {FAILED_ROWS}),
        (FAILED, readable_for_all, {MODES}),
        (SUMMARY, one_less, {NUMBERS}),
        (SUMMARY, not_json, {NUMBERS}),
        (SUMMARY, delete_file, {NUMBERS}),
        (INPUT, without_last_line, {INPUTS}),
        (INPUT, last_line_twice, {INPUTS}),
    ],
)
async def test_errors_in_the_data_directory_are_detected(
    finished: LoadedDataset, name: str, tamper: Callable[[Path], None], red: set[str]
) -> None:
    tamper(finished.workspace.data_dir / name)
    assert await finished.failed() == red


async def test_an_unexpected_failure_code_is_detected(finished: LoadedDataset) -> None:
    path = finished.workspace.data_dir / FAILED
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows[-1][-1] = "target_conflict: something else"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    assert await finished.failed() == {FAILED_ROWS}
