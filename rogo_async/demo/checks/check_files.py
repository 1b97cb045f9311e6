"""Compares the files of the data directory with the expected results of a run."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rogo_async.common.errors import FailureCode
from rogo_async.demo.checks.check_postgres import MigratedSubmission
from rogo_async.demo.checks.comparison import CheckResult, Comparison
from rogo_async.demo.dataset.dataset import Dataset
from rogo_async.demo.dataset.writers import SUBMISSION_COLUMNS
from rogo_async.rules.records import Status

INPUT: Final = "submission_files.csv"
MAPPING: Final = "attempt_number_mapping.csv"
MIGRATED: Final = "migrated.csv"
FAILED: Final = "submissions_failed_migration.csv"
SUMMARY: Final = "run_summary.json"

_MIGRATED_COLUMNS: Final = (
    "Attempt ID",
    "Launch ID",
    "Submission ID",
    "Session Record ID",
    "User ID",
    "LTI Context ID",
)
_MIGRATED_LAUNCH: Final = re.compile(r"rogo_(\d+)_.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run: its data set, the submissions found in the target, and its directory."""

    dataset: Dataset
    migrated: Sequence[MigratedSubmission]
    data_dir: Path


def check_files(run: FinishedRun) -> list[CheckResult]:
    """Checks the output files, the input files and the file modes."""
    checks: tuple[tuple[str, Callable[[Comparison, FinishedRun], str]], ...] = (
        ("migrated.csv lists every migrated submission", _migrated),
        (f"{FAILED} has exactly the failed rows", _failed),
        (f"{SUMMARY} has the expected counts", _summary),
        ("the input files are unchanged", _inputs),
        ("only the owner can read files with personal data", _modes),
    )
    return [_run_check(name, run, compare) for name, compare in checks]


def _run_check(
    name: str, run: FinishedRun, compare: Callable[[Comparison, FinishedRun], str]
) -> CheckResult:
    """Runs a check; a file that cannot be read counts as a difference."""
    check = Comparison(name)
    counted = ""
    try:
        counted = compare(check, run)
    except (OSError, ValueError, LookupError, csv.Error) as error:
        check.add_difference(f"{type(error).__name__}: {error}")
    return check.result(counted)


def _migrated(check: Comparison, run: FinishedRun) -> str:
    header, *found = _read_csv(run.data_dir / MIGRATED)
    check.equal("header", _MIGRATED_COLUMNS, tuple(header))
    expected = [*_expected_lines(run.migrated), *_lines_of_existing_rows(run.dataset)]
    _same_rows(check, expected, map(tuple, found), "attempt")
    return f"{len(found):,} submissions"


def _expected_lines(migrated: Sequence[MigratedSubmission]) -> Iterable[tuple[str, ...]]:
    for submission in migrated:
        yield (
            str(submission.expected.attempt),
            submission.launch_id,
            submission.submission_id,
            submission.session_record_id,
            submission.expected.user_id,
            submission.expected.context_id,
        )


def _lines_of_existing_rows(dataset: Dataset) -> Iterable[tuple[str, ...]]:
    """migrated.csv also lists the attempts that an earlier tool migrated."""
    for row in dataset.target.get("assignment_submissions", ()):
        launch_id = str(row["lti_launch_id"])
        if attempt := _MIGRATED_LAUNCH.fullmatch(launch_id):
            columns = ("id", "lti_session_record_id", "lms_user_id", "context_id")
            yield (attempt[1], launch_id, *(str(row[column]) for column in columns))


def _failed(check: Comparison, run: FinishedRun) -> str:
    header, *found = _read_csv(run.data_dir / FAILED)
    check.equal("header", SUBMISSION_COLUMNS, tuple(header))
    failed = [row for row in run.dataset.expected if row.status is Status.FAILED]
    expected = [(*row.cells, str(row.code)) for row in failed]
    codes = [(*row[:-1], row[-1].partition(": ")[0]) for row in found]
    _same_rows(check, expected, codes, "row")
    if any(not row[-1].partition(": ")[2] for row in found):
        check.add_difference("an error without a message")
    messages = [row[-1] for row in found if row[-1].startswith("row_malformed: ")]
    for row in failed:
        if row.code is FailureCode.ROW_MALFORMED and not row.had_malformed_error:
            number = re.compile(rf"\b{row.line}\b")
            if not any(number.search(message) for message in messages):
                check.add_difference(f"no message names the malformed line {row.line}")
    return f"{len(found):,} rows of {len({row.code for row in failed})} codes, cell by cell"


def _same_rows(
    check: Comparison,
    expected: Iterable[tuple[str, ...]],
    found: Iterable[tuple[str, ...]],
    what: str,
) -> None:
    """Compares two sets of rows in any order."""
    missing, extra = Counter(expected), Counter(found)
    missing, extra = missing - extra, extra - missing
    for row in missing.elements():
        check.add_difference(f"{what} missing: {_short(row)}")
    for row in extra.elements():
        check.add_difference(f"unexpected {what}: {_short(row)}")


def _short(row: Sequence[str]) -> str:
    return ",".join(cell for cell in row if cell)[:160]


def _summary(check: Comparison, run: FinishedRun) -> str:
    text = (run.data_dir / SUMMARY).read_text(encoding="utf-8")
    summary = json.loads(text)
    rows = len(run.dataset.expected)
    counts = run.dataset.counts()
    check.equal("rows_total", rows, summary["rows_total"])
    for status in Status:
        check.equal(status.value, counts[status], summary[status.value])
    check.equal("sum of the four statuses", rows, sum(summary[status.value] for status in Status))
    by_code = {code: count for code, count in summary["by_code"].items() if count}
    by_code.pop(Status.MIGRATED.value, None)
    check.equal("by_code", dict(run.dataset.by_code()), by_code)
    check.equal("exit_code", 1 if counts[Status.FAILED] else 0, summary["exit_code"])
    kept = json.loads((run.data_dir / "runs" / f"{summary['run_id']}.json").read_text("utf-8"))
    check.equal("the copy in runs/", summary, kept)
    return (
        f"{rows:,} rows: {counts[Status.MIGRATED]:,} migrated, {counts[Status.FAILED]:,} failed, "
        f"{counts[Status.SKIPPED]:,} skipped"
    )


def _inputs(check: Comparison, run: FinishedRun) -> str:
    inputs = {INPUT: run.dataset.submission_csv(), MAPPING: run.dataset.mapping_csv()}
    size_bytes = 0
    for name, text in inputs.items():
        with (run.data_dir / name).open(encoding="utf-8", newline="") as file:
            unchanged = all(file.read(len(piece)) == piece for piece in text)
            if not unchanged or file.read(1):
                check.add_difference(f"{name} has changed")
        size_bytes += (run.data_dir / name).stat().st_size
    return f"{len(inputs)} files, {size_bytes:,} bytes"


def _modes(check: Comparison, run: FinishedRun) -> str:
    names = (MIGRATED, FAILED)
    for name in names:
        mode = (run.data_dir / name).stat().st_mode & 0o777
        check.equal(f"mode of {name}", "0o600", oct(mode))
    return f"{len(names)} files"


def _read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.reader(file, strict=True) if row]
