"""The reference data of the target: users, assessments, sections and malpractice levels.

It contains similar names that must not match: a longer name beside the exact one, `Database`
beside `Data`, an inactive assessment of the same name, and `Question 10` and `Question 1.1` beside
`Question 1`.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

Row = dict[str, object]
"""A row of a table by column name."""

_NAMESPACE = uuid.UUID("5f2d8a36-6f0e-4c5b-9d3a-0b7c1e9a4d21")


def fixed_id(name: str) -> str:
    """A row id that is the same in all data sets."""
    return str(uuid.uuid5(_NAMESPACE, name))


@dataclass(frozen=True, slots=True)
class Course:
    """An exercise of the warehouse with its assessment.

    ``labels`` has pairs of a warehouse label and its section id. Without an assessment, id and
    code are empty.
    """

    exercise: str
    version: str
    assessment_id: str = ""
    code: str = ""
    labels: tuple[tuple[str, str], ...] = ()


_Section = tuple[str | None, str, bool]
"""The label that matches the section (None for no label), its question text, is it active."""

_NUMBERED: tuple[_Section, ...] = (
    ("Question 1", "Question 1", True),
    ("QUESTION 2", "Question 2", True),
    (" question 3 ", "Question 3 ", True),
    ("Question 4", "Question 4", False),
    ("Question 5", "Question 5", True),
    ("Question 6", "Question 6", True),
)
_EXPLAINED: tuple[_Section, ...] = (
    ("Question 1", "Question 1. Explain why the purpose of a change must be clear.", True),
    ("Question 1.1", "Question 1.1 Give an example from your own workplace.", True),
    ("Question 10", "Question 10 – Reflect on what you have learned.", True),
    ("Question 2", "Question 2: Compare two models of leadership.", True),
    ("question 3", "QUESTION 3 (1,000 words)", False),
    (None, "Question 11", True),
)
_TASKS: tuple[_Section, ...] = (
    ("Task A", "Task A - Portfolio of evidence", True),
    ("Task B", "Task B", True),
    (None, "Task B extension: a second portfolio", True),
    ("Task C", "Task C/Presentation", True),
    ("GROSSPROJEKT", "Großprojekt", True),
)
_CRITERIA: tuple[_Section, ...] = (
    ("AC 1.1", "AC 1.1 Explain the legal framework", True),
    ("AC 1.10", "AC 1.10 Assess the risks", True),
    ("AC 1.2", "AC 1.2: describe the process", True),
    ("LO1", "LO1 Understand the organisation", True),
    ("LO10", "LO10 Evaluate your own practice", True),
)
_SPLIT: tuple[_Section, ...] = (
    ("Question 1", "Question 1", True),
    ("Question 4 (a)", "Question 4 (a) Describe the method", True),
    ("Question 4 (b)", "Question 4 (b) Discuss its limits", True),
)


@dataclass(frozen=True, slots=True)
class _Entry:
    code: str
    name: str
    sections: tuple[_Section, ...] = _NUMBERED
    active: bool = True
    exercise: str = ""
    version: str = ""


_CATALOGUE = (
    _Entry("3LM01_24", "3LM01 Leading and Motivating a Team 24_01", _NUMBERED, True,
           "3LM01 Leading and Motivating a Team", "24_01"),
    _Entry("3LM01_25", "3LM01 Leading 25_01", _EXPLAINED, True,
           "3LM01 Leading and Motivating a Team", "25_01"),
    _Entry("302BC-24", "Unit 302: Business Communication 24_01", _TASKS, True,
           "Unit 302 Business Communication", "24_01"),
    _Entry("4BK02_24", "4BK02 Bookkeeping, double entry 24_01", _CRITERIA, True,
           "4BK02 Bookkeeping Foundations", "24_01"),
    _Entry("5PM03_24", "5PM03 People 24_01", _EXPLAINED, True,
           "5PM03 People Management in Practice", "24_01"),
    _Entry("5PM03_24_LONG", "5PM03 People Management in Practice 24_01"),
    _Entry("5DA04_24", "5DA04 Data Analysis for Managers 24_02", _NUMBERED, True,
           "5DA04 Data Analysis for Managers", "24_02"),
    _Entry("5DB04_24", "5DA04 Database Design 24_02"),
    _Entry("5DB04_25", "5DA04 Database Design 25_02"),
    _Entry("7SL05_24", "7SL05 Strategic Leadership 24_01", _EXPLAINED, True,
           "7SL05  Strategic   Leadership", "24_01"),
    _Entry("7SL05_24_OLD", "7SL05 Strategic Leadership (first edition) 24_01", _EXPLAINED, False),
    _Entry("7RM06_25", "7RM06 Research Methods 25_01", _SPLIT, False,
           "7RM06 Research Methods", "25_01"),
    _Entry("7FN08_24", "7FN08 Financial 24_03", _TASKS, True,
           "7FN08 Financial Planning", "24_03"),
    _Entry("7FN08_24_OLD", "7FN08 Financial 24_03", _TASKS, False),
    _Entry("6CM07_24", "6CM07 Change Management 24_01", _CRITERIA, True,
           "6CM07 Change Management", "24_01"),
    _Entry("L5-501-25", "Unit 501  25_02 ", _NUMBERED, True,
           "Unit 501 Principles of Coaching", "25_02"),
    _Entry("HS-2501", "Certificate in Health and Safety 25_01", _EXPLAINED, True,
           "Certificate in Health and Safety", "25_01"),
    _Entry("4PM10_24_A", "4PM10 Project Planning 24_01"),
    _Entry("4PM10_24_B", "4PM10 Project Planning and Control 24_01"),
    _Entry("5QA11_24_A", "5QA11 Quality Assurance 24_01", _NUMBERED, False),
    _Entry("5QA11_24_B", "5QA11 Quality (second edition) 24_01", _NUMBERED, False),
)  # fmt: skip

NO_SUCH_PREFIX = Course("9ZZ99 Applied Horology", "24_01")
NO_SUCH_VERSION = Course("3LM01 Leading and Motivating a Team", "25_09")
OTHER_CASE = Course("3lm01 leading and motivating a team", "24_01")
ONLY_A_LONGER_WORD = Course("5DA04 Data Analysis for Managers", "25_02")
TWO_ACTIVE = Course("4PM10 Project Planning and Control", "24_01")
TWO_INACTIVE = Course("5QA11 Quality", "24_01")

LEVELS = {
    name: fixed_id(f"level {name}")
    for name in ("Minor", "Moderate", "Considerable", "Severe", "Gross")
}
"""Ids of the malpractice levels by text. ``Gross`` is inactive."""

ADMIN_ID = fixed_id("user admin one")
"""The oldest user with the role admin, who is entered as ``rule_applied_by``."""


def section_id(code: str, question_text: str) -> str:
    return fixed_id(f"section {code} {question_text}")


def _course(entry: _Entry) -> Course:
    labels = tuple(
        (label, section_id(entry.code, text))
        for label, text, _active in entry.sections
        if label is not None
    )
    return Course(
        entry.exercise, entry.version, fixed_id(f"assessment {entry.code}"), entry.code, labels
    )


COURSES = tuple(_course(entry) for entry in _CATALOGUE if entry.exercise)
"""The courses of the submissions, each with the assessment that it must match."""

SPLIT_QUESTION = next(course for course in COURSES if course.code == "7RM06_25")
"""A course in which `Question 4` matches two sections."""


def reference_rows() -> dict[str, list[Row]]:
    """The rows of the read-only tables, by table."""
    return {
        "users": _users(),
        "assessments": [
            {
                "id": fixed_id(f"assessment {entry.code}"),
                "code": entry.code,
                "name": entry.name,
                "is_active": "true" if entry.active else "false",
            }
            for entry in _CATALOGUE
        ],
        "assessment_sections": [
            {
                "id": section_id(entry.code, text),
                "assessment_id": fixed_id(f"assessment {entry.code}"),
                "question_text": text,
                "order": order,
                "is_active": "true" if active else "false",
            }
            for entry in _CATALOGUE
            for order, (_label, text, active) in enumerate(entry.sections, start=1)
        ],
        "malpractice_levels": [
            {
                "id": identifier,
                "level_text": name,
                "sort_order": order,
                "is_active": "false" if name == "Gross" else "true",
            }
            for order, (name, identifier) in enumerate(LEVELS.items(), start=1)
        ],
    }


def _users() -> list[Row]:
    people = (
        ("user admin two", "admin", datetime(2023, 5, 2, 9, tzinfo=UTC)),
        ("user admin one", "admin", datetime(2022, 11, 14, 10, 30, tzinfo=UTC)),
        ("user marker one", "marker", datetime(2022, 1, 10, 8, tzinfo=UTC)),
        ("user marker two", "marker", datetime(2024, 2, 1, 8, tzinfo=UTC)),
    )
    return [
        {
            "id": fixed_id(name),
            "username": name.removeprefix("user ").replace(" ", "-"),
            "email": f"{name.removeprefix('user ').replace(' ', '.')}@platform.example",
            "role": role,
            "created_at": created,
        }
        for name, role, created in people
    ]
