"""Runs of a selection: --limit, --attempt, --input, --data-dir (SPEC §2, §5)."""

from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Desk, Handmade
from tests.support.cli import FAILED, counts, failures, operate, summary, table


def faulty(desk: Desk, attempt: int) -> Handmade:
    """A submission that fails: it has no email."""
    made = desk.sound(attempt)
    del made.cells["Learner Email"]
    return made


@pytest.fixture
async def desk(stack: Stack, workspace: Workspace) -> Desk:
    """Attempts 1, 2, 3 (faulty), 2 again and 4, the oldest first."""
    made = Desk(stack, workspace)
    second = made.sound(2)
    await made.lay_out([made.sound(1), second, faulty(made, 3), made.sound(4)])
    lines = [made.sound(1), second, faulty(made, 3), second, made.sound(4)]
    made.write_lines(each.line() for each in lines)
    return made


async def test_a_limit_takes_the_newest_rows(desk: Desk, env: dict[str, str]) -> None:
    ended = await operate(env, "--limit", "3")
    assert ended.code == 1
    assert counts(desk.data_dir) == (2, 1, 0, 0)
    assert summary(desk.data_dir)["rows_total"] == 3
    assert await desk.attempts() == [2, 4]
    assert not (desk.data_dir / FAILED).exists()
    run_id = summary(desk.data_dir)["run_id"]
    assert failures(desk.data_dir / "runs" / f"{run_id}.failed.csv") == {"3": "email_missing"}


async def test_a_limit_beyond_the_file_is_the_whole_file(desk: Desk, env: dict[str, str]) -> None:
    await operate(env, "run", "--limit", "999")
    assert counts(desk.data_dir) == (3, 1, 1, 0)


async def test_attempts_take_all_their_rows(desk: Desk, env: dict[str, str]) -> None:
    ended = await operate(env, "run", "--attempt", "2", "--attempt", "1")
    assert ended.code == 0
    assert summary(desk.data_dir)["rows_total"] == 3
    assert summary(desk.data_dir)["by_code"] == {"duplicate_row": 1}
    assert await desk.attempts() == [1, 2]


async def test_an_attempt_that_is_not_there_refuses_the_run(
    desk: Desk, env: dict[str, str]
) -> None:
    ended = await operate(env, "run", "--attempt", "1", "--attempt", "77")
    assert ended.code == 2
    (line,) = ended.said
    assert "no row for attempt 77" in line
    assert await desk.nothing_written()


@pytest.mark.parametrize(
    "args", [("--limit", "0"), ("--attempt", "x"), ("--attempt", "0"), ("--nonsense",), ("walk",)]
)
async def test_a_wrong_command_line_is_a_usage_error(
    desk: Desk, env: dict[str, str], args: tuple[str, ...]
) -> None:
    ended = await operate(env, *args)
    assert ended.code == 2
    assert any("Usage" in line for line in ended.said)
    assert await desk.nothing_written()


async def test_a_selection_leaves_the_latest_full_runs_failures_alone(
    desk: Desk, env: dict[str, str]
) -> None:
    await operate(env)
    before = (desk.data_dir / FAILED).read_bytes()
    assert failures(desk.data_dir / FAILED) == {"3": "email_missing"}
    ended = await operate(env, "run", "--input", str(desk.data_dir / FAILED))
    assert ended.code == 1
    assert counts(desk.data_dir) == (0, 1, 0, 0)
    assert summary(desk.data_dir)["failed_new"] == 0
    assert (desk.data_dir / FAILED).read_bytes() == before


async def test_mended_rows_migrate_from_the_failed_rows_file(
    desk: Desk, env: dict[str, str]
) -> None:
    await operate(env)
    (row,) = table(desk.data_dir / FAILED)
    assert row["Error"].startswith("email_missing: ")
    text = (desk.data_dir / FAILED).read_text(encoding="utf-8")
    (desk.data_dir / FAILED).write_text(
        text.replace("Lovelace,", "Lovelace,ada@college.example,", 1).replace(
            "Lovelace,ada@college.example,,", "Lovelace,ada@college.example,", 1
        ),
        encoding="utf-8",
    )
    ended = await operate(env, "run", "--input", str(desk.data_dir / FAILED))
    assert ended.code == 0, ended.output
    assert await desk.attempts() == [1, 2, 3, 4]


async def test_another_data_directory_is_read_and_written(
    desk: Desk, env: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("submission_files.csv", "attempt_number_mapping.csv"):
        (desk.data_dir / name).rename(elsewhere / name)
    ended = await operate(env, "run", "--data-dir", str(elsewhere))
    assert ended.code == 1
    assert counts(elsewhere) == (3, 1, 1, 0)
    assert len(table(elsewhere / "migrated.csv")) == 3
    assert not (desk.data_dir / "migrated.csv").exists()


async def test_each_full_run_keeps_the_failures_of_the_one_before(
    desk: Desk, env: dict[str, str]
) -> None:
    await operate(env)
    first = summary(desk.data_dir)["run_id"]
    before = (desk.data_dir / FAILED).read_bytes()
    await operate(env)
    assert (desk.data_dir / "runs" / f"{first}.failed.csv").read_bytes() == before


async def test_only_the_newest_runs_are_kept(desk: Desk, env: dict[str, str]) -> None:
    ids = []
    for _ in range(4):
        await operate(env, ROGO_KEEP_RUNS="2")
        ids.append(summary(desk.data_dir)["run_id"])
    kept = {file.name.partition(".")[0] for file in (desk.data_dir / "runs").glob("*.*")}
    assert kept == set(ids[-2:])
