"""After a ``rollback`` the target is as before the run; other data is unchanged."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from rogo_async.commands.rollback.flow import Rollback
from rogo_async.commands.rollback.selection import OfAttempts
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.database_url import DatabaseUrl
from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.blobs.store import target_digest
from rogo_async.rules.identity import submission_id
from tests.support.builders import Scenario
from tests.support.cli import run_cli, summary, table
from tests.support.rollback_fixtures import (
    Picture,
    malpractice,
    migrate,
    picture,
    roll_back,
    settings_of,
)
from tests.support.store_clock import store_clock

CRASHED = "20260101T000000Z-00000000"
EARLIER = datetime(2025, 6, 2, 1, 15, 30, 123456, tzinfo=UTC)
PLAIN, ONE, TWO = (1, 2), (11, 12, 13, 14, 15), (21, 22, 23, 24, 25)


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    """Submissions for two runs, among rows and blobs of the platform and of an earlier tool.

    Learners 1 to 5 have malpractice in both runs: 1 and 2 higher in the second run, 3 in the
    first; 2 and 4 have a row of the platform's own, which stays for 4. 5 has it in the second.
    """
    made = Scenario(stack, workspace)
    lower, higher = (1, 1, 3, 1), (2, 3, 1, 2)
    first = [malpractice(made, 11 + n, number, learner=1 + n) for n, number in enumerate(lower)]
    second = [malpractice(made, 21 + n, number, learner=1 + n) for n, number in enumerate(higher)]
    second.append(malpractice(made, 25, 1, "Minor", learner=5))
    plain = [made.submission(attempt) for attempt in (*PLAIN, 15)]
    plain[0].scores = [
        {"ScoreLabelCorrected": "Question 1", "Score": 12, "MarkerComment": "Good"},
        {"ScoreLabelCorrected": "Question 2", "Score": 0},
    ]
    await made.load([*plain, *first, *second])
    await platform_rows(made)
    return made


async def platform_rows(scenario: Scenario) -> None:
    async with scenario.target() as target:
        for launch in ("rogo_900_earlier", "live-1"):
            await target.execute(
                "INSERT INTO lti_launch_sessions (launch_id, consumer_key, expires_at) "
                "VALUES ($1, 'k', now())",
                launch,
            )
            await target.execute(
                "WITH s AS (INSERT INTO assignment_submissions (id, lti_launch_id) "
                "VALUES ($1::text, $1::text) RETURNING id) INSERT INTO submission_files "
                "(submission_id, file_url, azure_blob_name) SELECT id, $2::text, $2::text FROM s",
                launch,
                f"LTI_Uploads/{launch}/essay.docx",
            )
        await target.executemany(
            "INSERT INTO malpractice_enforcements (lms_user_id, custom_assessment_code, context_id,"
            " context_title, malpractice_level_id, submission_id, attempt_number, "
            "enforced_max_attempts, rule_applied_by, rule_applied_at, created_at, updated_at) "
            "VALUES ($1, '5AB01', $2, 'By hand', 'level-minor', 'live-1', $3, NULL, 'user-marker',"
            " $4, $4, $4)",
            [
                (f"{DEMO_LMS.instance_id}::{user}", f"{DEMO_LMS.instance_id}::81", number, EARLIER)
                for user, number in ((2, None), (4, 9))
            ],
        )
    async with scenario.container() as container:
        for launch in ("rogo_900_earlier", "live-1"):
            await container.upload_blob(f"LTI_Uploads/{launch}/essay.docx", b"not ours")
        await container.upload_blob(
            f"LTI_Uploads/rogo_21/{submission_id(CRASHED, 21)}/1_21.txt",
            b"of a run that crashed",
            metadata={
                "attemptId": "21",
                "migratedFrom": "rogo_warehouse",
                "runId": CRASHED,
                "target": target_digest(
                    DatabaseUrl.parse(scenario.stack.writer_dsn(scenario.workspace))
                ),
            },
        )


def rules(seen: Picture) -> dict[str, tuple[object, object]]:
    """Attempt number and title of the enforcement row of each learner."""
    found = {}
    for row in seen.tables["malpractice_enforcements"]:
        assert row["lms_user_id"] not in found
        learner = row["lms_user_id"].rpartition(":")[2]
        found[learner] = row["attempt_number"], row["context_title"]
    return found


async def test_runs_can_be_rolled_back_in_their_order(
    scenario: Scenario, env: dict[str, str]
) -> None:
    before = await picture(scenario)
    first = await migrate(env, *PLAIN, *ONE)
    second = await migrate(env, *TWO)
    async with scenario.target() as target:  # neither is a change
        await target.execute("VACUUM (FREEZE)")
        await target.execute("VACUUM FULL submission_grades")
    result = await roll_back(env, first)
    assert result.code == 0, result
    between = await picture(scenario)
    assert await attempts_of(scenario) == list(TWO)
    ours = "5AB01 Working Lives"
    assert rules(between) == {
        "1": (2, ours), "2": (3, ours), "3": (1, ours), "4": (9, "By hand"), "5": (1, ours)
    }  # fmt: skip
    assert (await roll_back(env, second)).code == 0
    assert await picture(scenario) == before


async def test_a_rolled_back_run_can_be_migrated_again(
    scenario: Scenario, env: dict[str, str]
) -> None:
    before = await picture(scenario)
    first = await migrate(env, *PLAIN, *ONE)
    between = await picture(scenario)
    second = await migrate(env, *TWO)
    full = await picture(scenario)
    result = await run_cli(env, "rollback", "--run", second, "--yes")
    assert result.code == 0, result.output
    assert "5 of 5 submissions rolled back, 5 blobs deleted, 0 submissions kept" in result.stdout
    assert ".txt" not in result.output
    assert "Ada" not in result.output
    assert await picture(scenario) == between
    (report,) = (scenario.data_dir / "runs").glob("*.rollback.csv")
    assert report.stat().st_mode & 0o777 == 0o600
    outcomes = [(int(row["Attempt ID"]), row["Outcome"]) for row in table(report)]
    assert sorted(outcomes) == sorted((n, o) for n in TWO for o in ("blob", "rolled_back"))
    migrated = {int(row["Attempt ID"]) for row in table(scenario.data_dir / "migrated.csv")}
    assert migrated == {900, *PLAIN, *ONE}

    again = await roll_back(env, second)
    assert (again.code, again.messages) == (0, [])
    assert "nothing to roll back" in again.summary_line
    assert await picture(scenario) == between

    third = await migrate(env, *TWO)
    assert rules(await picture(scenario)) == rules(full)
    assert (await roll_back(env, third)).code == 0
    assert (await roll_back(env, first)).code == 0
    assert await picture(scenario) == before


async def test_only_the_given_attempts_are_rolled_back(
    scenario: Scenario, env: dict[str, str]
) -> None:
    run = await migrate(env, *PLAIN, 15)
    seen = await picture(scenario)
    result = await roll_back(env, [2, 15, 77, 900])
    assert result.code == 1
    assert result.messages == [
        "attempt 900  kept: assignment_submissions: the launch id is of another tool"
    ]
    assert await attempts_of(scenario) == [1]
    after = await picture(scenario)
    assert after.of(1) == seen.of(1)
    assert after.of(900) == seen.of(900)
    assert after.of(2) == after.of(15) == [[], []]
    assert after.of(21) == seen.of(21)
    assert (await roll_back(env, [2, 15, 77])).summary_line.startswith(
        "attempt 2, 15, 77: nothing to roll back"
    )
    assert (await roll_back(env, run)).code == 0
    assert await attempts_of(scenario) == []


async def test_a_blob_that_was_stored_since_the_rollback_began_is_kept(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """It belongs to a run that has begun since, if this rollback has lost its lock."""
    await migrate(env, 1)
    (stored,) = [name for name in await scenario.blobs() if "/rogo_1/" in name]
    newer = stored.replace(stored.split("/")[2], submission_id(new_run_id(), 1))
    messages: list[str] = []

    async def agree(_question: str) -> bool:
        while datetime.now(UTC).replace(microsecond=0) <= rollback._started_at:
            await asyncio.sleep(0.02)  # the times of blobs have whole seconds
        async with scenario.container() as container:
            blob = container.get_blob_client(stored)
            metadata = (await blob.get_blob_properties()).metadata
            await container.upload_blob(newer, b"of a later run", metadata=metadata)
        return True

    selection = OfAttempts(frozenset({1}))
    rollback = Rollback(settings_of(env), selection, None, messages.append, agree)
    result = await rollback.execute()
    assert (result.exit_code, messages) == (0, [])
    assert [name for name in await scenario.blobs() if "/rogo_1/" in name] == [newer]
    assert (await roll_back(env, [1])).code == 0
    assert newer not in await scenario.blobs()


async def test_the_clock_of_the_store_decides_which_blobs_are_newer(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """By that clock all blobs were stored after the rollback began."""
    others = await scenario.blobs()
    await migrate(env, *PLAIN)
    before = await scenario.blobs()
    async with store_clock(scenario.stack, env, timedelta(hours=-1)) as there:
        assert (await roll_back(there, PLAIN)).code == 0
    assert await attempts_of(scenario) == []
    assert await scenario.blobs() == before
    assert (await roll_back(env, PLAIN)).code == 0
    assert await scenario.blobs() == others


async def test_files_without_blobs_are_reported(scenario: Scenario, env: dict[str, str]) -> None:
    """As if the configured container were not that of the run."""
    run = await migrate(env, *PLAIN)
    other = f"{scenario.workspace.container}-other"
    async with scenario.container() as container:
        store = container._get_blob_service_client()
        await store.create_container(other)
        result = await roll_back({**env, "ROGO_CONTAINER": other}, run)
        await store.delete_container(other)
    assert result.code == 0
    assert "0 blobs deleted" in result.summary_line
    assert "2 files had no blob in the container" in result.summary_line


async def test_a_generated_data_set_is_rolled_back(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    await load(generate_for(stack, workspace, rows=150, seed=11), stack, workspace)
    scenario = Scenario(stack, workspace)
    before = await picture(scenario)
    assert (await run_cli(env)).code == 1
    run = summary(scenario.data_dir)
    assert run["migrated"] > 80
    result = await roll_back(env, run["run_id"])
    assert (result.code, result.messages) == (0, [])
    assert f"{run['migrated']} of {run['migrated']} submissions rolled back" in result.summary_line
    assert await picture(scenario) == before


async def attempts_of(scenario: Scenario) -> list[int]:
    """The attempts that this tool has migrated."""
    rows = await scenario.rows("lti_session_records")
    return sorted(int(row["launch_id"].split("_")[1]) for row in rows)
