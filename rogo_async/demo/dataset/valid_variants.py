"""The believable oddities with which a submission still migrates, one function each.

Each takes a sound case and changes what is written down, the facts, or both.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from rogo_async.demo.dataset.builder import World
from rogo_async.demo.dataset.reference_data import COURSES, LEVELS
from rogo_async.demo.dataset.submission import Case, Finding, MappingLine

Alter = Callable[[Case, World], None]


def names_with_commas(case: Case, world: World) -> None:
    """One file whose name has a comma: two names for one URL, so the URL names it."""
    name = "Report, final version.docx"
    case.files = [world.learner_file(case.attempt, name, segment=name)]


def two_files_one_comma(case: Case, world: World) -> None:
    names = ("Part 1, draft.docx", "Part 2.pdf")
    case.files = [world.learner_file(case.attempt, name, segment=name) for name in names]


def commas_shown_in_urls(case: Case, world: World) -> None:
    """Commas that do not separate, in the URLs themselves."""
    names = ("Plan, part 1, revised.docx", "Plan,part 2.docx")
    case.files = [world.learner_file(case.attempt, n, segment=n, safe=",") for n in names]


def two_files_by_position(case: Case, world: World) -> None:
    """Names and URLs agree in number: the names count, whatever the blobs are called."""
    names = ("Written answers.docx", "Appendix.pdf", "Sources.txt")
    case.files = [world.learner_file(case.attempt, name) for name in names]
    case.cells["Learner File Names"] = ", ".join(names)


def more_names_than_urls(case: Case, world: World) -> None:
    name = "Third try.docx"
    case.files = [world.learner_file(case.attempt, name, segment=name)]
    case.cells["Learner File Names"] = "First try.docx,Second try.docx"


def fewer_names_than_urls(case: Case, world: World) -> None:
    names = ("Answers.docx", "Evidence.pdf")
    case.files = [world.learner_file(case.attempt, name, segment=name) for name in names]
    case.cells["Learner File Names"] = "Answers of the learner.docx"


def no_names(case: Case, world: World) -> None:
    name = "Assignment_2024.docx"
    case.files = [world.learner_file(case.attempt, name, segment=name)]
    case.cells["Learner File Names"] = ""


def quotes_in_name(case: Case, world: World) -> None:
    case.files = [world.learner_file(case.attempt, 'The "best practice" question.docx')]


def unicode_name(case: Case, world: World) -> None:
    name = "Résumé – 課題の答え 📄.docx"
    case.files = [world.learner_file(case.attempt, name, segment=name)]
    case.cells["Learner File Names"] = ""


def signs_in_name(case: Case, world: World) -> None:
    """Characters with a meaning in URLs, as parts of a name."""
    name = "100% mine + yours #2 (why?).docx"
    case.files = [world.learner_file(case.attempt, name, segment=name, safe="+()")]
    case.cells["Learner File Names"] = ""


def dots_in_name(case: Case, world: World) -> None:
    case.files = [world.learner_file(case.attempt, "..my..essay...docx")]


def upper_case_extension(case: Case, world: World) -> None:
    case.files = [world.learner_file(case.attempt, "SCAN0042.PDF")]


def several_marked_copies(case: Case, world: World) -> None:
    case.files = [
        world.learner_file(case.attempt, "Case study.docx"),
        world.marker_file(case.attempt, "docx"),
        world.marker_file(case.attempt, "pdf", ".PDF"),
    ]


def marked_copy_without_extension(case: Case, world: World) -> None:
    case.files = [
        world.learner_file(case.attempt, "Essay.pdf"),
        world.marker_file(case.attempt, "docx", ""),
    ]


def marked_copy_only(case: Case, world: World) -> None:
    case.files = [world.marker_file(case.attempt)]


def empty_file(case: Case, world: World) -> None:
    case.files = [
        world.learner_file(case.attempt, "notes.txt", size_bytes=0),
        world.learner_file(case.attempt, "essay.docx"),
    ]


def big_file(case: Case, world: World) -> None:
    size_bytes = world.rng.randrange(900_000, 1_500_000)
    case.files = [world.learner_file(case.attempt, "Dissertation.pdf", size_bytes=size_bytes)]


def cells_with_spaces(case: Case, world: World) -> None:
    case.files = [
        world.learner_file(case.attempt, "Answer.docx"),
        world.marker_file(case.attempt),
    ]
    case.cells |= {
        "First Name": f"  {case.first_name} ",
        "Surname": f"{case.surname}  ",
        "Learner Email": f" {case.learner.email}\t",
        "Attempt ID": f" {case.attempt} ",
        "Assessment ID": f" {case.assessment_id} ",
        "Course Title": f" {case.course_title} ",
        "Rogo User ID": f" {case.learner.rogo_user_id}",
        "Learner File Names": " Answer.docx ",
        "Learner Azure Blob URLs": f" {case.files[0].url} ",
        "Marker Azure Blob URLs": f"{case.files[1].url}\n",
    }


def line_breaks_in_cells(case: Case, _world: World) -> None:
    case.course_title = "Leading People\nin Times of Change"
    case.cells["Marker File Names"] = 'first line\r\nsecond, "quoted" line'


def no_first_name(case: Case, world: World) -> None:
    case.first_name = ""
    case.files = [world.learner_file(case.attempt, "Answer.docx")]


def no_name_at_all(case: Case, world: World) -> None:
    case.first_name = case.surname = ""
    case.files = [world.learner_file(case.attempt, "Answer.docx")]


def no_course_title(case: Case, _world: World) -> None:
    case.course_title = ""
    case.report["Exercise"] = f" {case.course.exercise} "


def no_assessment_id(case: Case, world: World) -> None:
    case.assessment_id = ""
    case.files = [
        world.learner_file(case.attempt, "Portfolio.docx"),
        world.marker_file(case.attempt),
    ]


def no_rogo_user(case: Case, world: World) -> None:
    case.cells["Rogo User ID"] = " "
    case.uploaded_by = case.learner.email
    case.files = [world.learner_file(case.attempt, "Answer.docx")]


def zero_marks(case: Case, world: World) -> None:
    """Nought achieved is a mark: MarksAwarded does not stand in for it."""
    case.report.clear()
    case.marks = case.grade_percent = Decimal(0)
    case.scores = [
        replace(fact, score=Decimal(0)) for fact in world.scores(case.course, 3, case.inserted)
    ]


def marks_awarded_only(case: Case, _world: World) -> None:
    case.report |= {"MarksAchieved": None, "MarksAwarded": case.marks}


def never_approved(case: Case, _world: World) -> None:
    case.approved = case.modified = None


def every_section_scored(case: Case, world: World) -> None:
    case.scores = world.scores(case.course, len(case.course.labels), case.inserted)


def leading_zeros(case: Case, _world: World) -> None:
    case.cells["Attempt ID"] = f"00{case.attempt}"


def mapping_corrected(case: Case, _world: World) -> None:
    """Several lines for one attempt, of which the last counts."""
    last = case.mapping[-1]
    case.mapping = [
        replace(last, version="22_01", submission="Attempt 9"),
        replace(last, version="", submission=""),
        MappingLine(f"0{case.attempt}", last.unit_code, last.version, "", last.submission),
    ]


def stale_error(case: Case, _world: World) -> None:
    """The row failed in an earlier run, whose file is the input now."""
    case.cells["Error"] = "report_missing: the warehouse has no report for this attempt"


def source_without_md5(case: Case, world: World) -> None:
    case.files = [world.scripted_file(case.attempt, 200)]


def source_with_md5(case: Case, world: World) -> None:
    file = world.scripted_file(case.attempt, 200)
    world.routes[-1].headers["Content-MD5"] = base64.b64encode(file.content.md5()).decode()
    case.files = [file]


def redirected_on_the_same_host(case: Case, world: World) -> None:
    served = world.scripted_file(case.attempt, 200)
    moved = world.scripted_file(case.attempt, 302, location=served.url)
    case.files = [replace(moved, blob=served.blob)]


MALPRACTICE_WORDINGS = (
    ("Malpractice - Moderate", "Moderate"),
    ("malpractice considerable", "Considerable"),
    ("MALPRACTICE: SEVERE", "Severe"),
    ("Malpractice (Minor)", "Minor"),
    (" Malpractice – moderate, first offence ", "Moderate"),
)
"""Grades as they are found, with the level that each names."""


def malpractice_limit(level: str, attempt_number: int) -> int | None:
    """enforced_max_attempts for a level of the reference data."""
    return {"Moderate": 3, "Considerable": attempt_number + 1, "Severe": attempt_number}.get(level)


def find_malpractice(case: Case, grade: str, level: str) -> None:
    """Makes the case one of malpractice, with its grade worded like that."""
    case.grade, case.final_grade = grade, "Refer"
    case.finding = Finding(LEVELS[level], malpractice_limit(level, case.attempt_number))


def malpractice(case: Case, world: World) -> None:
    find_malpractice(case, *world.rng.choice(MALPRACTICE_WORDINGS))


def seventh_level_grades(case: Case, world: World) -> None:
    """Another course takes the place of the first, with the grades that are renamed."""
    course = next(c for c in COURSES if c.code.startswith("7SL"))
    fresh = world.sound(case.attempt, course)
    case.course, case.scores, case.mapping = course, fresh.scores, fresh.mapping
    case.attempt_number, case.unit_code = fresh.attempt_number, fresh.unit_code
    case.grade, case.final_grade = world.rng.choice(
        (("Merit", "Pass"), ("Pass", "Low Pass"), ("DISTINCTION", "High Pass"))
    )


FLAVOURS: tuple[Alter, ...] = (
    names_with_commas,
    two_files_by_position,
    several_marked_copies,
    malpractice,
    commas_shown_in_urls,
    zero_marks,
    unicode_name,
    source_without_md5,
    cells_with_spaces,
    two_files_one_comma,
    seventh_level_grades,
    mapping_corrected,
    empty_file,
    marked_copy_only,
    no_names,
    never_approved,
    leading_zeros,
    line_breaks_in_cells,
    every_section_scored,
    marks_awarded_only,
    redirected_on_the_same_host,
    quotes_in_name,
    signs_in_name,
    upper_case_extension,
    marked_copy_without_extension,
    more_names_than_urls,
    fewer_names_than_urls,
    no_first_name,
    no_name_at_all,
    no_course_title,
    no_assessment_id,
    no_rogo_user,
    dots_in_name,
    stale_error,
    source_with_md5,
    big_file,
)
"""The first ones come first when there are few rows."""
