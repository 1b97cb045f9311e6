"""The expected results, compared with examples computed by hand from the specification."""

from datetime import UTC, datetime

import pytest

from rogo_async.common.errors import SkipCode
from rogo_async.demo.checks.expected import ExpectedSubmission
from rogo_async.demo.checks.expected_rules import ExpectedMalpracticeRule, rank_malpractice_rules
from rogo_async.demo.dataset.builder import DatasetBuilder
from rogo_async.demo.dataset.dataset import DEMO_LMS, generate
from rogo_async.demo.dataset.reference_data import ADMIN_ID, COURSES, LEVELS, reference_rows
from rogo_async.demo.dataset.row_groups import (
    MALPRACTICE_GROUPS,
    SKIPPED_GROUPS,
    ExistingRule,
    Penalty,
    malpractice_group,
)
from rogo_async.demo.dataset.valid_variants import set_malpractice
from rogo_async.demo.dataset.writers import report_rows, submission_cells
from rogo_async.rules.records import Status

AZURE = "http://127.0.0.1:1234/account/rogo-source"
SCRIPTED = "http://127.0.0.1:5678"


@pytest.fixture
def builder() -> DatasetBuilder:
    return DatasetBuilder(1, AZURE, SCRIPTED, DEMO_LMS)


def test_the_rows_of_a_submission(builder: DatasetBuilder) -> None:
    in_february, in_march = (datetime(2025, month, 1, 12, tzinfo=UTC) for month in (2, 3))
    case = builder.valid_submission(42, COURSES[0])
    case.first_name, case.surname, case.assessment_id = "Zoë Ann", "O'Neill", "3LM01-7"
    case.approved, case.modified = None, in_march.replace(tzinfo=None)
    case.inserted = in_february.replace(tzinfo=None)
    case.files = [
        builder.learner_file(42, "Essay.docx", size_bytes=1_200_000),
        builder.feedback_file(42, "pdf"),
        builder.feedback_file(42),
    ]
    submission = ExpectedSubmission(case, DEMO_LMS)
    row = submission.assignment_submission()
    assert row["full_name"] == "Zoë Ann O'Neill"
    assert row["submitted_at"] == row["created_at"] == in_february
    assert row["updated_at"] == in_march
    assert row["context_id"] == f"lms-demo-0042::{case.ti_section_id}"
    names = [file.row["file_name"] for file in submission.files()]
    assert names == [
        "Essay.docx",
        "3LM01-7_Zo__Ann-O_Neill_feedback_1.pdf",
        "3LM01-7_Zo__Ann-O_Neill_feedback_2.docx",
    ]
    assert submission.files()[0].row["file_size"] == "1.1 MB"
    assert [file.exact_name is not None for file in submission.files()] == [True] * 3


def test_of_two_duplicate_rows_the_earlier_one_is_skipped(builder: DatasetBuilder) -> None:
    group = next(group for group in SKIPPED_GROUPS if group.rows == 2)
    earlier, later = group.make(builder, [5, 6])
    assert earlier.code is SkipCode.DUPLICATE_ROW
    assert later.status is Status.MIGRATED
    assert submission_cells(earlier)[4] == submission_cells(later)[4]


def rules_of_group(builder: DatasetBuilder, number: int) -> list[ExpectedMalpracticeRule]:
    """The expected malpractice rules for one group of MALPRACTICE_GROUPS alone."""
    group = MALPRACTICE_GROUPS[number]
    cases = group.make(builder, range(1, group.rows + 1))
    final = rank_malpractice_rules(
        builder.target.get("malpractice_enforcements", ()),
        [ExpectedSubmission(c, DEMO_LMS) for c in cases if c.status is Status.MIGRATED],
    )
    return [row for rows in final.values() for row in rows]


def number_and_limit(row: ExpectedMalpracticeRule) -> tuple[object, object]:
    return row.columns["attempt_number"], row.columns["enforced_max_attempts"]


def test_the_highest_attempt_number_is_kept(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 0)
    assert number_and_limit(row) == (3, 3)
    assert row.columns["malpractice_level_id"] == LEVELS["Severe"]
    assert row.row_id is None


