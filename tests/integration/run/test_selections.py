"""Runs of a selection: --limit, --attempt, --input, --data-dir (specification §2, §5)."""

from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario, SourceSubmission
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
    "args", [("--limit", "0"), ("--attempt", "x"), ("--attempt", "0"), ("--nonsense",), ("walk",)]
)
async def test_a_wrong_command_line_is_a_usage_error(
    scenario: Scenario, env: dict[str, str], args: tuple[str, ...]
) -> None:
    result = await run_cli(env, *args)
    assert result.code == 2
    assert any("Usage" in line for line in result.messages)
    assert await scenario.nothing_written()


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


async def test_only_the_newest_runs_are_kept(scenario: Scenario, env: dict[str, str]) -> None:
    ids = []
    for _ in range(4):
        await run_cli(env, ROGO_KEEP_RUNS="2")
        ids.append(summary(scenario.data_dir)["run_id"])
    kept = {file.name.partition(".")[0] for file in (scenario.data_dir / "runs").glob("*.*")}
    assert kept == set(ids[-2:])
