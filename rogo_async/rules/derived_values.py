"""Column values that are derived from a row and its report (specification §3, derived values)."""

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.settings import Lms
from rogo_async.rules.records import Report, Score, SourceRow

ROLE: Final = "Learner"
CONTEXT_TYPE: Final = "CourseSection"
LTI_MESSAGE_TYPE: Final = "basic-lti-launch-request"
CUSTOM_ACTION: Final = "exercise_attempt"
ASSIGNMENT_TITLE: Final = "Submission Area"
CUSTOM_INSTRUCTION_SET: Final = "AIS"
NEVER_EXPIRES: Final = datetime(2099, 12, 31, tzinfo=UTC)


def full_name(row: SourceRow) -> str | None:
    """Return the first and last name, as far as present, else Rogo User Name, else None."""
    named = " ".join(name for name in (row.first_name, row.surname) if name)
    return named or row.rogo_user_name or None


def context_title(row: SourceRow, report: Report) -> str | None:
    """Return Course Title, else Exercise."""
    return row.course_title or report.exercise


def lms_user_id(lms: Lms, report: Report) -> str:
    """Return the learner's id in the target: ``{instance id}::{TIUserId}``."""
    return f"{lms.instance_id}::{report.ti_user_id}"


def context_id(lms: Lms, report: Report) -> str:
    """Return the course's id in the target: ``{instance id}::{TISectionId}``."""
    return f"{lms.instance_id}::{report.ti_section_id}"


def return_url(lms: Lms, report: Report) -> str:
    """Return the configured base plus TISectionId."""
    return f"{lms.return_url_base}{report.ti_section_id}"


def created_at(report: Report) -> datetime:
    """Return DateInserted. Raises RowError report_field_missing; rule 8 prevents this."""
    if report.date_inserted is None:
        raise RowError(FailureCode.REPORT_FIELD_MISSING, "report row: no value in DateInserted")
    return report.date_inserted


def effective_at(report: Report) -> datetime:
    """Return ResultsApproved, else DateInserted: submitted_at, uploaded_at, completed_at, ….

    Raises the same error as created_at.
    """
    return report.results_approved or created_at(report)


def updated_at(report: Report) -> datetime:
    """Return DateModified, else DateInserted. Raises the same error as created_at."""
    return report.date_modified or created_at(report)


def score_created_at(score: Score, report: Report) -> datetime:
    """Return the score row's DateInserted, else that of the report."""
    return score.date_inserted or created_at(report)


def score_updated_at(score: Score, report: Report) -> datetime:
    """Return the score row's DateModified, else its DateInserted, else updated_at of the report.

    The row's DateInserted has priority over the report's DateModified: a later change of the
    report does not mean that this mark has changed.
    """
    return score.date_modified or score.date_inserted or updated_at(report)


@lru_cache(1024)
def custom_params(assessment_code: str) -> str:
    """Return the launch's custom parameters as JSON text, without blanks as the platform's."""
    params = {"cis": CUSTOM_INSTRUCTION_SET, "cas": assessment_code}
    return json.dumps(params, ensure_ascii=False, separators=(",", ":"))


def uploaded_by(row: SourceRow) -> str:
    """Return the uploader of the learner files: Rogo User ID, else email. Feedback has none."""
    return row.rogo_user_id or row.email
