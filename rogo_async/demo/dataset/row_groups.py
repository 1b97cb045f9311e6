"""Groups of input rows that depend on each other, such as duplicates of one attempt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.demo.dataset import existing_rows
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.failure_cases import (
    combine,
    missing_cells,
    no_mapping,
    set_cell,
    set_mapping,
)
from rogo_async.demo.dataset.reference_data import COURSES
from rogo_async.demo.dataset.submission import SubmissionCase
from rogo_async.demo.dataset.valid_variants import MALPRACTICE_GRADES, Modify, set_malpractice


@dataclass(frozen=True, slots=True)
class RowGroup:
    """``make`` creates the rows from their attempt ids, both in the order of the file."""

    rows: int
    make: Callable[[DatasetBuilder, Sequence[int]], list[SubmissionCase]]


def plain_row() -> RowGroup:
    """One plain submission that migrates."""
    return RowGroup(1, lambda builder, attempts: [builder.valid_submission(attempts[0])])


def single_row(modify: Modify, code: FailureCode | SkipCode | None = None) -> RowGroup:
    """One modified submission, which must end with ``code`` or else migrate."""

    def make(builder: DatasetBuilder, attempts: Sequence[int]) -> list[SubmissionCase]:
        case = builder.valid_submission(attempts[0])
        modify(case, builder)
        _expect(case, code)
        return [case]

    return RowGroup(1, make)


def _expect(case: SubmissionCase, code: FailureCode | SkipCode | None) -> None:
    match code:
        case FailureCode():
            case.expect_failure(code)
        case SkipCode():
            case.expect_skip(code)


def _already_migrated(case: SubmissionCase, builder: DatasetBuilder) -> None:
    suffix = f"{builder.rng.getrandbits(40):010x}"
    existing_rows.add_submission(builder, f"rogo_{case.attempt}_{suffix}", case)


def _already_migrated_with_underscores(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """Launch ids of the earlier tool may contain more underscores."""
    existing_rows.add_submission(builder, f"rogo_{case.attempt}_retry_2", case)


def duplicate_rows(
    *earlier: Modify, last: Modify | None = None, code: FailureCode | SkipCode | None = None
) -> RowGroup:
    """An attempt with several rows: only the last one is processed."""

    def make(builder: DatasetBuilder, attempts: Sequence[int]) -> list[SubmissionCase]:
        case = builder.valid_submission(attempts[0])
        duplicates = []
        for modify in earlier:
            duplicate = replace(case, cell_overrides={}, csv_only=True)
            modify(duplicate, builder)
            duplicate.expect_skip(SkipCode.DUPLICATE_ROW)
            duplicates.append(duplicate)
        if last is not None:
            last(case, builder)
        _expect(case, code)
        return [*duplicates, case]

    return RowGroup(len(earlier) + 1, make)


def malformed_duplicate() -> RowGroup:
    """A malformed row does not replace an earlier row with the same Attempt ID."""

    def make(builder: DatasetBuilder, attempts: Sequence[int]) -> list[SubmissionCase]:
        case = builder.valid_submission(attempts[0])
        duplicate = replace(case, csv_only=True)
        missing_cells(3)(duplicate, builder)
        duplicate.expect_failure(FailureCode.ROW_MALFORMED)
        return [case, duplicate]

    return RowGroup(2, make)


SKIPPED_GROUPS: tuple[RowGroup, ...] = (
    single_row(set_mapping(version="22_01"), SkipCode.VERSION_EXCLUDED),
    single_row(_already_migrated, SkipCode.ALREADY_MIGRATED),
    duplicate_rows(set_cell("Learner File Names", "older.docx")),
    single_row(
        combine(set_mapping(version="23_02"), set_cell("Learner Email", "")),
        SkipCode.VERSION_EXCLUDED,
    ),
    single_row(combine(_already_migrated, no_mapping), SkipCode.ALREADY_MIGRATED),
    duplicate_rows(set_cell("Attempt ID", "00{attempt}"), set_cell("Learner Email", "")),
    malformed_duplicate(),
    single_row(set_mapping(version="23_02", submission="Submission"), SkipCode.VERSION_EXCLUDED),
    single_row(_already_migrated_with_underscores, SkipCode.ALREADY_MIGRATED),
    duplicate_rows(
        set_cell("Course Title", "Another title"),
        last=set_cell("Learner Email", " "),
        code=FailureCode.EMAIL_MISSING,
    ),
    duplicate_rows(set_cell("Surname", ""), last=_already_migrated, code=SkipCode.ALREADY_MIGRATED),
)
"""Groups with a row to skip; the simplest one of each code comes first."""


COMMON_SKIPPED_GROUPS = tuple(SKIPPED_GROUPS[number] for number in (0, 0, 1, 2, 3))
"""The groups that a large data set repeats."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """A submission of a group whose grade is a malpractice level."""

    attempt_number: int
    level: str
    email_missing: bool = False
    other_context: bool = False


@dataclass(frozen=True, slots=True)
class ExistingRule:
    """A malpractice rule that exists before the run."""

    attempt_number: int | None
    level: str
    max_attempts: int | None


def malpractice_group(*penalties: Penalty, existing: tuple[ExistingRule, ...] = ()) -> RowGroup:
    """Submissions of one learner for the same malpractice rule, in random order."""

    def make(builder: DatasetBuilder, attempts: Sequence[int]) -> list[SubmissionCase]:
        course = builder.rng.choice(COURSES)
        learner = builder.people.new_learner()
        context = str(8_000 + builder.rng.randrange(900))
        cases = []
        for attempt, penalty in zip(
            attempts, builder.rng.sample(penalties, len(penalties)), strict=True
        ):
            case = builder.valid_submission(attempt, course, learner)
            case.ti_section_id = f"9{context}" if penalty.other_context else context
            case.attempt_number = penalty.attempt_number
            set_mapping(submission=f"Attempt {penalty.attempt_number}")(case, builder)
            set_malpractice(case, _grade_text(penalty.level), penalty.level)
            if penalty.email_missing:
                set_cell("Learner Email", "")(case, builder)
                case.expect_failure(FailureCode.EMAIL_MISSING)
            cases.append(case)
        first = next(c for c in cases if c.ti_section_id == context)
        for row in existing:
            existing_rows.add_malpractice_rule(
                builder, first, row.attempt_number, row.level, row.max_attempts
            )
        return cases

    return RowGroup(len(penalties), make)


def _grade_text(level: str) -> str:
    return next(grade for grade, named_level in MALPRACTICE_GRADES if named_level == level)


MALPRACTICE_GROUPS: tuple[RowGroup, ...] = (
    malpractice_group(Penalty(1, "Moderate"), Penalty(2, "Moderate"), Penalty(3, "Severe")),
    malpractice_group(Penalty(2, "Severe"), Penalty(2, "Moderate")),
    malpractice_group(Penalty(2, "Moderate"), existing=(ExistingRule(3, "Severe", 3),)),
    malpractice_group(Penalty(3, "Considerable"), existing=(ExistingRule(1, "Moderate", 3),)),
    malpractice_group(Penalty(2, "Moderate"), Penalty(2, "Considerable")),
    malpractice_group(Penalty(1, "Minor"), Penalty(1, "Moderate")),
    malpractice_group(Penalty(1, "Moderate"), existing=(ExistingRule(None, "Severe", None),)),
    malpractice_group(
        Penalty(2, "Severe"),
        existing=(ExistingRule(None, "Minor", None), ExistingRule(1, "Moderate", 3)),
    ),
    malpractice_group(Penalty(2, "Severe"), existing=(ExistingRule(2, "Moderate", 3),)),
    malpractice_group(Penalty(1, "Moderate"), Penalty(2, "Severe", other_context=True)),
    malpractice_group(Penalty(1, "Moderate"), Penalty(3, "Severe", email_missing=True)),
)
"""Groups with members of different rank (rule 13), the most common first."""
