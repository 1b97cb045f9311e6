"""The known answer, compared with examples from the specification, for each source change."""

import copy
from collections.abc import Callable

import pytest

from rogo_async.demo.changes import platform_changes as platform
from rogo_async.demo.changes import source_changes as source
from rogo_async.demo.changes.known_answer import (
    SourceEffect,
    effect_of,
    known_answer,
)
from rogo_async.demo.changes.platform_changes import PlatformChange
from rogo_async.demo.changes.source_changes import SourceChange
from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.dataset.reference_data import COURSES, LEVELS
from rogo_async.demo.dataset.submission import SubmissionCase
from rogo_async.demo.dataset.valid_variants import set_malpractice
from rogo_async.demo.dataset.writers import report_rows, score_rows, submission_cells

AZURE = "http://127.0.0.1:1234/account/rogo-source"
LEVEL_7 = next(course for course in COURSES if course.code.startswith("7SL"))


@pytest.fixture(scope="module")
def builder() -> DatasetBuilder:
    return DatasetBuilder(3, AZURE, "http://127.0.0.1:5678", DEMO_LMS)


@pytest.fixture
def make(builder: DatasetBuilder) -> Callable[[], SubmissionCase]:
    case = builder.valid_submission(42, LEVEL_7)
    case.first_name, case.surname, case.assessment_id = "Zoë", "O'Neill", "7SL05-1"
    case.grade, case.final_grade = "Pass", "Low Pass"
    case.scores = builder.scores(case.course, 2, case.inserted)
    case.report_overrides = {}
    case.files = [
        builder.learner_file(42, "Essay.docx"),
        builder.learner_file(42, "Plan.pdf"),
        builder.feedback_file(42),
    ]
    return lambda: copy.deepcopy(case)


VALUES = {
    source.REGRADED: {"final_grade", "total_marks_awarded", "percentage_score", "updated_at"},
    source.REGRADED_WITHOUT_DATE: {"final_grade", "total_marks_awarded", "percentage_score"},
    source.MARKS_AMENDED: {"total_marks_awarded"},
    source.MODIFIED_LATER: {"updated_at"},
    source.NOTES_CHANGED: {"overall_summary"},
    source.MALPRACTICE_IMPOSED: {
        "final_grade",
        "malpractice_level_id",
        "malpractice_notes",
        "updated_at",
    },
    source.EMAIL_CORRECTED: set[str](),
    source.SURNAME_CORRECTED: set[str](),
    source.TITLE_CORRECTED: set[str](),
    source.COMMENTED: set[str](),
    source.SCORE_AMENDED: set[str](),
    source.SCORE_ADDED: set[str](),
    source.SCORE_REMOVED: set[str](),
}
"""The columns of submission_grades that differ after each change."""


def compare(
    make: Callable[[], SubmissionCase], change: SourceChange, builder: DatasetBuilder
) -> tuple[SubmissionCase, ExpectedSubmission, ExpectedSubmission]:
    case = make()
    assert change.applies_to(case)
    change.apply(case, builder)
    return case, ExpectedSubmission(make(), DEMO_LMS), ExpectedSubmission(case, DEMO_LMS)


@pytest.mark.parametrize("change", VALUES, ids=lambda change: change.name)
def test_a_change_of_values(
    make: Callable[[], SubmissionCase], change: SourceChange, builder: DatasetBuilder
) -> None:
    case, before, after = compare(make, change, builder)
    assert effect_of(before, after) is SourceEffect.VALUES
    old, new = before.grade(), after.grade()
    assert {column for column in old if old[column] != new[column]} == VALUES[change]
    plain = make()
    sources = (submission_cells, report_rows, score_rows)
    assert [read(case) for read in sources] != [read(plain) for read in sources]


@pytest.mark.parametrize(
    "change",
    [
        source.LEARNER_FILE_ADDED,
        source.FEEDBACK_ADDED,
        source.FILE_REMOVED,
        source.FILE_RENAMED,
        source.combined(source.REGRADED, source.FILE_REMOVED),
    ],
    ids=lambda change: change.name,
)
def test_a_change_of_files(
    make: Callable[[], SubmissionCase], change: SourceChange, builder: DatasetBuilder
) -> None:
    case, before, after = compare(make, change, builder)
    fewer = len(case.files) < len(make().files)
    assert effect_of(before, after) is (SourceEffect.FEWER_FILES if fewer else SourceEffect.FILES)
    assert submission_cells(case) != submission_cells(make())


