"""The destination with a SAS: which permissions each command needs (docs/security.md)."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import (
    AccountSasPermissions,
    ContainerSasPermissions,
    ResourceTypes,
    generate_account_sas,
    generate_container_sas,
)

from rogo_async.demo.servers.azurite import Azurite
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.check_fixtures import load_valid_setup
from tests.support.cli import counts, run_cli, summary
from tests.support.secure_store import SecureContainer

LETTERS = {"r": "read", "c": "create", "w": "write", "d": "delete", "l": "list"}


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await load_valid_setup(made)
    return made


def expiry() -> datetime:
    return datetime.now(UTC) + timedelta(hours=1)


def container_sas(
    azurite: Azurite, container: str, letters: str, protocol: str | None = None
) -> str:
    return generate_container_sas(
        azurite.account_name,
        container,
        account_key=azurite.account_key,
        permission=ContainerSasPermissions(**{LETTERS[letter]: True for letter in letters}),
        expiry=expiry(),
        protocol=protocol,
    )


def with_sas(azurite: Azurite, sas: str) -> dict[str, str]:
    """The setting for a SAS."""
    text = f"BlobEndpoint={azurite.endpoint}/;SharedAccessSignature={sas}"
    return {"AZURE_STORAGE_CONNECTION_STRING": text}


async def test_a_container_sas_with_least_permissions_is_enough_for_each_command(
    scenario: Scenario, env: dict[str, str]
) -> None:
    azurite, container = scenario.stack.azurite, scenario.workspace.container
    scenario.serve_file("1.txt", b"0123456789" * 1_000_000)  # stored in blocks

    def site(letters: str, prefix: str = "") -> dict[str, str]:
        return env | with_sas(azurite, prefix + container_sas(azurite, container, letters))

    checked = await run_cli(site("rwdl", "?"), "check")
    assert checked.code == 0, checked.output
    result = await run_cli(site("rwd"))
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (2, 0, 0, 0)
    verified = await run_cli(site("r"), "verify")
    assert verified.code == 0, verified.output
    async with scenario.target() as target:
        await target.execute("DELETE FROM submission_files")
    listed = await run_cli(site("rl"), "sweep", "--min-age", "0")
    assert listed.code == 1, listed.output
    assert "2 orphans" in listed.stdout
    deleted = await run_cli(site("rdl"), "sweep", "--delete", "--min-age", "0")
    assert deleted.code == 0, deleted.output
    assert await scenario.blobs() == []


async def test_a_container_sas_is_enough_for_a_rollback(
    scenario: Scenario, env: dict[str, str]
) -> None:
    azurite, container = scenario.stack.azurite, scenario.workspace.container
    site = env | with_sas(azurite, container_sas(azurite, container, "rcwdl"))
    assert (await run_cli(site)).code == 0
    least = env | with_sas(azurite, container_sas(azurite, container, "rdl"))
    run_id = summary(scenario.data_dir)["run_id"]
    undone = await run_cli(least, "rollback", "--run", run_id, "--yes")
    assert undone.code == 0, undone.output
    assert await scenario.blobs() == []
    assert await scenario.attempts() == []


@pytest.mark.parametrize(
    ("letters", "says"),
    [
        ("wdl", "a permission is missing"),
        ("rdl", "no permission to write"),
        ("rwl", "no permission to delete (status 403 (AuthorizationPermissionMismatch))"),
        ("rwd", "no permission to list"),
    ],
)
async def test_check_names_a_missing_permission(
    scenario: Scenario, env: dict[str, str], letters: str, says: str
) -> None:
    azurite, container = scenario.stack.azurite, scenario.workspace.container
    sas = container_sas(azurite, container, letters)
    checked = await run_cli(env | with_sas(azurite, sas), "check")
    assert checked.code == 1, checked.output
    assert says in checked.stdout
    assert "read, write, create, delete and list" in checked.stdout
    assert sas.rpartition("sig=")[2] not in checked.output


async def test_a_missing_container_is_told_apart_from_refused_credentials(
    scenario: Scenario, env: dict[str, str]
) -> None:
    azurite = scenario.stack.azurite
    site = env | with_sas(azurite, container_sas(azurite, "absent", "rcwdl"))
    result = await run_cli(site, ROGO_CONTAINER="absent")
    assert result.code == 2
    assert "no such container" in result.messages[0]
    other = await run_cli(site)
    assert other.code == 2
    assert "no such container" not in other.messages[0]


async def test_an_account_sas_works(scenario: Scenario, env: dict[str, str]) -> None:
    azurite = scenario.stack.azurite
    sas = generate_account_sas(
        azurite.account_name,
        azurite.account_key,
        ResourceTypes(container=True, object=True),
        AccountSasPermissions(read=True, create=True, write=True, delete=True, list=True),
        expiry(),
    )
    site = env | with_sas(azurite, sas)
    checked = await run_cli(site, "check")
    assert checked.code == 0, checked.output
    result = await run_cli(site)
    assert result.code == 0, result.output


async def test_a_sas_for_https_only(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    azurite = secure_container.store.azurite
    sas = container_sas(azurite, secure_container.name, "rcwdl", protocol="https")
    site = secure_container.environment(env, **with_sas(azurite, sas))
    result = await run_cli(site)
    assert result.code == 0, result.output
    assert len(await secure_container.names()) == 2
    plain = scenario.stack.azurite
    refused = container_sas(plain, scenario.workspace.container, "rcwdl", protocol="https")
    again = await run_cli(env | with_sas(plain, refused))
    assert again.code == 2
    assert "https" in again.messages[0]
