"""Forms of the input files that other programs write (specification §1)."""

import csv
import io
import os

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli, summary


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in (1, 2, 3)])
    return made


async def test_files_of_excel_for_the_mac_are_migrated(
    scenario: Scenario, env: dict[str, str]
) -> None:
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        path = scenario.data_dir / name
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\r").replace(b"\n", b"\r"))
        assert b"\n" not in path.read_bytes()

    assert (await run_cli(env, "check")).code == 0
    assert (await run_cli(env, "plan")).code == 0
    ran = await run_cli(env, "run")

    assert ran.code == 0, ran.output
    assert summary(scenario.data_dir)["migrated"] == 3
    assert await scenario.attempts() == [1, 2, 3]


async def test_a_header_with_an_open_quote_is_refused_by_every_command(
    scenario: Scenario, env: dict[str, str]
) -> None:
    path = scenario.data_dir / "submission_files.csv"
    path.write_bytes(path.read_bytes().replace(b"Timestamp", b'"Timestamp', 1))
    for command, code in (("check", 1), ("plan", 2), ("run", 2)):
        result = await run_cli(env, command)
        assert result.code == code, result.output
        assert f"{path}, line 1: malformed header: a quote is not closed" in result.output
    assert await scenario.nothing_written()


async def test_a_pipe_as_input_is_refused_at_once(scenario: Scenario, env: dict[str, str]) -> None:
    pipe = scenario.data_dir / "pipe"
    os.mkfifo(pipe)
    for command in ("plan", "run"):
        result = await run_cli(env, command, "--input", str(pipe))
        assert result.code == 2, result.output
        assert f"{pipe}: a pipe, not a regular file" in result.output
    assert await scenario.nothing_written()


async def test_exported_null_texts_fail_or_warn(scenario: Scenario, env: dict[str, str]) -> None:
    path = scenario.data_dir / "submission_files.csv"
    lines = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    lines[0]["Learner Email"] = "NULL"
    lines[1].update({"Surname": "Null", "Learner File Names": "NULL", "Course Title": "NULL"})
    lines[2]["Learner Azure Blob URLs"] = "NULL"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)

    checked = await run_cli(env, "check")
    assert "the text NULL is a person's name in 1 of 3 rows" in checked.output
    assert "text NULL are migrated as they are" in (await run_cli(env, "plan")).output

    assert (await run_cli(env, "run")).code == 1
    assert summary(scenario.data_dir)["by_code"] == {"email_missing": 1, "files_missing": 1}
    async with scenario.target() as target:
        written = await target.fetchrow(
            "SELECT last_name, context_title, file_name FROM assignment_submissions s "
            "JOIN submission_files f ON f.submission_id = s.id"
        )
    assert written is not None
    assert tuple(written) == ("Null", "5AB01 Working Lives", "2.txt")