@pytest.mark.parametrize(
    "change", [source.MARKS_MOVED, source.UNUSED_VALUES], ids=lambda change: change.name
)
def test_a_change_without_effect(
    make: Callable[[], SubmissionCase], change: SourceChange, builder: DatasetBuilder
) -> None:
    case, before, after = compare(make, change, builder)
    assert report_rows(case) != report_rows(make())
    assert effect_of(before, after) is SourceEffect.NONE


def test_marks_stay_in_the_column_in_which_the_warehouse_has_them(
    make: Callable[[], SubmissionCase], builder: DatasetBuilder
) -> None:
    change = source.combined(source.MARKS_MOVED, source.MARKS_AMENDED)
    case, _before, after = compare(make, change, builder)
    (row,) = report_rows(case)
    assert row["MarksAchieved"] is None
    assert row["MarksAwarded"] == after.grade()["total_marks_awarded"] == case.marks


def test_a_regraded_submission_of_level_7(
    make: Callable[[], SubmissionCase], builder: DatasetBuilder
) -> None:
    case, _before, after = compare(make, source.REGRADED, builder)
    (row,) = report_rows(case)
    assert (row["Grade"], after.grade()["final_grade"]) == ("Merit", "Pass")
    modified = row["DateModified"]
    assert modified is not None
    assert modified > make().modified_or_inserted  # type: ignore[operator] # a date


def test_feedback_files_are_named_after_the_corrected_surname(
    make: Callable[[], SubmissionCase], builder: DatasetBuilder
) -> None:
    _case, _before, after = compare(make, source.SURNAME_CORRECTED, builder)
    names = [file.row["file_name"] for file in after.files()]
    assert names == ["Essay.docx", "Plan.pdf", "7SL05-1_Zo_-O_Neill____Newname_feedback.docx"]


def test_malpractice_is_lifted(make: Callable[[], SubmissionCase], builder: DatasetBuilder) -> None:
    case = make()
    set_malpractice(case, "Malpractice - Severe", "Severe")
    before = ExpectedSubmission(case, DEMO_LMS)
    rule = before.malpractice_rule()
    assert rule is not None
    assert rule["malpractice_level_id"] == LEVELS["Severe"]
    _, _, after = compare(lambda: case, source.MALPRACTICE_LIFTED, builder)
    assert after.malpractice_rule() is None
    assert (after.grade()["final_grade"], after.grade()["malpractice_level_id"]) == (
        "Low Pass",
        None,
    )


NONE, VALUES_DIFFER, FAILS, GONE = (
    SourceEffect.NONE,
    SourceEffect.VALUES,
    SourceEffect.FAILS,
    SourceEffect.GONE,
)


@pytest.mark.parametrize(
    ("effect", "change", "outcome", "verdicts"),
    [
        (NONE, None, "already_migrated", ""),
        (VALUES_DIFFER, None, "refreshed", "source_changed"),
        (SourceEffect.FILES, None, "files_changed", "source_changed"),
        (SourceEffect.FEWER_FILES, None, "files_changed", "source_changed source_gone"),
        (GONE, None, "already_migrated", "source_gone"),
        (FAILS, None, "already_migrated", "source_changed"),
        (NONE, platform.NOTE_ADDED, "changed_on_platform", "changed_on_platform"),
        (NONE, platform.APPEAL, "changed_on_platform", "changed_on_platform"),
        (NONE, platform.WORDS_COUNTED, "already_migrated", ""),
        (NONE, platform.RULE_ENTERED, "already_migrated", ""),
        (VALUES_DIFFER, platform.NOTE_ADDED, "changed_on_platform", "both_changed"),
        (VALUES_DIFFER, platform.APPEAL, "changed_on_platform", "both_changed"),
        (VALUES_DIFFER, platform.WORDS_COUNTED, "changed_on_platform", "both_changed"),
        (VALUES_DIFFER, platform.RULE_ENTERED, "refreshed", "source_changed"),
        (SourceEffect.FILES, platform.NOTE_ADDED, "changed_on_platform", "both_changed"),
        (GONE, platform.NOTE_ADDED, "already_migrated", "source_gone"),
    ],
)
def test_the_answer_for_one_submission(
    effect: SourceEffect, change: PlatformChange | None, outcome: str, verdicts: str
) -> None:
    answer = known_answer(effect, change)
    assert answer.outcome.value == outcome
    assert {verdict.value for verdict in answer.verdicts} == {*verdicts.split()}
