"""One invented submission: the facts, and how each place writes them down.

The facts (names, marks, dates, the section of a score, the attempt number) are what the
answer is made from. What a CSV cell or a warehouse column says may differ from them on
purpose; such differences are kept apart, as overrides.
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
    """A file of the submission. ``name`` is what the target shall call a learner's file.

    ``blob`` is None where nothing stands at the source or nothing may be fetched.
    """

    kind: FileKind
    name: str
    extension: str
    url: str
    blob: BlobSpec | None

    @property
    def content(self) -> BlobSpec:
        """The file at the source. Raises ValueError where there is none."""
        if self.blob is None:
            raise ValueError(f"nothing can be fetched from {self.url}")
        return self.blob


@dataclass(frozen=True, slots=True)
class SectionScore:
    """A score row. ``section_id`` is the section that its label means, empty for none."""

    label: str | None
    section_id: str
    score: Decimal | None
    comment: str | None
    inserted: datetime | None
    modified: datetime | None

    @property
    def marks(self) -> float:
        """The score of a row that has one. Raises ValueError when it has none."""
        if self.score is None:
            raise ValueError("this score row has no score")
        return float(self.score)


@dataclass(frozen=True, slots=True)
class MalpracticeFinding:
    """A malpractice finding: the active level and the limit it sets (None is no limit)."""

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
    """A row of submission_files.csv with all that stands elsewhere for its attempt.

    Warehouse dates are naive and mean UTC. ``echo`` marks a second row for an attempt:
    it adds a row to the CSV file and nothing anywhere else.
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
    """So many cells are missing at the end of the line."""
    extra_cells: tuple[str, ...] = ()
    """Cells beyond the last column."""
    report_overrides: dict[str, object] = field(default_factory=dict)
    """Warehouse columns that differ from the facts."""
    report_count: int = 1
    csv_only: bool = False

    @property
    def full_name(self) -> str:
        """First and last name, either of which may be missing, else the Rogo user name."""
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