def test_of_equal_attempt_numbers_the_lowest_limit_is_kept(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 1)
    assert number_and_limit(row) == (2, 2)


def test_an_existing_rule_of_higher_rank_is_unchanged(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 2)
    assert (number_and_limit(row), row.attempt) == ((3, 3), None)
    assert row.columns["context_title"] == "Entered by hand"


def test_an_existing_rule_of_lower_rank_is_updated(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 3)
    assert number_and_limit(row) == (3, 4)
    assert row.row_id is not None
    assert row.columns["rule_applied_by"] == ADMIN_ID


def test_of_equal_rules_the_lowest_attempt_is_kept(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 4)
    assert (number_and_limit(row), row.attempt) == ((2, 3), 1)


def test_no_limit_ranks_below_a_limit(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 5)
    assert number_and_limit(row) == (1, 3)


def test_no_attempt_number_ranks_lowest(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, 6)
    assert (number_and_limit(row), row.attempt) == ((1, 3), 1)


def test_an_existing_rule_wins_a_tie(builder: DatasetBuilder) -> None:
    group = malpractice_group(Penalty(2, "Severe"), existing=(ExistingRule(2, "Moderate", 2),))
    (case,) = group.make(builder, [1])
    existing = builder.target["malpractice_enforcements"][-1:]
    ((rule,),) = rank_malpractice_rules(existing, [ExpectedSubmission(case, DEMO_LMS)]).values()
    assert (rule.attempt, rule.columns) == (None, existing[0])


def test_of_several_existing_rules_only_the_highest_is_updated(
    builder: DatasetBuilder,
) -> None:
    rows = rules_of_group(builder, 7)
    assert sorted(number_and_limit(row) == (2, 2) for row in rows) == [False, True]
    assert (None, None) in [number_and_limit(row) for row in rows]


def test_a_failed_row_adds_no_rule(builder: DatasetBuilder) -> None:
    (row,) = rules_of_group(builder, len(MALPRACTICE_GROUPS) - 1)
    assert number_and_limit(row) == (1, 3)


def test_grades_of_level_7_are_renamed(builder: DatasetBuilder) -> None:
    level_7 = [builder.valid_submission(n, course) for n in range(200) for course in COURSES[7:8]]
    assert {case.course.code[0] for case in level_7} == {"7"}
    renamed = {case.grade.strip().lower(): case.final_grade for case in level_7}
    assert renamed["pass"] == "Low Pass"
    assert renamed["merit"] == "Pass"
    assert renamed["distinction"] == "High Pass"
    assert renamed["fail"] == "Refer"


def test_malpractice_notes_contain_the_original_grade(builder: DatasetBuilder) -> None:
    case = builder.valid_submission(9)
    case.attempt_number = 2
    set_malpractice(case, " Malpractice – moderate, first offence ", "Moderate")
    grade = ExpectedSubmission(case, DEMO_LMS).grade()
    assert grade["final_grade"] == "Refer"
    assert grade["malpractice_notes"] == "Malpractice – moderate, first offence"
    assert report_rows(case)[0]["Grade"] == " Malpractice – moderate, first offence "


def test_the_oldest_admin_is_used() -> None:
    admins = [row for row in reference_rows()["users"] if row["role"] == "admin"]
    oldest = min(admins, key=lambda row: str(row["created_at"]))
    assert len(admins) == 2
    assert oldest["id"] == ADMIN_ID


def test_assessment_codes_are_unique_and_of_every_kind() -> None:
    codes = [str(row["code"]) for row in reference_rows()["assessments"]]
    assert len(set(codes)) == len(codes)
    assert {"3", "4", "5", "7"} <= {course.code[0] for course in COURSES}
    assert any(course.code[0].isalpha() for course in COURSES)


def test_a_large_data_set_has_every_kind_of_malpractice_rule() -> None:
    final = generate(2_000, 7, AZURE, SCRIPTED).expected_malpractice_rules
    rows = [row for rows in final.values() for row in rows]
    assert any(row.attempt is None for row in rows)
    assert any(row.attempt is not None and row.row_id is not None for row in rows)
    assert any(row.attempt is not None and row.row_id is None for row in rows)
    assert max(len(rows) for rows in final.values()) == 2
