"""Invalid submissions: at least one realistic cause for each failure code.

Each function injects one error into a valid submission. Some add a second error that a later
rule would find: the first rule that applies decides.
"""

import base64
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

from rogo_async.common.errors import FailureCode
from rogo_async.demo.dataset import existing_rows
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.reference_data import (
    NO_SUCH_PREFIX,
    NO_SUCH_VERSION,
    ONLY_A_LONGER_WORD,
    OTHER_CASE,
    SPLIT_QUESTION,
    TWO_ACTIVE,
    TWO_INACTIVE,
    Course,
)
from rogo_async.demo.dataset.submission import SubmissionCase
from rogo_async.demo.dataset.valid_variants import Modify, set_malpractice


def set_cell(column: str, text: str) -> Modify:
    """Sets a CSV cell; ``{attempt}`` in ``text`` becomes the attempt id."""

    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        case.cell_overrides[column] = text.format(attempt=case.attempt)

    return modify


def set_report(**columns: object) -> Modify:
    """Sets columns of the attempt's report row."""

    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        case.report_overrides |= columns

    return modify


def no_report(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.report_variations = ()


def different_reports(*variations: dict[str, object]) -> Modify:
    """Adds report rows that differ from the first one in these columns."""

    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        case.report_variations = ({}, *variations)

    return modify


def combine(*modifications: Modify) -> Modify:
    def modify(case: SubmissionCase, builder: DatasetBuilder) -> None:
        for modification in modifications:
            modification(case, builder)

    return modify


def set_mapping(version: str | None = None, submission: str | None = None) -> Modify:
    """Changes the last mapping line of the attempt."""

    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        line = case.mapping[-1]
        case.mapping[-1] = replace(
            line,
            version=line.version if version is None else version,
            submission=line.submission if submission is None else submission,
        )

    return modify


def cells_to_keep_verbatim(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """Cells that the failed-rows file must keep unchanged."""
    case.cell_overrides |= {
        "Membership Number": f" 00{case.learner.membership_number} ",
        "Unit Code": "=SUM(A1:A9)",
        "Marker File Names": 'first line\r\n\r\nthird, "quoted" line',
        "Timestamp": "\u2007",
    }


def missing_cells(count: int) -> Modify:
    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        case.missing_cells = count

    return modify


def extra_cells_at_end(*texts: str) -> Modify:
    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        case.extra_cells = texts

    return modify


def no_mapping(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.mapping = []


def attempt_only_in_joined_key(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    line = case.mapping[0]
    joined = f"{case.attempt}|{line.unit_code}|{line.version}|{line.submission}"
    case.mapping = [replace(line, attempt_id=joined)]


def last_line_without_version(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.mapping.append(replace(case.mapping[0], version=" "))


def leftover_session_record(case: SubmissionCase, builder: DatasetBuilder) -> None:
    existing_rows.add_session_record(builder, f"rogo_{case.attempt}_9f2c", case)


def leftover_launch_session(case: SubmissionCase, builder: DatasetBuilder) -> None:
    existing_rows.add_launch_session(builder, f"rogo_{case.attempt}_9f2c", case)


def leftover_sessions(case: SubmissionCase, builder: DatasetBuilder) -> None:
    existing_rows.add_launch_session(builder, f"rogo_{case.attempt}_retry_2", case)
    existing_rows.add_session_record(builder, f"rogo_{case.attempt}_retry_2", case)


def set_course(course: Course) -> Modify:
    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        case.course = course
        case.mapping[-1] = replace(case.mapping[-1], version=course.version)

    return modify


def invalid_score(**columns: object) -> Modify:
    """Makes one of three score rows invalid."""

    def modify(case: SubmissionCase, builder: DatasetBuilder) -> None:
        case.scores = builder.scores(case.course, 3, case.inserted)
        case.scores[1] = replace(case.scores[1], **columns)  # type: ignore[arg-type] # names vary by case

    return modify


def label_matches_two_sections(case: SubmissionCase, builder: DatasetBuilder) -> None:
    set_course(SPLIT_QUESTION)(case, builder)
    case.scores = builder.scores(case.course, 1, case.inserted)
    case.scores.append(replace(case.scores[0], label="Question 4", section_id=""))


def section_scored_twice(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.scores = builder.scores(case.course, 2, case.inserted)
    first = case.scores[0]
    case.scores.append(replace(first, label=f"{str(first.label).swapcase()} "))


def missing_and_ambiguous_sections(case: SubmissionCase, builder: DatasetBuilder) -> None:
    section_scored_twice(case, builder)
    case.scores.append(replace(case.scores[0], label="Question 99", section_id=""))


def no_files(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.files = []


def blank_url_cells(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.files = []
    case.cell_overrides |= {
        "Learner Azure Blob URLs": "  ",
        "Learner File Names": "Assignment.docx",
    }


def disallowed_source(template: str) -> Modify:
    """Moves the last file to a URL that the allow-list does not permit.

    ``template`` may contain the ``{scheme}``, ``{host}``, ``{port}`` and ``{path}`` of the
    valid URL.
    """

    def modify(case: SubmissionCase, _builder: DatasetBuilder) -> None:
        last = case.files[-1]
        parts = urlsplit(last.url)
        url = template.format(
            scheme=parts.scheme, host=parts.hostname, port=parts.port, path=parts.path
        )
        case.files[-1] = replace(last, url=url, blob=None)

    return modify


def missing_source_file(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.files[-1] = replace(case.files[-1], blob=None)


def missing_feedback_file(case: SubmissionCase, builder: DatasetBuilder) -> None:
    gone = replace(builder.feedback_file(case.attempt), blob=None)
    case.files = [builder.learner_file(case.attempt, "Assignment.docx"), gone]


def source_status(status: int, location: str | None = None) -> Modify:
    """The scripted source answers the request for the only file with ``status``."""

    def modify(case: SubmissionCase, builder: DatasetBuilder) -> None:
        case.files = [builder.scripted_file(case.attempt, status, location=location)]

    return modify


def wrong_stored_md5(case: SubmissionCase, builder: DatasetBuilder) -> None:
    file = builder.learner_file(case.attempt, "Assignment.pdf")
    case.files = [replace(file, blob=replace(file.content, md5_is_wrong=True))]


def wrong_md5_header(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [builder.scripted_file(case.attempt, 200)]
    builder.routes[-1].headers["Content-MD5"] = base64.b64encode(b"not this digest!").decode()


def max_attempts_out_of_range(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """The attempt number fits into an integer column, but the limit computed from it does not."""
    case.attempt_number = 2_147_483_647
    set_mapping(submission=f"Attempt {case.attempt_number}")(case, _builder)
    set_malpractice(case, "Malpractice - Considerable", "Considerable")


FAILURE_CASES: dict[FailureCode, tuple[Modify, ...]] = {
    FailureCode.ROW_MALFORMED: (
        missing_cells(2),
        extra_cells_at_end("", "second half of a name.docx"),
        set_cell("Error", "row_malformed: line 812 has 25 cells, expected 23"),
        missing_cells(15),
    ),
    FailureCode.ATTEMPT_ID_MISSING: (set_cell("Attempt ID", ""), set_cell("Attempt ID", "  ")),
    FailureCode.ATTEMPT_ID_INVALID: (
        set_cell("Attempt ID", "not known"),
        set_cell("Attempt ID", "-{attempt}"),
        set_cell("Attempt ID", "2147483648"),
        set_cell("Attempt ID", "0"),
        set_cell("Attempt ID", "{attempt}.0"),
        set_cell("Attempt ID", "+{attempt}"),
    ),
    FailureCode.TARGET_INCOMPLETE: (
        leftover_session_record,
        leftover_launch_session,
        leftover_sessions,
    ),
    FailureCode.MAPPING_MISSING: (
        no_mapping,
        combine(attempt_only_in_joined_key, set_cell("Learner Email", "")),
    ),
    FailureCode.VERSION_MISSING: (set_mapping(version=""), last_line_without_version),
    FailureCode.SUBMISSION_TEXT_MISSING: (
        set_mapping(submission=""),
        set_mapping(version="22_01", submission=" "),
    ),
    FailureCode.ATTEMPT_NUMBER_MISSING: (
        set_mapping(submission="First submission"),
        set_mapping(submission="2nd Attempt"),
        set_mapping(submission="Attempt two"),
        set_mapping(submission="Attempt 0"),
        set_mapping(submission="Attempt 99999999999"),
    ),
    FailureCode.EMAIL_MISSING: (
        combine(set_cell("Learner Email", ""), cells_to_keep_verbatim),
        combine(set_cell("Learner Email", "\t"), no_report),
    ),
    FailureCode.REPORT_MISSING: (no_report, combine(no_report, no_files)),
    FailureCode.REPORT_AMBIGUOUS: (
        different_reports({"Grade": "Re-marked"}),
        different_reports({}, {"DateModified": datetime(2031, 1, 1)}),  # noqa: DTZ001 - naive as in the warehouse
    ),
    FailureCode.REPORT_FIELD_MISSING: (
        set_report(MarksAchieved=None, MarksAwarded=None),
        set_report(Exercise="  "),
        set_report(TIUserId=None),
        set_report(TISectionId=None),
        set_report(MarksAvailable=None),
        set_report(GradePercent=None),
        set_report(DateInserted=None),
        set_report(Grade=""),
    ),
    FailureCode.SCORE_FIELD_MISSING: (
        invalid_score(score=None),
        invalid_score(label=None),
        invalid_score(label=" "),
    ),
    FailureCode.EXERCISE_INVALID: (set_report(Exercise="Induction"),),
    FailureCode.ASSESSMENT_MISSING: (
        set_course(NO_SUCH_PREFIX),
        set_course(NO_SUCH_VERSION),
        set_course(OTHER_CASE),
        set_course(ONLY_A_LONGER_WORD),
    ),
    FailureCode.ASSESSMENT_AMBIGUOUS: (set_course(TWO_ACTIVE), set_course(TWO_INACTIVE)),
    FailureCode.SECTION_MISSING: (
        invalid_score(label="Question 99"),
        missing_and_ambiguous_sections,
        invalid_score(label="AC 1"),
    ),
    FailureCode.SECTION_AMBIGUOUS: (label_matches_two_sections, section_scored_twice),
    FailureCode.GRADE_MISSED: (
        set_report(Grade="Grade Missed"),
        set_report(Grade=" grade missed "),
    ),
    FailureCode.MALPRACTICE_LEVEL_MISSING: (
        set_report(Grade="Malpractice"),
        set_report(Grade="Malpractice - Gross"),
        set_report(Grade="Malpractice: under review"),
    ),
    FailureCode.FILES_MISSING: (no_files, blank_url_cells),
    FailureCode.SOURCE_NOT_ALLOWED: (
        disallowed_source("{scheme}://{host}.evil.test:{port}{path}"),
        disallowed_source("{scheme}://{host}:{port}@evil.test{path}"),
        disallowed_source("{scheme}://rogo@{host}:{port}{path}"),
        disallowed_source("https://{host}:{port}{path}"),
        disallowed_source("{scheme}://{host}:1{path}"),
        disallowed_source("ftp://{host}:{port}{path}"),
    ),
    FailureCode.SOURCE_FILE_MISSING: (
        missing_source_file,
        missing_feedback_file,
        source_status(404),
    ),
    FailureCode.SOURCE_FORBIDDEN: (source_status(403), source_status(401)),
    FailureCode.SOURCE_REFUSED: (
        source_status(410),
        source_status(302, "https://files.evil.test/assignment.docx"),
        source_status(451),
    ),
    FailureCode.FILE_CORRUPT: (wrong_stored_md5, wrong_md5_header),
    FailureCode.TARGET_REFUSED: (
        set_cell("Course Title", "Leading\0People"),
        max_attempts_out_of_range,
        set_cell("Surname", "Smith\0"),
    ),
}
"""The causes of each code except target_conflict, a race that no data can cause."""

MAX_PER_CODE = 6
MAX_FORBIDDEN = 4
"""Fewer than the 403 responses in a row that mean a problem of the host (rule 14)."""
