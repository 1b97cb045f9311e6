"""Converts submissions to CSV cells and warehouse rows."""

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from urllib.parse import unquote, urlsplit

from rogo_async.demo.dataset.reference_data import Row
from rogo_async.demo.dataset.submission import MappingLine, SubmissionCase
from rogo_async.rules.records import FileKind

BOM = "\ufeff"

# Deliberately a second list, like the one in tests/support/builders.py: data and tests must not
# copy an error of the code under test.
SUBMISSION_COLUMNS = (
    "Membership Number",
    "First Name",
    "Surname",
    "Learner Email",
    "Attempt ID",
    "Unit Code",
    "Assessment ID",
    "Course Title",
    "Attempt Number",
    "Rogo User ID",
    "Rogo User Name",
    "Learner Files Count",
    "Learner File Names",
    "Learner File URLs",
    "Learner Azure Blob Names",
    "Learner Azure Blob URLs",
    "Marker Files Count",
    "Marker File Names",
    "Marker File URLs",
    "Marker Azure Blob Names",
    "Marker Azure Blob URLs",
    "Timestamp",
    "Error",
)
"""The columns of submission_files.csv, in their order (specification §1)."""

MAPPING_COLUMNS = (
    "Attempt ID",
    "Unit Code",
    "Unit Code Version",
    "Assessment ID",
    "Submission",
)
"""The columns of attempt_number_mapping.csv (specification §1)."""


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """CSV text as in RFC 4180: CRLF, quotes only where needed."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()


def submission_cells(case: SubmissionCase) -> tuple[str, ...]:
    """The cells of a submission's row, with its missing or extra cells."""
    learner_files = case.files_of(FileKind.SUBMISSION)
    marker_files = case.files_of(FileKind.FEEDBACK)
    values = {
        "Membership Number": case.learner.membership_number,
        "First Name": case.first_name,
        "Surname": case.surname,
        "Learner Email": case.learner.email,
        "Attempt ID": str(case.attempt),
        "Unit Code": case.unit_code,
        "Assessment ID": case.assessment_id,
        "Course Title": case.course_title,
        "Attempt Number": str(case.attempt_number),
        "Rogo User ID": case.learner.rogo_user_id,
        "Rogo User Name": case.learner.rogo_user_name,
        "Learner Files Count": str(len(learner_files)),
        "Learner File Names": ",".join(file.name for file in learner_files),
        "Learner File URLs": ",".join(
            f"https://rogo.example/files/{case.attempt}/{n}" for n in range(len(learner_files))
        ),
        "Learner Azure Blob Names": ",".join(_blob_name(file.url) for file in learner_files),
        "Learner Azure Blob URLs": ",".join(file.url for file in learner_files),
        "Marker Files Count": str(len(marker_files)),
        "Marker File Names": ",".join(f"feedback{n}.docx" for n in range(len(marker_files))),
        "Marker File URLs": ",".join(
            f"https://rogo.example/marked/{case.attempt}/{n}" for n in range(len(marker_files))
        ),
        "Marker Azure Blob Names": ",".join(_blob_name(file.url) for file in marker_files),
        "Marker Azure Blob URLs": ",".join(file.url for file in marker_files),
        "Timestamp": case.inserted.strftime("%d/%m/%Y %H:%M"),
        "Error": "",
    } | case.cell_overrides
    cells = [values[column] for column in SUBMISSION_COLUMNS]
    return (*cells[: len(cells) - case.missing_cells], *case.extra_cells)


def _blob_name(url: str) -> str:
    return unquote(urlsplit(url).path.rpartition("/")[2])


def mapping_cells(line: MappingLine) -> tuple[str, ...]:
    return (line.attempt_id, line.unit_code, line.version, line.assessment_id, line.submission)


def report_rows(case: SubmissionCase) -> list[Row]:
    """The submission's rows of dbo.Rogo_AssessmentReport."""
    row: Row = {
        "AttemptId": case.attempt,
        "TIUserId": case.learner.ti_user_id,
        "TISectionId": case.ti_section_id,
        "Exercise": case.course.exercise,
        "MarksAchieved": case.marks,
        "MarksAwarded": Decimal(99),
        "MarksAvailable": case.marks_available,
        "GradePercent": case.grade_percent,
        "Grade": case.grade,
        "MarkerNotes": case.notes,
        "ResultsApproved": case.approved,
        "DateInserted": case.inserted,
        "DateModified": case.modified,
    }
    return [row | case.report_overrides | each for each in case.report_variations]


def score_rows(case: SubmissionCase) -> list[Row]:
    """The submission's rows of dbo.Rogo_AssessmentReportScores."""
    return [
        {
            "AttemptId": case.attempt,
            "ScoreLabelCorrected": score.label,
            "Score": score.score,
            "MarkerComment": score.comment,
            "DateInserted": score.inserted,
            "DateModified": score.modified,
        }
        for score in case.scores
    ]
