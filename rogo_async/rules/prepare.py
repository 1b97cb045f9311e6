"""Rules 8 to 14 (specification §3): convert a row and its warehouse rows for the target."""

from rogo_async.common.settings import AmbiguousReports
from rogo_async.common.urls import AllowList
from rogo_async.rules.files import plan_files
from rogo_async.rules.grading import REFER, final_grade, malpractice
from rogo_async.rules.matching import Reference, match_assessment, match_sections
from rogo_async.rules.records import PreparedSubmission, Submission
from rogo_async.rules.warehouse_rows import require_report, require_scores


def prepare(
    submission: Submission,
    reference: Reference,
    allow_list: AllowList,
    ambiguous_reports: AmbiguousReports = AmbiguousReports.FAIL,
) -> PreparedSubmission:
    """Apply rules 8 to 14 in order; only the part of rule 14 that needs no request.

    Raises RowError with the code of the first rule that the submission fails.
    """
    rows = submission.warehouse_rows
    report = require_report(rows.reports, ambiguous_reports)
    require_scores(rows.scores)
    assessment = match_assessment(report.exercise or "", submission.version, reference)
    marks = match_sections(rows.scores, assessment, reference)
    grade = report.grade or ""
    graded = final_grade(grade, assessment.code)
    finding = malpractice(grade, submission.attempt_number, reference)
    return PreparedSubmission(
        attempt=submission.attempt,
        attempt_number=submission.attempt_number,
        row=submission.row,
        report=report,
        assessment=assessment,
        final_grade=REFER if finding else graded,
        malpractice=finding,
        marks=marks,
        files=plan_files(submission.row, assessment.code, allow_list),
    )
