"""Submissions that must not migrate: at least one believable cause for each code of specification §3.

Each function takes a sound case and spoils it. Several leave a second fault behind that a
later rule would find: the first rule that applies decides.
"""

import base64
from dataclasses import replace
from urllib.parse import urlsplit

from rogo_async.common.errors import FailureCode
from rogo_async.demo.dataset import existing_rows
from rogo_async.demo.dataset.builder import World
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
from rogo_async.demo.dataset.submission import Case
from rogo_async.demo.dataset.valid_variants import Alter, find_malpractice


def cell(column: str, text: str) -> Alter:
    """Writes ``text`` into a CSV cell; ``{attempt}`` in it is the attempt id."""

    def alter(case: Case, _world: World) -> None:
        case.cells[column] = text.format(attempt=case.attempt)

    return alter


def report(**columns: object) -> Alter:
    """Writes values into the attempt's report row."""

    def alter(case: Case, _world: World) -> None:
        case.report |= columns

    return alter


def reports(count: int) -> Alter:
    def alter(case: Case, _world: World) -> None:
        case.report_count = count

    return alter


def both(*alterations: Alter) -> Alter:
    def alter(case: Case, world: World) -> None:
        for alteration in alterations:
            alteration(case, world)

    return alter


def mapped(version: str | None = None, submission: str | None = None) -> Alter:
    """Changes the last mapping line of the attempt."""

    def alter(case: Case, _world: World) -> None:
        line = case.mapping[-1]
        case.mapping[-1] = replace(
            line,
            version=line.version if version is None else version,
            submission=line.submission if submission is None else submission,
        )

    return alter


def awkward_cells(case: Case, _world: World) -> None:
    """Cells that a failed row must keep as they are."""
    case.cells |= {
        "Membership Number": f" 00{case.learner.membership_number} ",
        "Unit Code": "=SUM(A1:A9)",
        "Marker File Names": 'first line\r\n\r\nthird, "quoted" line',
        "Timestamp": "\u2007",
    }


def cells_missing(count: int) -> Alter:
    def alter(case: Case, _world: World) -> None:
        case.cut_cells = count

    return alter


def cells_beyond(*texts: str) -> Alter:
    def alter(case: Case, _world: World) -> None:
        case.extra_cells = texts

    return alter


def unmapped(case: Case, _world: World) -> None:
    case.mapping = []


def mapped_in_joined_fields_only(case: Case, _world: World) -> None:
    line = case.mapping[0]
    joined = f"{case.attempt}|{line.unit_code}|{line.version}|{line.submission}"
    case.mapping = [replace(line, attempt_id=joined)]


def version_lost_in_last_line(case: Case, _world: World) -> None:
    case.mapping.append(replace(case.mapping[0], version=" "))


def record_left_over(case: Case, world: World) -> None:
    existing_rows.record(world, f"rogo_{case.attempt}_9f2c", case)


def launch_left_over(case: Case, world: World) -> None:
    existing_rows.launch(world, f"rogo_{case.attempt}_9f2c", case)


def sessions_left_over(case: Case, world: World) -> None:
    existing_rows.launch(world, f"rogo_{case.attempt}_retry_2", case)
    existing_rows.record(world, f"rogo_{case.attempt}_retry_2", case)


def of_course(course: Course) -> Alter:
    def alter(case: Case, _world: World) -> None:
        case.course = course
        case.mapping[-1] = replace(case.mapping[-1], version=course.version)

    return alter


def score(**columns: object) -> Alter:
    """Spoils one score row of the attempt, among sound ones."""

    def alter(case: Case, world: World) -> None:
        case.scores = world.scores(case.course, 3, case.inserted)
        case.scores[1] = replace(case.scores[1], **columns)  # type: ignore[arg-type] # names vary by case

    return alter


def label_of_two_sections(case: Case, world: World) -> None:
    of_course(SPLIT_QUESTION)(case, world)
    case.scores = world.scores(case.course, 1, case.inserted)
    case.scores.append(replace(case.scores[0], label="Question 4", section_id=""))


def section_scored_twice(case: Case, world: World) -> None:
    case.scores = world.scores(case.course, 2, case.inserted)
    first = case.scores[0]
    case.scores.append(replace(first, label=f"{str(first.label).swapcase()} "))


def missing_before_ambiguous(case: Case, world: World) -> None:
    section_scored_twice(case, world)
    case.scores.append(replace(case.scores[0], label="Question 99", section_id=""))


def without_files(case: Case, _world: World) -> None:
    case.files = []


def blank_file_cells(case: Case, _world: World) -> None:
    case.files = []
    case.cells |= {"Learner Azure Blob URLs": "  ", "Learner File Names": "Assignment.docx"}


def from_elsewhere(form: str) -> Alter:
    """The last file stands on a host that is not on the allow-list.

    ``form`` may name the ``{scheme}``, ``{host}``, ``{port}`` and ``{path}`` of the real one.
    """

    def alter(case: Case, _world: World) -> None:
        last = case.files[-1]
        parts = urlsplit(last.url)
        url = form.format(
            scheme=parts.scheme, host=parts.hostname, port=parts.port, path=parts.path
        )
        case.files[-1] = replace(last, url=url, blob=None)

    return alter


def file_gone(case: Case, _world: World) -> None:
    case.files[-1] = replace(case.files[-1], blob=None)


def marked_copy_gone(case: Case, world: World) -> None:
    gone = replace(world.marker_file(case.attempt), blob=None)
    case.files = [world.learner_file(case.attempt, "Assignment.docx"), gone]


def answered(status: int, location: str | None = None) -> Alter:
    """The scripted source answers for the only file as told."""

    def alter(case: Case, world: World) -> None:
        case.files = [world.scripted_file(case.attempt, status, location=location)]

    return alter


