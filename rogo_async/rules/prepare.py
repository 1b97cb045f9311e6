"""Rules 8 to 14: from a row and its warehouse rows to everything the target needs."""

from collections.abc import Sequence

from rogo_async.common.urls import AllowList
from rogo_async.rules.files import plan_files
from rogo_async.rules.grading import REFER, final_grade, malpractice
from rogo_async.rules.matching import Reference, match_assessment, match_sections
from rogo_async.rules.records import Prepared, Report, Score, SourceRow
from rogo_async.rules.warehouse_rows import require_report, require_scores


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

    Raises RowError with the code of the first rule that does not hold.
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
