"""The example of docs/specification.md: its input gives its results."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

from rogo_async.common.settings import Lms
from rogo_async.common.urls import AllowList
from rogo_async.destination.postgres.parameters import submission_values
from rogo_async.rules.files import blob_name
from rogo_async.rules.identity import identify
from rogo_async.rules.matching import Reference
from rogo_async.rules.prepare import prepare
from rogo_async.rules.records import (
    Assessment,
    MappingRow,
    PreparedSubmission,
    Score,
    Section,
    StoredFile,
    Submission,
    WarehouseRows,
)
from rogo_async.rules.row_filter import MigratedAttempts, RowFilter
from tests.unit.rules.builders import a_report, a_row

SPECIFICATION: Final = Path(__file__).parents[3] / "docs" / "specification.md"
EXAMPLE: Final = SPECIFICATION.read_text("utf-8").split("\n## ")[2]
INPUT: Final = {
    name: value
    for names, values in re.findall(r"^\| ([^|`]+) \| ([^|]+) \|$", EXAMPLE, re.MULTILINE)
    for name, value in zip(names.split(", "), re.findall(r"`([^`]*)`|NULL", values), strict=False)
}
SCORES: Final = re.findall(
    r"^\| `([^`]+)` \| `(\d+)` \| (?:`(.+)`|NULL) \|$", EXAMPLE, re.MULTILINE
)
RUN_ID: Final = re.findall(r"\d{8}T\d{6}Z-[0-9a-f]{8}", EXAMPLE)[0]
LMS: Final = Lms("learn.example", "key", "Name", "https://lms.example/")


def date(column: str) -> datetime | None:
    return datetime.fromisoformat(INPUT[column]).replace(tzinfo=UTC) if INPUT[column] else None


def passed() -> Submission:
    row = a_row(
        attempt_id=INPUT["Attempt ID"],
        first_name=INPUT["First Name"],
        surname=INPUT["Surname"],
        email=INPUT["Learner Email"],
        assessment_id=INPUT["Assessment ID"],
        course_title=INPUT["Course Title"],
        rogo_user_id=INPUT["Rogo User ID"],
        rogo_user_name=INPUT["Rogo User Name"],
        learner_file_names=INPUT["Learner File Names"],
        learner_urls=INPUT["Learner Azure Blob URLs"],
        marker_urls=INPUT["Marker Azure Blob URLs"],
    )
    mapping = MappingRow("24_01", "Attempt 2")
    result = RowFilter(lambda _: mapping, MigratedAttempts(), ("24", "25")).apply(row)
    assert isinstance(result, Submission)
    return result


def prepared() -> PreparedSubmission:
    report = a_report(
        ti_user_id=INPUT["TIUserId"],
        ti_section_id=INPUT["TISectionId"],
        exercise=INPUT["Exercise"],
        marks=Decimal(INPUT["MarksAchieved"]),
        marks_available=Decimal(INPUT["MarksAvailable"]),
        grade_percent=Decimal(INPUT["GradePercent"]),
        grade=INPUT["Grade"],
        marker_notes=None,
        date_inserted=date("DateInserted"),
        results_approved=date("ResultsApproved"),
        date_modified=date("DateModified"),
    )
    scores = tuple(
        Score(report.attempt, label, Decimal(score), comment or None, None, None)
        for label, score, comment in SCORES
    )
    reference = Reference(
        [Assessment("a", "Unit 3 24_01", "3ENG02", is_active=True)],
        [Section("s1", "a", "Question 1: Sources"), Section("s2", "a", "Question 2: Structure")],
        [],
    )
    submission = replace(passed(), warehouse_rows=WarehouseRows((report,), scores))
    return prepare(submission, reference, AllowList.from_hosts(["rogofiles.blob.core.windows.net"]))


def test_the_example_of_the_specification_is_computed_as_it_is_written() -> None:
    submission = prepared()
    identity = identify(submission.attempt, RUN_ID, LMS.instance_id)
    names = [blob_name(identity.attempt, identity.submission_id, ref) for ref in submission.files]
    files = [
        StoredFile(ref, name, f"https://destination.example/{name}", 1, b"")
        for ref, name in zip(submission.files, names, strict=True)
    ]
    values = submission_values(submission, files, identity, LMS, "container")

    written = set(re.findall(r"`([^`]+)`", EXAMPLE))
    assert len(SCORES) == 2
    for column in (
        "launch_id",
        "submission_id",
        "lms_user_id",
        "context_id",
        "full_name",
        "context_title",
        "attempt_number",
        "file_count",
        "final_grade",
    ):
        assert str(values[column]) in written, column
    assert {ref.name for ref in submission.files} <= written
    assert [line.strip() for line in EXAMPLE.splitlines() if line.startswith("    ")] == names
    assert f"{values['effective_at']:%Y-%m-%d %H:%MZ}" in written
    assert f"{values['created_at']:%Y-%m-%d %H:%MZ}" in written
    assert values["mark_sections"] == ["s1", "s2"]
    assert "total 14 of 20, 70 %" in EXAMPLE
    marks = (values["marks_awarded"], values["marks_possible"], values["percentage"])
    assert marks == (14, 20, 70)
