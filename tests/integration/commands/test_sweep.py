"""``sweep`` finds orphans, and deletes them and nothing else (invariants 4 and 7)."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from rogo_async.common.database_url import DatabaseUrl
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.blobs.store import target_digest
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import run_cli, start_cli, table
from tests.support.store_clock import store_clock

RUN = "20260101T000000Z-00000000"
LOST = "0f0f0f0f-0000-5000-8000-000000000000"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace, env: dict[str, str]) -> Scenario:
    """Five migrated submissions and one that is not."""
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, 7)])
    migrated = [f"--attempt={attempt}" for attempt in range(1, 6)]
    assert (await run_cli(env, "run", *migrated)).code == 0
    return made


def label(stack: Stack, workspace: Workspace, attempt: int, **others: str) -> dict[str, str]:
    digest = target_digest(DatabaseUrl.parse(stack.writer_dsn(workspace)))
    ours = {"attemptId": str(attempt), "migratedFrom": "rogo_warehouse", "runId": RUN}
    return {**ours, "target": digest, **others}


async def leave(scenario: Scenario, name: str, metadata: dict[str, str]) -> str:
    async with scenario.container() as container:
        await container.upload_blob(name, b"left behind", metadata=metadata)
    return name


@pytest.fixture
async def orphan(scenario: Scenario, stack: Stack, workspace: Workspace) -> str:
    name = f"LTI_Uploads/rogo_77/{LOST}/1_essay.docx"
    return await leave(scenario, name, label(stack, workspace, 77))


async def test_without_delete_orphans_are_only_listed(
    scenario: Scenario, env: dict[str, str], orphan: str
) -> None:
    before = sorted(await scenario.blobs())
    result = await run_cli(env, "sweep", "--min-age", "0")
    assert result.code == 1, result.output
    assert f"attempt 77  submission {LOST}  file 1" in result.stdout
    assert "essay" not in result.output
    assert "1 orphan (11 bytes) among 6 blobs, 0 deleted" in result.stdout
    assert "--delete" in result.stdout
    assert sorted(await scenario.blobs()) == before
    (report,) = (scenario.data_dir / "runs").glob("*.orphans.csv")
    (line,) = table(report)
    assert line["Blob Name"] == orphan
    assert line["Run ID"] == RUN
    assert report.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("orphan")
async def test_json_has_the_counts(scenario: Scenario, env: dict[str, str]) -> None:
    result = await run_cli(env, "sweep", "--json", "--min-age", "0")
    found = json.loads(result.stdout)
    assert (result.code, found["exit_code"]) == (1, 1)
    assert (found["orphans"], found["deleted"], found["blobs"]) == (1, 0, 6)
    assert found["orphan_bytes"] == len("left behind")
    (report,) = (scenario.data_dir / "runs").glob("*.orphans.csv")
    assert found["file"] == str(report)


async def test_delete_removes_only_the_orphan(
    scenario: Scenario, env: dict[str, str], orphan: str
) -> None:
    before = set(await scenario.blobs())
    result = await run_cli(env, "sweep", "--delete", "--min-age", "0")
    assert result.code == 0, result.output
    assert set(await scenario.blobs()) == before - {orphan}
    await assert_consistent(scenario)
    assert (await run_cli(env, "sweep", "--min-age", "0")).code == 0


async def test_a_blob_newer_than_min_age_is_kept(
    scenario: Scenario, env: dict[str, str], orphan: str
) -> None:
    result = await run_cli(env, "sweep", "--delete")
    assert result.code == 0, result.output
    assert "1 newer than --min-age" in result.stdout
    assert orphan in await scenario.blobs()


async def test_the_clock_of_the_store_decides_about_the_age(
    scenario: Scenario, env: dict[str, str], orphan: str
) -> None:
    """A store that does not state its time keeps all blobs."""
    for ahead, min_age, code in (
        (timedelta(days=-2), "0", 0),
        (timedelta(hours=23), "24h", 0),
        (None, "0", 3),
    ):
        async with store_clock(scenario.stack, env, ahead) as there:
            result = await run_cli(there, "sweep", "--delete", "--min-age", min_age)
        assert result.code == code, result.output
        assert ("no Date header" in result.stdout) is (ahead is None)
        assert orphan in await scenario.blobs()
    async with store_clock(scenario.stack, env, timedelta(days=2)) as there:
        assert (await run_cli(there, "sweep", "--delete")).code == 0
    assert orphan not in await scenario.blobs()


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (f"LTI_Uploads/rogo_77/{LOST}/1_a.txt", {"target": "0123456789abcdef"}),
        (f"LTI_Uploads/rogo_77/{LOST}/1_a.txt", {"migratedFrom": "somewhere"}),
        (f"LTI_Uploads/rogo_77/{LOST}/1_a.txt", {"attemptId": "78"}),
        ("LTI_Uploads/rogo_77/not-an-id/1_a.txt", {}),
        (f"LTI_Uploads/77/{LOST}/1_a.txt", {}),
        (f"Elsewhere/rogo_77/{LOST}/1_a.txt", {}),
    ],
)
async def test_blobs_of_other_tools_and_targets_are_kept(
    scenario: Scenario,
    stack: Stack,
    workspace: Workspace,
    env: dict[str, str],
    name: str,
    other: dict[str, str],
) -> None:
    await leave(scenario, name, label(stack, workspace, 77, **other))
    result = await run_cli(env, "sweep", "--delete", "--min-age", "0")
    assert result.code == 0, result.output
    assert name in await scenario.blobs()


@pytest.mark.parametrize("column", ["azure_blob_name", "azure_blob_url", "file_url"])
async def test_a_referenced_blob_is_kept(
    scenario: Scenario, env: dict[str, str], orphan: str, column: str
) -> None:
    async with scenario.container() as container:
        address = f"{container.url}/{orphan}"
    row: dict[str, Any] = {"file_url": "https://elsewhere.example/1"}
    row[column] = orphan if column == "azure_blob_name" else address
    async with scenario.target() as target:
        await target.execute(
            f"INSERT INTO submission_files ({', '.join(row)}) "
            f"VALUES ({', '.join(f'${n}' for n in range(1, len(row) + 1))})",
            *row.values(),
        )
    result = await run_cli(env, "sweep", "--delete", "--min-age", "0")
    assert result.code == 0, result.output
    assert orphan in await scenario.blobs()


async def test_it_does_not_run_beside_a_migration(
    scenario: Scenario, env: dict[str, str], orphan: str
) -> None:
    scenario.serve_file("6.txt", b"slow", delay_s=10.0)
    other_dir = scenario.data_dir / "other"
    other_dir.mkdir()
    async with start_cli(env) as command:
        await command.wait_for_event("migration begins")
        result = await run_cli(env, "sweep", "--delete", "--min-age", "0")
        assert result.code == 4, result.output
        elsewhere = {**env, "ROGO_DATA_DIR": str(other_dir)}
        result = await run_cli(elsewhere, "sweep", "--delete", "--min-age", "0")
        assert result.code == 4, result.output
    assert orphan in await scenario.blobs()


@pytest.mark.parametrize("other_role", [False, True])
async def test_it_waits_for_the_sessions_of_a_run(
    scenario: Scenario, env: dict[str, str], orphan: str, target_db: str, *, other_role: bool
) -> None:
    """The sessions of a run are found for any role, although the server shows few columns."""
    stalled = await asyncpg.connect(
        target_db if other_role else env["DATABASE_URL"],
        server_settings={"application_name": "rogo_async"},
    )
    async with start_cli(env, "sweep", "--delete", "--min-age", "0") as command:
        await command.wait_for_event("waiting for the sessions of a run to end")
        await asyncio.sleep(1.5)
        assert orphan in await scenario.blobs()
        await stalled.close()
        assert (await command.wait()).code == 0
    assert orphan not in await scenario.blobs()


@pytest.mark.parametrize("how", ["lease", "snapshot"])
async def test_a_protected_blob_is_kept_and_reported(
    scenario: Scenario, env: dict[str, str], orphan: str, how: str
) -> None:
    async with scenario.container() as container:
        blob = container.get_blob_client(orphan)
        await (blob.acquire_lease() if how == "lease" else blob.create_snapshot())
    result = await run_cli(env, "sweep", "--delete", "--min-age", "0")
    assert result.code == 1, result.output
    assert "1 kept: written again meanwhile, or protected" in result.stdout
    assert result.events("outage began") == []
    assert orphan in await scenario.blobs()


@pytest.mark.parametrize("age", ["24", "1y", "-1h", "", "h"])
async def test_an_age_without_a_unit_is_rejected(env: dict[str, str], age: str) -> None:
    result = await run_cli(env, "sweep", f"--min-age={age}")
    assert result.code == 2
    assert "24h" in result.output
