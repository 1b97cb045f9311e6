"""AZURE_STORAGE_SERVICE_ENDPOINT: other clouds, private endpoints and custom domains."""

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import load_valid_setup
from tests.support.cli import run_cli
from tests.support.http_proxy import HttpProxy
from tests.support.secure_store import SecureContainer


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await load_valid_setup(made)
    return made


async def test_an_account_key_signs_for_an_endpoint_of_another_form(
    scenario: Scenario, env: dict[str, str]
) -> None:
    azurite = scenario.stack.azurite
    del env["AZURE_STORAGE_CONNECTION_STRING"]
    site = env | {
        "AZURE_STORAGE_ACCOUNT_NAME": azurite.account_name,
        "AZURE_STORAGE_ACCOUNT_KEY": azurite.account_key,
        "AZURE_STORAGE_SERVICE_ENDPOINT": f"{azurite.endpoint}/",
    }
    checked = await run_cli(site, "check")
    assert checked.code == 0, checked.output
    result = await run_cli(site)
    assert result.code == 0, result.output
    assert (await run_cli(site, "verify")).code == 0
    for row in await scenario.rows("submission_files"):
        assert row["azure_blob_url"] == row["file_url"]
        assert row["file_url"] == (
            f"{azurite.endpoint}/{scenario.workspace.container}/{row['azure_blob_name']}"
        )


async def test_the_host_of_an_account_in_azure_is_the_default(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    """The proxy stands for name resolution: the tool requests the real host name."""
    store = secure_container.store
    site = secure_container.environment(
        env,
        AZURE_STORAGE_ACCOUNT_NAME=store.azurite.account_name,
        AZURE_STORAGE_ACCOUNT_KEY=store.azurite.account_key,
    )
    async with HttpProxy(addresses={f"{store.host}:443": store.azurite.port}) as proxy:
        result = await run_cli(site, HTTPS_PROXY=proxy.url)
    assert result.code == 0, result.output
    assert set(proxy.connected) == {f"{store.host}:443"}
    (row, *_) = await scenario.rows("submission_files")
    assert row["file_url"] == (
        f"https://{store.host}/{secure_container.name}/{row['azure_blob_name']}"
    )


async def test_the_endpoint_replaces_that_of_a_connection_string(
    scenario: Scenario, env: dict[str, str]
) -> None:
    azurite = scenario.stack.azurite
    text = (
        f"DefaultEndpointsProtocol=https;AccountName={azurite.account_name};"
        f"AccountKey={azurite.account_key};EndpointSuffix=core.windows.net"
    )
    result = await run_cli(
        env,
        AZURE_STORAGE_CONNECTION_STRING=text,
        AZURE_STORAGE_SERVICE_ENDPOINT=azurite.endpoint,
    )
    assert result.code == 0, result.output
    assert len(await scenario.blobs()) == 2


async def test_blobs_that_were_stored_by_another_endpoint_are_still_referenced(
    scenario: Scenario, env: dict[str, str]
) -> None:
    assert (await run_cli(env)).code == 0
    azurite = scenario.stack.azurite
    moved = env | {
        "AZURE_STORAGE_SERVICE_ENDPOINT": f"http://localhost:{azurite.port}/{azurite.account_name}"
    }
    swept = await run_cli(moved, "sweep", "--delete", "--min-age", "0")
    assert swept.code == 0, swept.output
    assert len(await scenario.blobs()) == 2
    assert (await run_cli(moved, "verify")).code == 0


@pytest.mark.parametrize("command", ["run", "check"])
async def test_an_identity_is_not_sent_over_http(
    scenario: Scenario, env: dict[str, str], command: str
) -> None:
    azurite = scenario.stack.azurite
    del env["AZURE_STORAGE_CONNECTION_STRING"]
    result = await run_cli(
        env,
        command,
        AZURE_STORAGE_ACCOUNT_NAME=azurite.account_name,
        AZURE_STORAGE_SERVICE_ENDPOINT=azurite.endpoint,
    )
    assert result.code == (2 if command == "run" else 1), result.output
    assert "AZURE_STORAGE_SERVICE_ENDPOINT: an identity needs https" in result.output


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://files.example.org", "unencrypted: use https"),
        ("files.example.org", "https://ACCOUNT"),
        ("https://account.blob.core.windows.net/?sig=canary", "query"),
        ("https://user:canary@files.example.org", "user name or password"),
        ("https://files.example.org/account/container", "container"),
        ("ftp://files.example.org", "https"),
        ("https://files.example.org:99999", "port"),
    ],
)
async def test_an_invalid_endpoint_is_refused(
    env: dict[str, str], endpoint: str, says: str
) -> None:
    result = await run_cli(env, AZURE_STORAGE_SERVICE_ENDPOINT=endpoint)
    assert result.code == 2
    (line,) = result.messages
    assert "AZURE_STORAGE_SERVICE_ENDPOINT: " in line
    assert says in line
    assert "canary" not in result.output
