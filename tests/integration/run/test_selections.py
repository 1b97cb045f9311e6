"""Runs of a selection: --limit, --attempt, --input, --data-dir (specification §2, §5)."""

import csv
from pathlib import Path

import pytest

from rogo_async import __version__
from rogo_async.common.data_dir import SUMMARY, DataDir, new_run_id
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import COLUMNS, Scenario, SourceSubmission
from tests.support.cli import FAILED, counts, failures, run_cli, summary, table


def faulty(scenario: Scenario, attempt: int) -> SourceSubmission:
    """A submission that fails: it has no email."""
    made = scenario.submission(attempt)
    del made.cells["Learner Email"]
    return made


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Attempts 1, 2, 3 (invalid), 2 again and 4, the oldest first."""
    made = Scenario(stack, workspace)
    second = made.submission(2)
    await made.load([made.submission(1), second, faulty(made, 3), made.submission(4)])
    lines = [made.submission(1), second, faulty(made, 3), second, made.submission(4)]
    made.write_lines(each.line() for each in lines)
    return made


async def test_a_limit_takes_the_newest_rows(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, "--limit", "3")
    assert result.code == 1
    assert counts(scenario.data_dir) == (2, 1, 0, 0)
    assert summary(scenario.data_dir)["rows_total"] == 3
    assert await scenario.attempts() == [2, 4]
    assert not (scenario.data_dir / FAILED).exists()
    run_id = summary(scenario.data_dir)["run_id"]
    assert failures(scenario.data_dir / "runs" / f"{run_id}.failed.csv") == {"3": "email_missing"}


async def test_a_limit_beyond_the_file_is_the_whole_file(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli(env, "run", "--limit", "999")
    assert counts(scenario.data_dir) == (3, 1, 1, 0)


async def test_all_rows_of_an_attempt_are_selected(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, "run", "--attempt", "2", "--attempt", "1")
    assert result.code == 0
    assert summary(scenario.data_dir)["rows_total"] == 3
    assert summary(scenario.data_dir)["by_code"] == {"duplicate_row": 1}
    assert await scenario.attempts() == [1, 2]


async def test_an_unknown_attempt_is_rejected(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, "run", "--attempt", "1", "--attempt", "77")
    assert result.code == 2
    (line,) = result.messages
    assert "no row for attempt 77" in line
    assert await scenario.nothing_written()


@pytest.mark.parametrize(
    "args",
    [
        ("--limit", "0"),
        ("--attempt", "x"),
        ("--attempt", "0"),
        ("--until", "6am"),
        ("--until", "25:00"),
        ("--nonsense",),
        ("walk",),
        ("--code", "email"),
    ],
)
async def test_a_wrong_command_line_is_a_usage_error(
    scenario: Scenario, env: dict[str, str], args: tuple[str, ...]
) -> None:
    result = await run_cli(env, *args)
    assert result.code == 2
    assert any("Usage" in line for line in result.messages)
    assert await scenario.nothing_written()


async def test_a_code_retries_just_the_attempts_that_failed_so(
    scenario: Scenario, env: dict[str, str]
) -> None:
    lines = [scenario.submission(1), faulty(scenario, 3), scenario.submission(4)]
    lines[2].cells["Learner Azure Blob URLs"] = ""
    scenario.write_lines(each.line() for each in lines)
    assert (await run_cli(env)).code == 1
    before = (scenario.data_dir / FAILED).read_bytes()
    scenario.write_lines(scenario.submission(attempt).line() for attempt in (1, 3, 4))
    planned = await run_cli(env, "plan", "--code", "email_missing")
    result = await run_cli(env, "--code", "email_missing")
    assert (planned.code, result.code) == (0, 0)
    assert counts(scenario.data_dir) == (1, 0, 0, 0)
    assert await scenario.attempts() == [1, 3]
    assert (scenario.data_dir / FAILED).read_bytes() == before


async def test_a_selection_keeps_the_failures_of_the_latest_full_run(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli(env)
    before = (scenario.data_dir / FAILED).read_bytes()
    assert failures(scenario.data_dir / FAILED) == {"3": "email_missing"}
    result = await run_cli(env, "run", "--input", str(scenario.data_dir / FAILED))
    assert result.code == 1
    assert counts(scenario.data_dir) == (0, 1, 0, 0)
    assert summary(scenario.data_dir)["failed_new"] == 0
    assert (scenario.data_dir / FAILED).read_bytes() == before


async def test_fixed_rows_migrate_from_the_failed_rows_file(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli(env)
    (row,) = table(scenario.data_dir / FAILED)
    assert row["Error"].startswith("email_missing: ")
    text = (scenario.data_dir / FAILED).read_text(encoding="utf-8")
    (scenario.data_dir / FAILED).write_text(
        text.replace("Lovelace,", "Lovelace,ada@college.example,", 1).replace(
            "Lovelace,ada@college.example,,", "Lovelace,ada@college.example,", 1
        ),
        encoding="utf-8",
    )
    result = await run_cli(env, "run", "--input", str(scenario.data_dir / FAILED))
    assert result.code == 0, result.output
    assert await scenario.attempts() == [1, 2, 3, 4]


async def test_another_data_directory_is_read_and_written(
    scenario: Scenario, env: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        (scenario.data_dir / name).rename(elsewhere / name)
    result = await run_cli(env, "run", "--data-dir", str(elsewhere))
    assert result.code == 1
    assert counts(elsewhere) == (3, 1, 1, 0)
    assert len(table(elsewhere / "migrated.csv")) == 3
    assert not (scenario.data_dir / "migrated.csv").exists()


async def test_each_full_run_keeps_the_failures_of_the_one_before(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli(env)
    first = summary(scenario.data_dir)["run_id"]
    before = (scenario.data_dir / FAILED).read_bytes()
    await run_cli(env)
    assert (scenario.data_dir / "runs" / f"{first}.failed.csv").read_bytes() == before


async def test_known_failures_stay_known_after_a_run_that_was_killed(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli(env, ROGO_KEEP_RUNS="1")
    assert summary(scenario.data_dir)["failed_new"] == 1
    killed = DataDir(scenario.data_dir)
    killed.begin_full_run(new_run_id())
    assert not (scenario.data_dir / "failures_by_assessment.csv").exists()
    (scenario.data_dir / FAILED).write_text(",".join(COLUMNS) + "\n")
    await run_cli(env, ROGO_KEEP_RUNS="1")
    assert failures(scenario.data_dir / FAILED) == {"3": "email_missing"}
    assert summary(scenario.data_dir)["failed_new"] == 0


async def test_a_full_run_writes_its_failures_by_assessment(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await run_cli(env)
    path = scenario.data_dir / "failures_by_assessment.csv"
    (line,) = csv.DictReader(path.read_text("utf-8-sig").splitlines())
    assert line.pop("Message")
    assert line == {
        "Unit Code": "",
        "Assessment ID": "A-77",
        "Code": "email_missing",
        "Rows in Group": "1",
        "New": "yes",
        "Accepted": "no",
        "Attempt ID": "3",
    }
    before = path.read_bytes()
    await run_cli(env, "run", "--attempt", "3")
    assert path.read_bytes() == before
    await run_cli(env)
    (line,) = csv.DictReader(path.read_text("utf-8-sig").splitlines())
    assert line["New"] == "no"


async def test_an_accepted_failure_counts_apart(scenario: Scenario, env: dict[str, str]) -> None:
    accepted = scenario.data_dir / "accepted_failures.csv"
    accepted.write_text("Attempt ID,Code,Who,Why\n3,report_missing,AB,why\n3,x,AB,why\n")
    other_code = await run_cli(env)
    assert other_code.code == 1
    assert "1 failed (1 new), " in other_code.stdout
    (problem,) = other_code.events("accepted failures cannot be used")
    assert "accepted_failures.csv, line 3: Code" in problem["problem"]
    (stale,) = other_code.events("accepted failures that no longer fail with their code")
    assert stale["entries"] == 1

    accepted.write_text("Attempt ID,Code,Who,Why\n3,email_missing,AB,why\n")
    result = await run_cli(env)
    assert result.code == 0
    assert "1 failed (0 new, 1 accepted), " in result.stdout
    found = summary(scenario.data_dir)
    assert (found["failed"], found["failed_new"], found["failed_accepted"]) == (1, 0, 1)
    assert failures(scenario.data_dir / FAILED) == {"3": "email_missing"}
    assert result.events("accepted failures that no longer fail with their code") == []
    selection = await run_cli(env, "--attempt", "1")
    assert selection.events("accepted failures that no longer fail with their code") == []


async def test_only_the_newest_runs_are_kept(scenario: Scenario, env: dict[str, str]) -> None:
    ids = []
    for _ in range(4):
        await run_cli(env, ROGO_KEEP_RUNS="2")
        ids.append(summary(scenario.data_dir)["run_id"])
    kept = {file.name.partition(".")[0] for file in (scenario.data_dir / "runs").glob("*.*")}
    assert kept == {*ids[-2:], "starts"}


async def test_a_selection_never_counts_as_the_night(
    scenario: Scenario, env: dict[str, str]
) -> None:
    published = scenario.data_dir / "rogo.prom"
    env["ROGO_METRICS_FILE"] = str(published)
    selection = await run_cli(env, "--limit", "1")
    assert selection.stdout.endswith("; only the rows of --limit\n")
    assert not (scenario.data_dir / SUMMARY).exists()
    assert summary(scenario.data_dir)["selection"] == {"limit": 1}
    assert "last_success" not in published.read_text(encoding="utf-8")
    await run_cli(env)
    night = (scenario.data_dir / SUMMARY).read_bytes()
    found = summary(scenario.data_dir)
    assert found["selection"] is None
    assert found["version"] == __version__
    assert found["target"]["container"] == env["ROGO_CONTAINER"]
    assert found["target"]["database"] in env["DATABASE_URL"]
    assert found["target"]["host"] in env["DATABASE_URL"]
    blobs = await scenario.blobs()
    assert found["files"] == len(blobs) - 1  # one was copied by the selection
    assert found["file_bytes"] > 0
    last_success = published.read_text(encoding="utf-8").count("last_success")
    assert last_success
    await run_cli(env, "--limit", "1")
    assert (scenario.data_dir / SUMMARY).read_bytes() == night
    report = await run_cli(env, "report")
    assert f"{found['run_id']}.html" in report.output
    shown = (await run_cli(env, "status")).stdout
    assert shown.count("; only the rows of --limit") == 2
