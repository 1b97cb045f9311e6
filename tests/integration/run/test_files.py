"""Copying files: large, empty, interrupted, redirected, refused (rule 14)."""

import hashlib
import os

import pytest

from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.sources.http_files import BLOCK_BYTES
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import FAILED, counts, failures, run_cli, summary, table


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


async def stored(scenario: Scenario) -> dict[str, bytes]:
    """The bytes of every blob by its attempt."""
    async with scenario.container() as container:
        return {
            name.split("/")[1]: await (await container.download_blob(name)).readall()
            async for name in container.list_blob_names()
        }


@pytest.mark.parametrize(
    "size_bytes", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17]
)
async def test_files_of_every_size_arrive_whole(
    scenario: Scenario, env: dict[str, str], size_bytes: int
) -> None:
    body = os.urandom(size_bytes)
    await scenario.load([scenario.submission(1)])
    scenario.serve_file("1.txt", body)
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert await stored(scenario) == {"rogo_1": body}
    async with scenario.container() as container:
        (name,) = await scenario.blobs()
        properties = await container.get_blob_client(name).get_blob_properties()
    assert bytes(properties.content_settings.content_md5 or b"") == hashlib.md5(body).digest()
    assert properties.content_settings.content_type == "text/plain"
    (row,) = await scenario.rows("submission_files")
    assert row["file_size"] == f"{size_bytes / 1_048_576:.1f} MB"


async def test_an_interrupted_download_is_resumed(scenario: Scenario, env: dict[str, str]) -> None:
    body = os.urandom(2 * BLOCK_BYTES + 1000)
    await scenario.load([scenario.submission(1)])
    scenario.source.routes["/1.txt"] = Answer(
        body=body,
        headers={"ETag": '"one"'},
        truncate_at=BLOCK_BYTES + 500,
        times=1,
        then=Answer(
            status=206,
            body=body[BLOCK_BYTES:],
            headers={
                "ETag": '"one"',
                "Content-Range": f"bytes {BLOCK_BYTES}-{len(body) - 1}/{len(body)}",
            },
        ),
    )
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert await stored(scenario) == {"rogo_1": body}
    assert summary(scenario.data_dir)["retries"] == {"source.read": 1}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_temporary_error_of_the_source_fails_no_row(
    scenario: Scenario, env: dict[str, str], status: int
) -> None:
    await scenario.load([scenario.submission(1)])
    scenario.source.routes["/1.txt"] = Answer(
        status=status, headers={"Retry-After": "1"}, times=2, then=Answer(body=b"at last")
    )
    result = await run_cli(env)
    assert result.code == 0, result.output
    assert await stored(scenario) == {"rogo_1": b"at last"}


async def test_a_file_that_always_fails_fails_only_its_own_row(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 21)])
    scenario.serve_file("15.txt", b"never", status=500)
    result = await run_cli(env, ROGO_CONCURRENCY="2", deadline_s=170.0)
    assert result.code == 3, result.output
    assert counts(scenario.data_dir) == (19, 0, 0, 1)
    assert [entry["attempt"] for entry in result.events("outcome unknown")] == [15]


async def test_redirects_are_followed_within_the_host_only(
    scenario: Scenario, env: dict[str, str], stack: Stack
) -> None:
    await scenario.load([scenario.submission(1), scenario.submission(2), scenario.submission(3)])
    scenario.serve_file("moved.txt", b"moved here")
    scenario.source.routes["/1.txt"] = Answer(
        status=302, location=scenario.source.url("/moved.txt")
    )
    elsewhere = f"{stack.azurite.endpoint}/elsewhere/file.txt"
    scenario.source.routes["/2.txt"] = Answer(status=302, location=elsewhere)
    scenario.source.routes["/3.txt"] = Answer(status=301, location=scenario.source.url("/3.txt"))
    result = await run_cli(env)
    assert result.code == 1
    assert failures(scenario.data_dir / FAILED) == {"2": "source_refused", "3": "source_refused"}
    assert await stored(scenario) == {"rogo_1": b"moved here"}


async def test_rule_14_a_host_off_the_allow_list_is_never_requested(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(1)])
    env["ROGO_SOURCE_HOSTS"] = "files.example"
    env.pop("ROGO_SOURCE_SAS_TOKEN")
    result = await run_cli(env)
    assert result.code == 1
    assert failures(scenario.data_dir / FAILED) == {"1": "source_not_allowed"}
    assert scenario.source.requests == []
    assert await scenario.nothing_written()


async def test_a_sas_is_sent_only_to_its_own_host(scenario: Scenario, env: dict[str, str]) -> None:
    await scenario.load([scenario.submission(1)])
    await run_cli(env)
    assert scenario.source.requests == [("GET", "/1.txt")]
    assert scenario.source.queries == [""]


async def test_blobs_of_a_failed_row_are_deleted(scenario: Scenario, env: dict[str, str]) -> None:
    made = scenario.submission(1)
    made.cells["Learner Azure Blob URLs"] = ",".join(
        (scenario.serve_file("good.txt", b"good"), scenario.serve_file("gone.txt", b"", status=404))
    )
    await scenario.load([made])
    result = await run_cli(env)
    assert result.code == 1
    assert failures(scenario.data_dir / FAILED) == {"1": "source_file_missing"}
    assert await scenario.nothing_written()


async def test_rule_14_nine_refusals_in_a_row_fail_their_rows(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 10)])
    for attempt in range(1, 10):
        scenario.serve_file(f"{attempt}.txt", b"", status=403)
    result = await run_cli(env)
    assert result.code == 1
    assert set(failures(scenario.data_dir / FAILED).values()) == {"source_forbidden"}
    assert counts(scenario.data_dir) == (0, 9, 0, 0)


@pytest.mark.parametrize("status", [401, 403])
async def test_rule_14_ten_refusals_in_a_row_stop_the_run(
    scenario: Scenario, env: dict[str, str], status: int
) -> None:
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 31)])
    for attempt in range(1, 31):
        scenario.serve_file(f"{attempt}.txt", b"", status=status)
    result = await run_cli(env, ROGO_OUTAGE_LIMIT="3")
    assert result.code == 3, result.output
    assert "refuses every file" in result.stdout
    assert counts(scenario.data_dir) == (0, 0, 0, 30)
    assert table(scenario.data_dir / FAILED) == []


async def test_rule_14_refusals_that_end_in_time_fail_no_row(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 61)])
    for attempt in range(1, 61):
        scenario.source.routes[f"/{attempt}.txt"] = Answer(
            status=403, times=1, then=Answer(body=b"file %d" % attempt)
        )
    result = await run_cli(env, ROGO_CONCURRENCY="40")
    assert counts(scenario.data_dir)[0] + counts(scenario.data_dir)[1] == 60, result.output
    assert counts(scenario.data_dir)[1] <= 20, result.output
    assert result.events("outage began")
    await assert_consistent(scenario)
