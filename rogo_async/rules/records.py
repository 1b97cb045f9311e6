"""The records of a row in each stage of a run. All are frozen; times are in UTC.

SourceRow → Submission → PreparedSubmission → Outcome.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Self

from yarl import URL

from rogo_async.common.errors import FailureCode, RowError, RowSkip, SkipCode


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of submission_files.csv (specification §1). All named texts are trimmed.

    ``cells`` are the cells as they were read, one for each input column but ``Error``, for the
    failed-rows file. ``malformed`` is the message of rule 0, or None. ``line`` is the number of
    the line at which the row begins (the header is line 1).
    """

    line: int
    cells: tuple[str, ...]
    malformed: str | None
    attempt_id: str
    first_name: str
    surname: str
    email: str
    assessment_id: str
    course_title: str
    rogo_user_id: str
    rogo_user_name: str
    learner_file_names: str
    learner_urls: str
    marker_urls: str


@dataclass(frozen=True, slots=True)
class MappingRow:
    """The line of attempt_number_mapping.csv for an attempt. Texts are trimmed, may be empty.

    With a ``defect`` the line is malformed, and its values are unknown.
    """

    version: str
    submission: str
    defect: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The columns of Rogo_AssessmentReport that the rules use. Texts are trimmed, None if blank.

    ``marks`` is MarksAchieved unless that is NULL, else MarksAwarded.
    """

    attempt: int
    ti_user_id: str | None
    ti_section_id: str | None
    exercise: str | None
    marks: Decimal | None
    marks_available: Decimal | None
    grade_percent: Decimal | None
    grade: str | None
    marker_notes: str | None
    results_approved: datetime | None
    date_inserted: datetime | None
    date_modified: datetime | None
    unreadable: tuple[str, ...] = ()
    """Columns whose value could not be converted to the type above."""


@dataclass(frozen=True, slots=True)
class Score:
    """A row of Rogo_AssessmentReportScores. Texts are trimmed, None when blank."""

    attempt: int
    label: str | None
    score: Decimal | None
    marker_comment: str | None
    date_inserted: datetime | None
    date_modified: datetime | None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WarehouseRows:
    """The warehouse rows of one attempt: zero or more of each kind."""

    reports: tuple[Report, ...] = ()
    scores: tuple[Score, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """A row that passed rules 0 to 7. ``warehouse_rows`` are added by the lookup."""

    row: SourceRow
    attempt: int
    attempt_number: int
    version: str
    warehouse_rows: WarehouseRows = WarehouseRows()


@dataclass(frozen=True, slots=True)
class Assessment:
    """A row of the target's assessments."""

    id: str
    name: str
    code: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class Section:
    """A row of the target's assessment_sections."""

    id: str
    assessment_id: str
    question_text: str


@dataclass(frozen=True, slots=True)
class MalpracticeLevel:
    """An active row of the target's malpractice_levels."""

    id: str
    level_text: str


class FileKind(StrEnum):
    """The values of the target's enum submission_file_type."""

    SUBMISSION = "submission"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file to be copied from ``url``, which the allow-list permits.

    ``name`` is the file_name in the target. ``extension`` is in lower case, without its dot, and
    may be empty. ``order`` is the upload_order, from 1 over both kinds.
    """

    kind: FileKind
    order: int
    name: str
    extension: str
    content_type: str
    url: URL


class Route(StrEnum):
    """How a file reached the destination: copied by the service, or why not (rule 14).

    The values are in the summary and in the report.
    """

    COPIED = "copied by the service"
    OFF = "streamed: ROGO_COPY is stream"
    NOT_AZURE = "streamed: the source host is not Azure Blob Storage"
    NOT_HTTPS = "streamed: an access token is sent over https only"
    NO_PROPERTIES = "streamed: the source does not answer HEAD"
    NO_LENGTH = "streamed: no length stated"
    NO_MD5 = "streamed: no MD5 stated"
    NO_ETAG = "streamed: no ETag stated"
    TOO_LARGE = "streamed: larger than 5,000 MiB"
    URL_TOO_LONG = "streamed: the URL is longer than 2 KiB"
    DECLINED = "streamed: the service declined"
    DECLINED_EARLIER = "streamed: the service declined earlier files of the host"
    CHANGED = "streamed: the source changed before the copy"
    DIFFERENT = "streamed: the copy differed from the source"
    UNKNOWN = "streamed: the service did not answer in time"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the destination container. ``blob_url`` has no SAS."""

    ref: FileRef
    blob_name: str
    blob_url: str
    size_bytes: int
    md5: bytes
    route: Route = Route.OFF


@dataclass(frozen=True, slots=True)
class SectionMark:
    """A score row with the section that it was matched to."""

    section_id: str
    score: Score


@dataclass(frozen=True, slots=True)
class Malpractice:
    """Malpractice found by rule 13: level, limit (None is no limit), and the grade as found."""

    level: MalpracticeLevel
    max_attempts: int | None
    notes: str


@dataclass(frozen=True, slots=True)
class PreparedSubmission:
    """A submission that passed the rules that need no file: 0 to 13, and part of 14."""

    attempt: int
    attempt_number: int
    row: SourceRow
    report: Report
    assessment: Assessment
    final_grade: str
    malpractice: Malpractice | None
    marks: tuple[SectionMark, ...]
    files: tuple[FileRef, ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """The ids of one submission: its launch id and the row ids that the client makes."""

    attempt: int
    launch_id: str
    submission_id: str


@dataclass(frozen=True, slots=True)
class EnforcementRank:
    """The rank of a malpractice rule among those of one key (rule 13).

    ``attempt`` is None for a row of the platform.
    """

    attempt_number: int | None
    max_attempts: int | None
    attempt: int | None


class Status(StrEnum):
    """The result for a row. Every input row has exactly one (invariant 1)."""

    MIGRATED = "migrated"
    REFRESHED = "refreshed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_REACHED = "not_reached"


class MigratedLine(NamedTuple):
    """A line of migrated.csv, its columns in order (specification §2)."""

    attempt: int
    launch_id: str
    submission_id: str
    session_record_id: str
    user_id: str
    context_id: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one row. ``message`` may quote the row: use it in the failed-rows file only."""

    row: SourceRow
    status: Status
    attempt: int | None = None
    code: FailureCode | SkipCode | None = None
    message: str = ""
    migrated_line: MigratedLine | None = None
    stored: tuple[tuple[Route, int], ...] = ()
    """Route and size in bytes of each file of a migrated submission."""

    @classmethod
    def failed(cls, row: SourceRow, attempt: int | None, error: RowError) -> Self:
        """The outcome of a row that failed a rule."""
        return cls(row, Status.FAILED, attempt, error.code, error.message)

    @classmethod
    def skipped(cls, row: SourceRow, attempt: int | None, skip: RowSkip) -> Self:
        """The outcome of a valid row that needs no migration."""
        return cls(row, Status.SKIPPED, attempt, skip.code, skip.message)
