"""Unusual but valid submissions.

Each function changes a plain submission, which must still migrate.
"""

import base64
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.reference_data import COURSES, LEVELS
from rogo_async.demo.dataset.submission import MalpracticeFinding, MappingLine, SubmissionCase

Modify = Callable[[SubmissionCase, DatasetBuilder], None]


def comma_in_file_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """One URL: the whole cell is its name, not the technical name in the URL."""
    name = "Report, final version.docx"
    technical = f"1733350000000_{name}"
    case.files = [builder.learner_file(case.attempt, name, url_name=technical)]


def comma_in_one_of_two_file_names(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """Three names for two URLs: the names in the URLs are used, without their timestamps."""
    names = ("Part 1, draft.docx", "Part 2.pdf")
    case.files = [
        builder.learner_file(case.attempt, name, url_name=f"173335000000{number}_{name}")
        for number, name in enumerate(names)
    ]


def unescaped_commas_in_urls(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """Commas in the URLs themselves that do not separate URLs."""
    names = ("Plan, part 1, revised.docx", "Plan,part 2.docx")
    case.files = [builder.learner_file(case.attempt, n, url_name=n, safe=",") for n in names]


def files_named_by_position(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """As many names as URLs: the names are used, not those in the URLs."""
    names = ("Written answers.docx", "Appendix.pdf", "Sources.txt")
    case.files = [builder.learner_file(case.attempt, name) for name in names]
    case.cell_overrides["Learner File Names"] = ", ".join(names)


def more_names_than_urls(case: SubmissionCase, builder: DatasetBuilder) -> None:
    names = ("Second try.docx", "Third try.docx")
    case.files = [builder.learner_file(case.attempt, name, url_name=name) for name in names]
    case.cell_overrides["Learner File Names"] = f"First try.docx,{','.join(names)}"


def fewer_names_than_urls(case: SubmissionCase, builder: DatasetBuilder) -> None:
    names = ("Answers.docx", "Evidence.pdf")
    case.files = [builder.learner_file(case.attempt, name, url_name=name) for name in names]
    case.cell_overrides["Learner File Names"] = "Answers of the learner.docx"


def no_file_names(case: SubmissionCase, builder: DatasetBuilder) -> None:
    name = "Assignment_2024.docx"
    case.files = [builder.learner_file(case.attempt, name, url_name=f"1733350000000_{name}")]
    case.cell_overrides["Learner File Names"] = ""


def quotes_in_file_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [builder.learner_file(case.attempt, 'The "best practice" question.docx')]


def unicode_file_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    name = "Résumé – 課題の答え 📄.docx"
    case.files = [builder.learner_file(case.attempt, name, url_name=name)]
    case.cell_overrides["Learner File Names"] = ""


def url_characters_in_file_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """Characters with a special meaning in URLs."""
    name = "100% mine + yours #2 (why?).docx"
    case.files = [builder.learner_file(case.attempt, name, url_name=name, safe="+()")]
    case.cell_overrides["Learner File Names"] = ""


def dots_in_file_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [builder.learner_file(case.attempt, "..my..essay...docx")]


def upper_case_extension(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [builder.learner_file(case.attempt, "SCAN0042.PDF")]


def several_feedback_files(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [
        builder.learner_file(case.attempt, "Case study.docx"),
        builder.feedback_file(case.attempt, "docx"),
        builder.feedback_file(case.attempt, "pdf", ".PDF"),
    ]


def feedback_file_without_extension(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [
        builder.learner_file(case.attempt, "Essay.pdf"),
        builder.feedback_file(case.attempt, "docx", ""),
    ]


def feedback_file_only(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [builder.feedback_file(case.attempt)]


def empty_file(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [
        builder.learner_file(case.attempt, "notes.txt", size_bytes=0),
        builder.learner_file(case.attempt, "essay.docx"),
    ]


def large_file(case: SubmissionCase, builder: DatasetBuilder) -> None:
    size_bytes = builder.rng.randrange(900_000, 1_500_000)
    case.files = [builder.learner_file(case.attempt, "Dissertation.pdf", size_bytes=size_bytes)]


def whitespace_around_cells(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [
        builder.learner_file(case.attempt, "Answer.docx"),
        builder.feedback_file(case.attempt),
    ]
    case.cell_overrides |= {
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


def line_breaks_in_cells(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.course_title = "Leading People\nin Times of Change"
    case.cell_overrides["Marker File Names"] = 'first line\r\nsecond, "quoted" line'


def no_first_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.first_name = ""
    case.files = [builder.learner_file(case.attempt, "Answer.docx")]


def no_learner_name(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.first_name = case.surname = ""
    case.files = [builder.learner_file(case.attempt, "Answer.docx")]


def no_course_title(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.course_title = ""
    case.report_overrides["Exercise"] = f" {case.course.exercise} "


def no_assessment_id(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.assessment_id = ""
    case.files = [
        builder.learner_file(case.attempt, "Portfolio.docx"),
        builder.feedback_file(case.attempt),
    ]


def no_rogo_user_id(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.cell_overrides["Rogo User ID"] = " "
    case.uploaded_by = case.learner.email
    case.files = [builder.learner_file(case.attempt, "Answer.docx")]


def zero_marks(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """Zero is a valid mark: MarksAwarded must not replace it."""
    case.report_overrides.clear()
    case.marks = case.grade_percent = Decimal(0)
    case.scores = [
        replace(score, score=Decimal(0)) for score in builder.scores(case.course, 3, case.inserted)
    ]


def marks_awarded_only(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.report_overrides |= {"MarksAchieved": None, "MarksAwarded": case.marks}


def report_repeated(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """Three report rows that agree in all used columns: MarksAwarded is not used."""
    case.report_overrides.clear()
    case.report_variations = ({}, {}, {"MarksAwarded": Decimal(1), "Grade": f" {case.grade}  "})


def results_not_approved(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.approved = case.modified = None


def every_section_scored(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.scores = builder.scores(case.course, len(case.course.labels), case.inserted)


def leading_zeros_in_attempt_id(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    case.cell_overrides["Attempt ID"] = f"00{case.attempt}"


def corrected_mapping(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """Several mapping lines for one attempt: the last one is used."""
    last = case.mapping[-1]
    case.mapping = [
        replace(last, version="22_01", submission="Attempt 9"),
        replace(last, version="", submission=""),
        MappingLine(f"0{case.attempt}", last.unit_code, last.version, "", last.submission),
    ]


def error_from_earlier_run(case: SubmissionCase, _builder: DatasetBuilder) -> None:
    """The input is the failed-rows file of an earlier run."""
    case.cell_overrides["Error"] = "report_missing: the warehouse has no report for this attempt"


def source_without_md5(case: SubmissionCase, builder: DatasetBuilder) -> None:
    case.files = [builder.scripted_file(case.attempt, 200)]


def source_with_md5(case: SubmissionCase, builder: DatasetBuilder) -> None:
    file = builder.scripted_file(case.attempt, 200)
    builder.routes[-1].headers["Content-MD5"] = base64.b64encode(file.content.md5()).decode()
    case.files = [file]


def redirect_to_same_host(case: SubmissionCase, builder: DatasetBuilder) -> None:
    target = builder.scripted_file(case.attempt, 200)
    redirect = builder.scripted_file(case.attempt, 302, location=target.url)
    case.files = [replace(redirect, blob=target.blob)]


MALPRACTICE_GRADES = (
    ("Malpractice - Moderate", "Moderate"),
    ("malpractice considerable", "Considerable"),
    ("MALPRACTICE: SEVERE", "Severe"),
    ("Malpractice (Minor)", "Minor"),
    (" Malpractice – moderate, first offence ", "Moderate"),
)
"""Malpractice grades with the level that each one names."""


def max_attempts_for(level: str, attempt_number: int) -> int | None:
    """enforced_max_attempts for a malpractice level."""
    return {"Moderate": 3, "Considerable": attempt_number + 1, "Severe": attempt_number}.get(level)


def set_malpractice(case: SubmissionCase, grade: str, level: str) -> None:
    """Gives the submission a malpractice grade."""
    case.grade, case.final_grade = grade, "Refer"
    case.malpractice = MalpracticeFinding(
        LEVELS[level], max_attempts_for(level, case.attempt_number)
    )


def malpractice(case: SubmissionCase, builder: DatasetBuilder) -> None:
    set_malpractice(case, *builder.rng.choice(MALPRACTICE_GRADES))


def level_7_grades(case: SubmissionCase, builder: DatasetBuilder) -> None:
    """Moves the submission to a level 7 course, whose grades the migration renames."""
    course = next(c for c in COURSES if c.code.startswith("7SL"))
    plain = builder.valid_submission(case.attempt, course)
    case.course, case.scores, case.mapping = course, plain.scores, plain.mapping
    case.attempt_number, case.unit_code = plain.attempt_number, plain.unit_code
    case.grade, case.final_grade = builder.rng.choice(
        (("Merit", "Pass"), ("Pass", "Low Pass"), ("DISTINCTION", "High Pass"))
    )


VALID_VARIANTS: tuple[Modify, ...] = (
    comma_in_file_name,
    files_named_by_position,
    several_feedback_files,
    malpractice,
    report_repeated,
    unescaped_commas_in_urls,
    zero_marks,
    unicode_file_name,
    source_without_md5,
    whitespace_around_cells,
    comma_in_one_of_two_file_names,
    level_7_grades,
    corrected_mapping,
    empty_file,
    feedback_file_only,
    no_file_names,
    results_not_approved,
    leading_zeros_in_attempt_id,
    line_breaks_in_cells,
    every_section_scored,
    marks_awarded_only,
    redirect_to_same_host,
    quotes_in_file_name,
    url_characters_in_file_name,
    upper_case_extension,
    feedback_file_without_extension,
    more_names_than_urls,
    fewer_names_than_urls,
    no_first_name,
    no_learner_name,
    no_course_title,
    no_assessment_id,
    no_rogo_user_id,
    dots_in_file_name,
    error_from_earlier_run,
    source_with_md5,
    large_file,
)
"""In this order: a small data set has only the first ones."""
