"""One generated submission: its facts, and where CSV cells or warehouse columns differ from them.

The expected results are computed from the facts (names, marks, dates, sections, attempt number).
Intended differences in the input are kept separately, as overrides.
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.dataset.people import Learner
from rogo_async.demo.dataset.reference_data import Course
from rogo_async.rules.records import FileKind, Status


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of the submission. ``name`` is the expected name of a learner's file in the target.

    ``blob`` is None if the file does not exist or must not be fetched.
    """

    kind: FileKind
    name: str
    extension: str
    url: str
    blob: BlobSpec | None

    @property
    def content(self) -> BlobSpec:
        """The file at the source. Raises ValueError if there is none."""
        if self.blob is None:
            raise ValueError(f"no file at {self.url}")
        return self.blob


@dataclass(frozen=True, slots=True)
class SectionScore:
    """A score row. ``section_id`` is the section that its label matches, empty for none."""

    label: str | None
    section_id: str
    score: Decimal | None
    comment: str | None
    inserted: datetime | None
    modified: datetime | None

    @property
    def marks(self) -> float:
        """The score as a number. Raises ValueError if there is none."""
        if self.score is None:
            raise ValueError("this score row has no score")
        return float(self.score)


@dataclass(frozen=True, slots=True)
class MalpracticeFinding:
    """A malpractice finding: its level and the limit of attempts (None for no limit)."""

    level_id: str
    max_attempts: int | None


@dataclass(frozen=True, slots=True)
class MappingLine:
    """A line of attempt_number_mapping.csv, cell by cell."""

    attempt_id: str
    unit_code: str
    version: str
    assessment_id: str
    submission: str


@dataclass(slots=True)
class SubmissionCase:
    """A row of submission_files.csv with its files, warehouse rows and mapping lines.

    Warehouse dates are naive and in UTC. ``csv_only`` marks a second row for an attempt, which
    adds nothing but a row to the CSV file.
    """

    attempt: int
    learner: Learner
    first_name: str
    surname: str
    course: Course
    course_title: str
    assessment_id: str
    unit_code: str
    ti_section_id: str
    attempt_number: int
    grade: str
    final_grade: str
    marks: Decimal
    marks_available: Decimal
    grade_percent: Decimal
    notes: str | None
    inserted: datetime
    approved: datetime | None
    modified: datetime | None
    scores: list[SectionScore]
    files: list[SourceFile]
    mapping: list[MappingLine]
    malpractice: MalpracticeFinding | None = None
    uploaded_by: str = ""

    status: Status = Status.MIGRATED
    code: FailureCode | SkipCode | None = None

    cell_overrides: dict[str, str] = field(default_factory=dict)
    """CSV cells that differ from the facts, by column."""
    missing_cells: int = 0
    """Number of cells missing at the end of the line."""
    extra_cells: tuple[str, ...] = ()
    """Cells beyond the last column."""
    report_overrides: dict[str, object] = field(default_factory=dict)
    """Warehouse columns that differ from the facts."""
    report_variations: tuple[dict[str, object], ...] = ({},)
    """For each report row, the columns that differ from the other rows."""
    csv_only: bool = False

    @property
    def full_name(self) -> str:
        """First name and surname as far as known, else the Rogo user name."""
        names = " ".join(part for part in (self.first_name, self.surname) if part)
        return names or self.learner.rogo_user_name

    @property
    def approved_or_inserted(self) -> datetime:
        """ResultsApproved, else DateInserted."""
        return self.approved or self.inserted

    @property
    def modified_or_inserted(self) -> datetime:
        """DateModified, else DateInserted."""
        return self.modified or self.inserted

    def files_of(self, kind: FileKind) -> list[SourceFile]:
        return [file for file in self.files if file.kind is kind]

    def expect_failure(self, code: FailureCode) -> None:
        self.status, self.code = Status.FAILED, code

    def expect_skip(self, code: SkipCode) -> None:
        self.status, self.code = Status.SKIPPED, code
