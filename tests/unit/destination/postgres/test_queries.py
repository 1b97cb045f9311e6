"""Named statements and their parameters."""

import pytest

from rogo_async.destination.postgres.queries import query
from rogo_async.destination.postgres.schema import READ_TABLES, WRITTEN_TABLES


def test_parameters_are_numbered_in_order_of_first_use() -> None:
    lock = query("try_lock")
    assert lock.parameters == ("class", "object")
    assert "$1::int, $2::int" in lock.sql
    assert lock.arguments({"object": 2, "class": 1, "more": 3}) == [1, 2]


def test_a_repeated_parameter_has_one_number() -> None:
    insert = query("insert_submission")
    workspace = insert.parameters.index("launch_id") + 1
    assert insert.parameters.count("email") == 1
    assert insert.sql.count(f"${workspace}::") == 1
    assert ":" not in insert.sql.replace("::", "")


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        query("try_lock").arguments({"class": 1})


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        query("drop_everything")


def test_the_checked_tables_are_those_of_the_statements() -> None:
    assert set(WRITTEN_TABLES) == {
        "lti_launch_sessions",
        "lti_session_records",
        "assignment_submissions",
        "submission_files",
        "submission_marking_assignments",
        "submission_section_marks",
        "submission_grades",
        "malpractice_enforcements",
    }
    assert "launch_id" in WRITTEN_TABLES["lti_launch_sessions"]
    assert len(WRITTEN_TABLES["submission_grades"]) == 15
    assert set(READ_TABLES) == {
        "users",
        "assessments",
        "assessment_sections",
        "malpractice_levels",
    }
