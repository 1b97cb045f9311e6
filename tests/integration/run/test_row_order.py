"""The order of rows and the concurrency do not change the target (invariant 5)."""

import json
import random
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import COLUMNS, REFERENCE, Scenario, SourceSubmission
from tests.support.cli import run_cli, summary

CHILDREN = (
    "submission_files",
    "submission_marking_assignments",
    "submission_section_marks",
    "submission_grades",
)
LEVELS = ("Moderate", "Considerable", "Severe", "Minor")
GENERATED = {"id", "submission_id", "lti_session_record_id"}
WRITTEN_NOW = {"assigned_at", "rule_applied_at"}


def submissions(scenario: Scenario) -> list[SourceSubmission]:
    """Many learners in random order; a few of them share malpractice rules."""
    rng = random.Random(11)
    made = []
    for attempt in range(1, 121):
        each = scenario.submission(
            attempt, TIUserId=str(attempt % 8), MarksAchieved=rng.randint(0, 60)
        )
        if attempt % 3 == 0:
            each.report["Grade"] = f"Malpractice - {rng.choice(LEVELS)}"
            each.submission = f"Attempt {rng.randint(1, 3)}"
        each.scores = [
            {"ScoreLabelCorrected": label, "Score": rng.randint(0, 20), "MarkerComment": "fine"}
            for label in ("Question 1", "Question 2")[: rng.randint(0, 2)]
        ]
        made.append(each)
    rng.shuffle(made)
    return made


def with_doubles(made: Iterable[SourceSubmission]) -> list[list[str]]:
    """The lines, some attempts with two: the later one has another email."""
    lines = []
    for each in made:
        if each.attempt % 10 == 0:
            earlier = each.line()
            earlier[COLUMNS.index("Learner Email")] = "earlier@college.example"
            lines.append(earlier)
        lines.append(each.line())
    return lines


def attempts_reversed(lines: list[list[str]]) -> list[list[str]]:
    """The attempts in reverse, the lines of one attempt in the order they had."""
    workspace = COLUMNS.index("Attempt ID")
    groups: dict[str, list[list[str]]] = {}
    for line in lines:
        groups.setdefault(line[workspace], []).append(line)
    return [line for attempt in reversed(list(groups)) for line in groups[attempt]]


def plain(row: dict[str, Any], of: dict[str, str]) -> str:
    """A row without generated ids and times of writing; ids of submissions become launch ids."""
    kept = {}
    for name, value in row.items():
        if name in WRITTEN_NOW:
            assert isinstance(value, datetime)
        elif name == "submission_id":
            kept[name] = of.get(value, value)
        elif name in {"file_url", "azure_blob_url", "azure_blob_name"}:
            kept[name] = "/".join(part for part in value.split("/") if part not in of)
        elif name not in GENERATED:
            kept[name] = value
    return json.dumps(kept, default=str, sort_keys=True)


async def picture(scenario: Scenario) -> dict[str, list[str]]:
    """All rows of a migration, comparable between targets."""
    parents = await scenario.rows("assignment_submissions")
    of = {row["id"]: row["lti_launch_id"] for row in parents}
    found = {"assignment_submissions": parents}
    for name in ("lti_launch_sessions", "lti_session_records", *CHILDREN):
        found[name] = await scenario.rows(name)
    rules = await scenario.rows("malpractice_enforcements")
    found["malpractice_enforcements"] = [
        {k: v for k, v in row.items() if k not in {"created_at", "updated_at"}} for row in rules
    ]
    text = {name: sorted(plain(row, of) for row in rows) for name, rows in found.items()}
    container = scenario.workspace.container
    return {
        name: [row.replace(container, "CONTAINER") for row in rows] for name, rows in text.items()
    }


@asynccontextmanager
async def another(stack: Stack, tmp_path: Path) -> AsyncIterator[Workspace]:
    name = uuid.uuid4().hex[:12]
    (tmp_path / name).mkdir()
    workspace = await stack.new_workspace(name, tmp_path / name)
    yield workspace
    await stack.remove_workspace(workspace)


async def test_invariant_5_concurrency_and_order_do_not_change_the_target(
    stack: Stack, source: object, tmp_path: Path
) -> None:
    pictures = {}
    for concurrency in (1, 5, 64):
        for backwards in (False, True):
            async with another(stack, tmp_path) as workspace:
                scenario = Scenario(stack, workspace)
                made = submissions(scenario)
                await scenario.load(made, REFERENCE)
                lines = with_doubles(made)
                scenario.write_lines(attempts_reversed(lines) if backwards else lines)
                env = stack.environment_of(workspace)
                result = await run_cli(env, ROGO_CONCURRENCY=str(concurrency))
                found = summary(workspace.data_dir)
                assert found["migrated"] == 120, result.output
                assert found["by_code"] == {"duplicate_row": 12}
                pictures[concurrency, backwards] = await picture(scenario)
    first = pictures[1, False]
    assert len(first["malpractice_enforcements"]) == 8
    assert len(first["submission_grades"]) == len(first["submission_files"]) == 120
    assert not any("earlier@college.example" in row for row in first["lti_launch_sessions"])
    for variant, other in pictures.items():
        assert other == first, variant
