"""What the answers of a source lead to: headers of the file, codes of Azure, SAS (rule 14)."""

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from azure.storage.blob import BlobProperties

from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.sources.http_files import BLOCK_BYTES
from tests.support.builders import Scenario
from tests.support.cli import FAILED, failures, run_cli, summary, table

TEXT = b"the essay of a learner\n"
GZIPPED = gzip.compress(TEXT * 400_000, mtime=0)


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


def message_of_row(scenario: Scenario) -> str:
    """The column Error of the only failed row."""
    (row,) = table(scenario.data_dir / FAILED)
    return row["Error"]


async def load_with(scenario: Scenario, answer: Mapping[str, Any], *, query: str = "") -> None:
    """Load one submission whose file is served so."""
    made = scenario.submission(1)
    url = scenario.serve_file("1.txt", **answer)
    made.cells["Learner Azure Blob URLs"] = url + query
    await scenario.load([made])


async def blob_of(scenario: Scenario) -> tuple[BlobProperties, bytes]:
    """Properties and stored bytes of the only blob."""
    async with scenario.container() as container:
        (name,) = await scenario.blobs()
        client = container.get_blob_client(name)
        properties = await client.get_blob_properties()
        loaded = await client.download_blob(decompress=False)
        return properties, await loaded.readall()


@pytest.mark.parametrize(
    ("stated", "stored"),
    [("gzip", "gzip"), ("GZIP", "gzip"), ("gzip, br", "gzip, br"), ("identity", None)],
)
async def test_rule_14_an_encoded_file_keeps_its_encoding(
    scenario: Scenario, env: dict[str, str], stated: str, stored: str | None
) -> None:
    body = gzip.compress(TEXT)
    headers = {
        "Content-Encoding": stated,
        "Content-Language": "en-GB",
        "Cache-Control": "public, max-age=600",
        "Content-Disposition": 'attachment; filename="old name.docx"',
    }
    await load_with(scenario, {"body": body, "headers": headers})

    assert (await run_cli(env, "run")).code == 0

    properties, stored_bytes = await blob_of(scenario)
    settings = properties.content_settings
    assert settings.content_encoding == stored
    assert settings.content_language == "en-GB"
    assert settings.cache_control is None
    assert settings.content_disposition is None
    assert stored_bytes == body
    assert (await run_cli(env, "verify")).code == 0


async def test_rule_14_a_large_encoded_file_keeps_its_encoding(
    scenario: Scenario, env: dict[str, str]
) -> None:
    body = GZIPPED + bytes(BLOCK_BYTES)
    await load_with(scenario, {"body": body, "headers": {"Content-Encoding": "gzip"}})
    assert (await run_cli(env, "run")).code == 0
    properties, stored_bytes = await blob_of(scenario)
    assert properties.content_settings.content_encoding == "gzip"
    assert stored_bytes == body
    assert (await run_cli(env, "verify")).code == 0


@pytest.mark.parametrize("encoded_first", [False, True])
async def test_rule_14_a_file_that_is_read_again_has_the_headers_of_its_bytes(
    scenario: Scenario, env: dict[str, str], *, encoded_first: bool
) -> None:
    """The first answer is cut, and another server sends the second one."""
    await load_with(scenario, {})
    plain: dict[str, Any] = {"body": TEXT, "headers": {}}
    encoded: dict[str, Any] = {"body": gzip.compress(TEXT), "headers": {"Content-Encoding": "gzip"}}
    first, second = (encoded, plain) if encoded_first else (plain, encoded)
    scenario.source.routes["/1.txt"] = Answer(
        **first, truncate_at=5, times=1, then=Answer(**second)
    )
    assert (await run_cli(env, "run")).code == 0
    properties, stored_bytes = await blob_of(scenario)
    assert stored_bytes == second["body"]
    assert properties.content_settings.content_encoding == (None if encoded_first else "gzip")


async def test_rule_14_a_file_of_unknown_encoding_fails(
    scenario: Scenario, env: dict[str, str]
) -> None:
    headers = {"Content-Encoding": "no encoding"}
    await load_with(scenario, {"body": TEXT, "headers": headers})
    assert (await run_cli(env, "run")).code == 1
    assert failures(scenario.data_dir / FAILED) == {"1": "source_refused"}
    assert "invalid Content-Encoding" in message_of_row(scenario)
    assert await scenario.nothing_written()


@pytest.mark.parametrize("status", [507, 520, 524, 425])
async def test_rule_14_an_unknown_5xx_is_retried(
    scenario: Scenario, env: dict[str, str], status: int
) -> None:
    await load_with(scenario, {})
    scenario.source.routes["/1.txt"] = Answer(status=status, times=2, then=Answer(body=TEXT))
    assert (await run_cli(env, "run")).code == 0
    assert summary(scenario.data_dir)["migrated"] == 1


