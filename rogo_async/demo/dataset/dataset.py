"""The generated data set: submissions with every possible outcome, and the expected results.

``generate`` returns the same data set for the same number of rows and seed. File contents and
expected rows are generated when they are needed.
"""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from rogo_async.common.errors import FailureCode
from rogo_async.common.settings import Lms
from rogo_async.demo.checks.expected import Expected, ExpectedSubmission
from rogo_async.demo.checks.expected_rules import (
    ExpectedMalpracticeRule,
    Key,
    rank_malpractice_rules,
)
from rogo_async.demo.dataset import existing_rows, writers
from rogo_async.demo.dataset.builder import ATTEMPT_TEXTS, DatasetBuilder, ScriptedRoute
from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.dataset.layout import is_small, plan_layout
from rogo_async.demo.dataset.reference_data import COURSES, Row
from rogo_async.demo.dataset.submission import MappingLine, SubmissionCase
from rogo_async.rules.records import Status

DEMO_LMS = Lms(
    instance_id="lms-demo-0042",
    consumer_key="rogo-demo-key",
    consumer_name="Demo College",
    return_url_base="https://lms.example/courses/",
)
"""The constants of the learning management system for the expected results."""

_UNRELATED_LINES_PER_ROW = 1.67
_NO_ATTEMPT = (
    FailureCode.ROW_MALFORMED,
    FailureCode.ATTEMPT_ID_MISSING,
    FailureCode.ATTEMPT_ID_INVALID,
)


@dataclass(frozen=True, slots=True)
class Dataset:
    """The contents of the servers and the data directory, and the expected results.

    ``unrelated`` submissions are in the warehouse but not in the CSV file. ``target`` has the
    existing rows by table, ``routes`` the responses of the scripted source. ``expected`` has one
    element for each row of submission_files.csv, in the order of the file.
    """

    lms: Lms
    azure_base: str
    cases: list[SubmissionCase]
    unrelated: list[SubmissionCase]
    blank_lines: frozenset[int]
    mapping: list[tuple[str, ...]]
    target: dict[str, list[Row]]
    routes: list[ScriptedRoute]
    expected: list[Expected]
    expected_malpractice_rules: dict[Key, list[ExpectedMalpracticeRule]]

    def submission_csv(self) -> Iterator[str]:
        """The text of submission_files.csv, in pieces."""
        yield writers.BOM + writers.csv_text([writers.SUBMISSION_COLUMNS])
        for index, case in enumerate(self.cases):
            yield writers.csv_text([writers.submission_cells(case)])
            if index in self.blank_lines:
                yield "\r\n"

    def mapping_csv(self) -> Iterator[str]:
        """The text of attempt_number_mapping.csv, in pieces."""
        yield writers.BOM + writers.csv_text([writers.MAPPING_COLUMNS])
        for cells in self.mapping:
            yield writers.csv_text([cells])

    def reports(self) -> Iterator[Row]:
        """The rows of dbo.Rogo_AssessmentReport; dates are naive and in UTC."""
        for case in chain(self.unrelated, self._originals()):
            yield from writers.report_rows(case)

    def scores(self) -> Iterator[Row]:
        """The rows of dbo.Rogo_AssessmentReportScores; dates are naive and in UTC."""
        for case in chain(self.unrelated, self._originals()):
            yield from writers.score_rows(case)

    def blobs(self) -> Iterator[BlobSpec]:
        """The files of the source container."""
        for case in self._originals():
            for file in case.files:
                if file.blob is not None and file.url.startswith(self.azure_base):
                    yield file.blob

    def by_code(self) -> Counter[str]:
        """The expected number of rows by code."""
        return Counter(row.code.value for row in self.expected if row.code is not None)

    def counts(self) -> Counter[Status]:
        """The expected number of rows by status."""
        return Counter(row.status for row in self.expected)

    def submissions(self) -> Iterator[ExpectedSubmission]:
        """The expected submissions in the target, in the order of the file."""
        return (row.submission for row in self.expected if row.submission is not None)

    def with_cases(self, cases: list[SubmissionCase], unrelated: list[SubmissionCase]) -> "Dataset":
        """The data set with these rows and warehouse rows, and what a first run makes of them."""
        expected = _expected(cases, self.blank_lines, self.lms)
        return replace(
            self,
            cases=cases,
            unrelated=unrelated,
            expected=expected,
            expected_malpractice_rules=_expected_rules(self.target, expected),
        )

    def _originals(self) -> Iterator[SubmissionCase]:
        return (case for case in self.cases if not case.csv_only)