def stored_md5_wrong(case: Case, world: World) -> None:
    file = world.learner_file(case.attempt, "Assignment.pdf")
    case.files = [replace(file, blob=replace(file.content, md5_is_wrong=True))]


def answered_md5_wrong(case: Case, world: World) -> None:
    case.files = [world.scripted_file(case.attempt, 200)]
    world.routes[-1].headers["Content-MD5"] = base64.b64encode(b"not this digest!").decode()


def limit_out_of_range(case: Case, _world: World) -> None:
    """The attempt number fits an int, the limit that follows from it does not."""
    case.attempt_number = 2_147_483_647
    mapped(submission=f"Attempt {case.attempt_number}")(case, _world)
    find_malpractice(case, "Malpractice - Considerable", "Considerable")


CAUSES: dict[FailureCode, tuple[Alter, ...]] = {
    FailureCode.ROW_MALFORMED: (
        cells_missing(2),
        cells_beyond("", "second half of a name.docx"),
        cell("Error", "row_malformed: line 812 has 25 cells, expected 23"),
        cells_missing(15),
    ),
    FailureCode.ATTEMPT_ID_MISSING: (cell("Attempt ID", ""), cell("Attempt ID", "  ")),
    FailureCode.ATTEMPT_ID_INVALID: (
        cell("Attempt ID", "not known"),
        cell("Attempt ID", "-{attempt}"),
        cell("Attempt ID", "2147483648"),
        cell("Attempt ID", "0"),
        cell("Attempt ID", "{attempt}.0"),
        cell("Attempt ID", "+{attempt}"),
    ),
    FailureCode.TARGET_INCOMPLETE: (record_left_over, launch_left_over, sessions_left_over),
    FailureCode.MAPPING_MISSING: (
        unmapped,
        both(mapped_in_joined_fields_only, cell("Learner Email", "")),
    ),
    FailureCode.VERSION_MISSING: (mapped(version=""), version_lost_in_last_line),
    FailureCode.SUBMISSION_TEXT_MISSING: (
        mapped(submission=""),
        mapped(version="22_01", submission=" "),
    ),
    FailureCode.ATTEMPT_NUMBER_MISSING: (
        mapped(submission="First submission"),
        mapped(submission="2nd Attempt"),
        mapped(submission="Attempt two"),
        mapped(submission="Attempt 0"),
        mapped(submission="Attempt 99999999999"),
    ),
    FailureCode.EMAIL_MISSING: (
        both(cell("Learner Email", ""), awkward_cells),
        both(cell("Learner Email", "\t"), reports(0)),
    ),
    FailureCode.REPORT_MISSING: (reports(0), both(reports(0), without_files)),
    FailureCode.REPORT_AMBIGUOUS: (reports(2), reports(3)),
    FailureCode.REPORT_FIELD_MISSING: (
        report(MarksAchieved=None, MarksAwarded=None),
        report(Exercise="  "),
        report(TIUserId=None),
        report(TISectionId=None),
        report(MarksAvailable=None),
        report(GradePercent=None),
        report(DateInserted=None),
        report(Grade=""),
    ),
    FailureCode.SCORE_FIELD_MISSING: (score(score=None), score(label=None), score(label=" ")),
    FailureCode.EXERCISE_INVALID: (report(Exercise="Induction"),),
    FailureCode.ASSESSMENT_MISSING: (
        of_course(NO_SUCH_PREFIX),
        of_course(NO_SUCH_VERSION),
        of_course(OTHER_CASE),
        of_course(ONLY_A_LONGER_WORD),
    ),
    FailureCode.ASSESSMENT_AMBIGUOUS: (of_course(TWO_ACTIVE), of_course(TWO_INACTIVE)),
    FailureCode.SECTION_MISSING: (
        score(label="Question 99"),
        missing_before_ambiguous,
        score(label="AC 1"),
    ),
    FailureCode.SECTION_AMBIGUOUS: (label_of_two_sections, section_scored_twice),
    FailureCode.GRADE_MISSED: (report(Grade="Grade Missed"), report(Grade=" grade missed ")),
    FailureCode.MALPRACTICE_LEVEL_MISSING: (
        report(Grade="Malpractice"),
        report(Grade="Malpractice - Gross"),
        report(Grade="Malpractice: under review"),
    ),
    FailureCode.FILES_MISSING: (without_files, blank_file_cells),
    FailureCode.SOURCE_NOT_ALLOWED: (
        from_elsewhere("{scheme}://{host}.evil.test:{port}{path}"),
        from_elsewhere("{scheme}://{host}:{port}@evil.test{path}"),
        from_elsewhere("{scheme}://rogo@{host}:{port}{path}"),
        from_elsewhere("https://{host}:{port}{path}"),
        from_elsewhere("{scheme}://{host}:1{path}"),
        from_elsewhere("ftp://{host}:{port}{path}"),
    ),
    FailureCode.SOURCE_FILE_MISSING: (file_gone, marked_copy_gone, answered(404)),
    FailureCode.SOURCE_FORBIDDEN: (answered(403), answered(401)),
    FailureCode.SOURCE_REFUSED: (
        answered(410),
        answered(302, "https://files.evil.test/assignment.docx"),
        answered(451),
    ),
    FailureCode.FILE_CORRUPT: (stored_md5_wrong, answered_md5_wrong),
    FailureCode.TARGET_REFUSED: (
        cell("Course Title", "Leading\0People"),
        limit_out_of_range,
        cell("Surname", "Smith\0"),
    ),
}
"""For each code but target_conflict (a race, which no data can bring about) its causes."""

MOST_PER_CODE = 6
MOST_FORBIDDEN = 4
"""Ten refusals in a row from one host mean that the host is at fault (rule 14)."""