async def test_rule_14_a_date_in_retry_after_is_awaited(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await load_with(scenario, {})
    until = datetime.now(UTC) + timedelta(seconds=6)
    headers = {"Retry-After": format_datetime(until, usegmt=True)}
    scenario.source.routes["/1.txt"] = Answer(
        status=503, headers=headers, times=1, then=Answer(body=TEXT)
    )
    assert (await run_cli(env, "run")).code == 0
    assert datetime.now(UTC) >= until.replace(microsecond=0)
    assert len(scenario.source.requests) == 2


@pytest.mark.parametrize(
    ("status", "code"), [(409, "PublicAccessNotPermitted"), (404, "ResourceNotFound")]
)
async def test_rule_14_an_account_without_anonymous_access_stops_the_run(
    scenario: Scenario, env: dict[str, str], status: int, code: str
) -> None:
    await scenario.load([scenario.submission(attempt) for attempt in range(1, 31)])
    for attempt in range(1, 31):
        scenario.serve_file(f"{attempt}.txt", b"", status=status, headers={"x-ms-error-code": code})
    checked = await run_cli(env, "check")
    assert checked.code == 1
    assert f"{code}: the account does not allow access without a SAS" in checked.output
    result = await run_cli(env, "run", ROGO_OUTAGE_LIMIT="3")
    assert result.code == 3, result.output
    assert f"refuses every file ({scenario.source.origin} answered {status} ({code}" in (
        result.stdout
    )
    assert table(scenario.data_dir / FAILED) == []


@pytest.mark.parametrize(
    ("pending", "code", "advice"),
    [
        (None, "BlobArchived", "Rehydrate its blob to the tier Hot, Cool or Cold"),
        ("rehydrate-pending-to-hot", "BlobBeingRehydrated", "Wait until this is done"),
    ],
)
async def test_rule_14_an_archived_file_is_predicted_and_explained(
    scenario: Scenario, env: dict[str, str], pending: str | None, code: str, advice: str
) -> None:
    head = {"x-ms-access-tier": "Archive"}
    if pending is not None:
        head["x-ms-archive-status"] = pending
    await load_with(scenario, {"headers": head})

    assert advice in (await run_cli(env, "check")).output
    assert (await run_cli(env, "plan")).code == 1
    planned = (scenario.data_dir / "plan.csv").read_text(encoding="utf-8")
    assert "source_refused" in planned
    assert advice in planned

    scenario.serve_file("1.txt", b"", status=409, headers={"x-ms-error-code": code})
    assert (await run_cli(env, "run")).code == 1
    assert failures(scenario.data_dir / FAILED) == {"1": "source_refused"}
    message = message_of_row(scenario)
    assert code in message
    assert advice in message


OWN_SAS = "?sv=2021-12-02&se=2025-01-31T00%3A00%3A00Z&sr=b&sp=r&sig=inside"


async def test_rule_14_the_configured_sas_replaces_one_that_is_refused(
    scenario: Scenario, env: dict[str, str]
) -> None:
    await load_with(scenario, {}, query=OWN_SAS)
    scenario.source.accepted_query = "sig=configured"
    for command in ("plan", "run"):
        token = f"{scenario.source.origin}=sig=configured"
        result = await run_cli(env, command, ROGO_SOURCE_SAS_TOKEN=token)
        assert result.code == 0, result.output
    assert summary(scenario.data_dir)["migrated"] == 1
    assert set(scenario.source.queries) == {OWN_SAS[1:], "sig=configured"}


@pytest.mark.parametrize("token", [None, "sig=wrong"])
async def test_rule_14_the_sas_that_expired_is_named(
    scenario: Scenario, env: dict[str, str], token: str | None
) -> None:
    await load_with(scenario, {}, query=OWN_SAS)
    scenario.source.accepted_query = "sig=configured"
    if token is not None:
        env["ROGO_SOURCE_SAS_TOKEN"] = f"{scenario.source.origin}={token}"
    result = await run_cli(env, "run")
    assert result.code == 1
    assert failures(scenario.data_dir / FAILED) == {"1": "source_forbidden"}
    message = message_of_row(scenario)
    assert "the SAS inside the URL expired on 2025-01-31T00:00:00Z" in message
    expected = "was refused, too" if token else "ROGO_SOURCE_SAS_TOKEN has no SAS for this host"
    assert expected in message
    assert "inside&" not in result.output
    assert "sig=" not in message