def generate(
    rows: int,
    seed: int,
    azure_base: str,
    scripted_base: str,
    *,
    lms: Lms = DEMO_LMS,
    large_file_bytes: int = 0,
) -> Dataset:
    """Generates a data set of ``rows`` input rows. Raises ValueError if ``rows`` is less than 1.

    ``azure_base`` is the URL of the source container, ``scripted_base`` that of the scripted
    source. With ``large_file_bytes``, the last row that migrates has one file of that size.
    """
    if rows < 1:
        raise ValueError("a data set needs at least one row")
    builder = DatasetBuilder(seed, azure_base, scripted_base, lms)
    cases = _cases(builder, rows, seed)
    migrated = [case for case in cases if case.status is Status.MIGRATED]
    if large_file_bytes and migrated:
        last = migrated[-1]
        last.files = [
            builder.learner_file(last.attempt, "Recording.txt", size_bytes=large_file_bytes)
        ]
    _add_existing_rows(builder, rows, migrated)
    rng = random.Random(f"files {rows} {seed}")
    blank_lines = frozenset(index for index in range(rows) if rng.random() < 0.005)
    expected = _expected(cases, blank_lines, lms)
    return Dataset(
        lms=lms,
        azure_base=builder.azure_base,
        cases=cases,
        unrelated=[
            builder.valid_submission(3_000_000 + number) for number in range(3 + rows // 20)
        ],
        blank_lines=blank_lines,
        mapping=_mapping(cases, rng),
        target=builder.target,
        routes=builder.routes,
        expected=expected,
        expected_malpractice_rules=_expected_rules(builder.target, expected),
    )


def _expected_rules(
    target: dict[str, list[Row]], expected: list[Expected]
) -> dict[Key, list[ExpectedMalpracticeRule]]:
    return rank_malpractice_rules(
        target.get("malpractice_enforcements", ()),
        (row.submission for row in expected if row.submission is not None),
    )


def _cases(builder: DatasetBuilder, rows: int, seed: int) -> list[SubmissionCase]:
    placed: list[tuple[int, SubmissionCase]] = []
    for placed_group in plan_layout(rows, seed):
        made = placed_group.group.make(builder, placed_group.attempts)
        placed.extend(zip(placed_group.positions, made, strict=True))
    return [case for _position, case in sorted(placed, key=lambda pair: pair[0])]


def _add_existing_rows(builder: DatasetBuilder, rows: int, migrated: list[SubmissionCase]) -> None:
    """Adds rows to the target that the run must neither change nor count as its attempts."""
    existing_rows.add_platform_submissions(builder, min(3 + rows // 50, 200))
    if is_small(rows):
        return
    existing_rows.add_similar_launch_ids(builder)
    for case in migrated[2:5]:
        existing_rows.add_submission(builder, f"rogo_{case.attempt}7_b1", case)


def _expected(cases: list[SubmissionCase], blank_lines: frozenset[int], lms: Lms) -> list[Expected]:
    expected = []
    line = 2
    for index, case in enumerate(cases):
        cells = writers.submission_cells(case)
        columns = len(writers.SUBMISSION_COLUMNS) - 1
        kept = (*cells[:columns], *[""] * (columns - len(cells)))
        migrates = case.status is Status.MIGRATED
        expected.append(
            Expected(
                index=index,
                line=line,
                attempt=None if case.code in _NO_ATTEMPT else case.attempt,
                status=case.status,
                code=case.code,
                cells=kept,
                had_malformed_error=case.cell_overrides.get("Error", "").startswith(
                    "row_malformed"
                ),
                submission=ExpectedSubmission(case, lms) if migrates else None,
            )
        )
        line += writers.csv_text([cells]).count("\n") + (index in blank_lines)
    return expected


def _mapping(cases: list[SubmissionCase], rng: random.Random) -> list[tuple[str, ...]]:
    """The mapping lines in random order, with many for attempts that are not in the CSV file.

    The lines of one attempt keep their order.
    """
    keyed: list[tuple[float, tuple[str, ...]]] = []
    for case in cases:
        if not case.csv_only:
            keys = sorted(rng.random() for _ in case.mapping)
            lines = (writers.mapping_cells(line) for line in case.mapping)
            keyed.extend(zip(keys, lines, strict=True))
    keyed.extend(
        (rng.random(), writers.mapping_cells(_unrelated_line(rng)))
        for _ in range(round(len(cases) * _UNRELATED_LINES_PER_ROW))
    )
    keyed.sort(key=lambda pair: pair[0])
    return [cells for _key, cells in keyed]


def _unrelated_line(rng: random.Random) -> MappingLine:
    attempt = rng.randrange(1_000, 100_000)
    course = rng.choice(COURSES)
    unit_code = course.exercise.split()[0]
    version = rng.choice((course.version, course.version, "22_01", "23_02", ""))
    text = rng.choice(ATTEMPT_TEXTS).format(n=rng.randrange(1, 4))
    joined = rng.random() < 1 / 50
    attempt_id = f"{attempt}|{unit_code}|{version}|{text}" if joined else str(attempt)
    return MappingLine(attempt_id, unit_code, version, f"{unit_code}-{attempt % 900}", text)
