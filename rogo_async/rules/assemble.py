"""From a row and what was looked up for it to all that the target needs but the files' bytes."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from rogo_async.errors import FailureCode, RowFault
from rogo_async.model import Lms, Prepared, Report, Score, SourceRow
from rogo_async.rules.files import plan_files
from rogo_async.rules.grading import REFER, final_grade, malpractice
from rogo_async.rules.matching import Reference, match_assessment, match_sections
from rogo_async.rules.report import require_report, require_scores
from rogo_async.rules.urls import AllowList

ROLE: Final = "Learner"
CONTEXT_TYPE: Final = "CourseSection"
LTI_MESSAGE_TYPE: Final = "basic-lti-launch-request"
CUSTOM_ACTION: Final = "exercise_attempt"
ASSIGNMENT_TITLE: Final = "Submission Area"
CUSTOM_INSTRUCTION_SET: Final = "AIS"
NEVER_EXPIRES: Final = datetime(2099, 12, 31, tzinfo=UTC)


def prepare(
    row: SourceRow,
    attempt: int,
    attempt_number: int,
    version: str,
    reports: Sequence[Report],
    scores: Sequence[Score],
    reference: Reference,
    allow: AllowList,
) -> Prepared:
    """Apply SPEC §3 rules 8 to 14 in their order; of rule 14, what can be told before fetching.

    Raises RowFault with the code of the first rule that does not hold.
    """
    report = require_report(reports)
    require_scores(scores)
    assessment = match_assessment(report.exercise or "", version, reference)
    marks = match_sections(scores, assessment, reference)
    grade = report.grade or ""
    graded = final_grade(grade, assessment.code)
    finding = malpractice(grade, attempt_number, reference)
    return Prepared(
        attempt=attempt,
        attempt_number=attempt_number,
        row=row,
        report=report,
        assessment=assessment,
        final_grade=REFER if finding else graded,
        malpractice=finding,
        marks=marks,
        files=plan_files(row, assessment.code, allow),
    )


def full_name(row: SourceRow) -> str | None:
    """Give first and last name, either of which may be missing, else Rogo User Name, else None."""
    named = " ".join(name for name in (row.first_name, row.surname) if name)
    return named or row.rogo_user_name or None


def context_title(row: SourceRow, report: Report) -> str | None:
    """Give Course Title, else Exercise."""
    return row.course_title or report.exercise


def lms_user_id(lms: Lms, report: Report) -> str:
    """Give the learner's id in the target: ``{instance id}::{TIUserId}``."""
    return f"{lms.instance_id}::{report.ti_user_id}"


def context_id(lms: Lms, report: Report) -> str:
    """Give the course's id in the target: ``{instance id}::{TISectionId}``."""
    return f"{lms.instance_id}::{report.ti_section_id}"


def return_url(lms: Lms, report: Report) -> str:
    """Give the configured base plus TISectionId."""
    return f"{lms.return_url_base}{report.ti_section_id}"


def created_at(report: Report) -> datetime:
    """Give DateInserted. Raises RowFault report_field_missing (rule 8 holds for a Prepared)."""
    if report.date_inserted is None:
        raise RowFault(FailureCode.REPORT_FIELD_MISSING, "report row: no value in DateInserted")
    return report.date_inserted


def effective_at(report: Report) -> datetime:
    """Give ResultsApproved, else DateInserted: submitted_at, uploaded_at, completed_at, ….

    Raises as created_at does.
    """
    return report.results_approved or created_at(report)


def updated_at(report: Report) -> datetime:
    """Give DateModified, else DateInserted. Raises as created_at does."""
    return report.date_modified or created_at(report)


def score_created_at(score: Score, report: Report) -> datetime:
    """Give the score row's DateInserted, the report's where it has none."""
    return score.date_inserted or created_at(report)


def score_updated_at(score: Score, report: Report) -> datetime:
    """Give the score row's DateModified, else its DateInserted, else what the report says.

    The row's own DateInserted comes before the report's dates: a report that was modified later
    tells nothing about this mark.
    """
    return score.date_modified or score.date_inserted or updated_at(report)


@lru_cache(1024)
def custom_params(assessment_code: str) -> str:
    """Give the launch's custom parameters as JSON text."""
    return json.dumps({"cis": CUSTOM_INSTRUCTION_SET, "cas": assessment_code}, ensure_ascii=False)


def uploaded_by(row: SourceRow) -> str:
    """Give who uploaded the learner files: Rogo User ID, else email. Feedback has none."""
    return row.rogo_user_id or row.email
