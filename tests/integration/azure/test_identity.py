"""The destination with an identity: the access token authorizes each request (specification §4)."""

import asyncio
from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.certificates import Authority
from tests.support.cli import NEW_INTERPRETER, counts, run_cli, start_cli, summary
from tests.support.identity_endpoint import SECRET, IdentityEndpoint
from tests.support.secure_store import SecureContainer

ROWS = 30
TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "66666666-7777-8888-9999-000000000000"
CLIENT_SECRET = "client-secret-canary"


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, ROWS + 1)])
    return made


async def test_a_managed_identity_is_enough_for_every_command(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    large = b"0123456789" * 1_000_000  # stored in blocks
    scenario.serve_file("1.txt", large)
    async with IdentityEndpoint() as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        checked = await run_cli(site, "check")
        assert checked.code == 0, checked.output
        result = await run_cli(site)
        assert result.code == 0, result.output
        assert len(await secure_container.names()) == ROWS
        assert endpoint.issued == 2  # one for each process
        verified = await run_cli(site, "verify")
        assert verified.code == 0, verified.output
        run_id = summary(scenario.data_dir)["run_id"]
        swept = await run_cli(site, "sweep", "--delete", "--min-age", "0")
        assert swept.code == 0, swept.output
        undone = await run_cli(site, "rollback", "--run", run_id, "--yes")
        assert undone.code == 0, undone.output
    assert await secure_container.names() == []
    for each in (checked, result, verified, swept, undone):
        assert SECRET not in each.output
        assert "eyJ" not in each.output


async def test_a_token_that_expires_during_a_run_is_renewed(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    for attempt in range(1, ROWS + 1):
        scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt, delay_s=0.5)
    async with IdentityEndpoint(life_s=3) as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        result = await run_cli(site, ROGO_CONCURRENCY="4")
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    assert endpoint.issued >= 3  # the files alone take almost four seconds


async def test_a_token_that_the_store_refuses_is_renewed_once(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    """The stated life of a token is wrong when it is revoked, or when the clocks differ."""
    for attempt in range(1, ROWS + 1):
        scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt, delay_s=0.5)
    async with IdentityEndpoint(life_s=3, stated_life_s=3600) as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        result = await run_cli(site, ROGO_CONCURRENCY="4")
        assert result.code == 0, result.output
        assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
        assert endpoint.issued >= 2
        verified = await run_cli(site, "verify")
        assert verified.code == 0, verified.output


async def test_an_identity_endpoint_that_is_down_at_start_is_retried(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    async with IdentityEndpoint() as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        await endpoint.stop()
        async with start_cli(site) as command:
            waiting = await command.wait_for_event("waiting")
            assert "managed identity" in waiting["reason"]
            await endpoint.start()
            result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)


async def test_an_identity_endpoint_that_stays_down_ends_the_run(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    async with IdentityEndpoint(status=503) as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        result = await run_cli(site, ROGO_OUTAGE_LIMIT="2")
    assert result.code == 3, result.output
    assert "no token for the managed identity (status 503)" in result.stdout
    assert counts(scenario.data_dir) == (0, 0, 0, ROWS)


async def test_an_identity_endpoint_that_fails_during_a_run_is_an_outage(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    for attempt in range(1, ROWS + 1):
        scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt, delay_s=0.5)
    async with IdentityEndpoint(life_s=2) as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        async with start_cli(site, ROGO_CONCURRENCY="4") as command:
            await command.wait_for_event("migration begins")
            endpoint.status = 500
            began = await command.wait_for_event("outage began")
            assert "managed identity" in began["reason"]
            await asyncio.sleep(0.5)
            endpoint.status = 200
            result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)


@pytest.mark.parametrize("status", [400, 403])
async def test_an_identity_that_is_not_assigned_is_refused_at_start(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer, status: int
) -> None:
    async with IdentityEndpoint(status=status) as endpoint:
        site = secure_container.with_identity(env) | endpoint.environment
        result = await run_cli(site, AZURE_CLIENT_ID=CLIENT)
        checked = await run_cli(site, "check", AZURE_CLIENT_ID=CLIENT)
    assert result.code == 2, result.output
    (line,) = result.messages
    assert f"no token for the managed identity (status {status})" in line
    assert "AZURE_CLIENT_ID" in line
    assert {request["client_id"] for request in endpoint.requests} == {CLIENT}
    assert checked.code == 1, checked.output
    assert "Assign an identity to this machine" in checked.stdout
    assert await scenario.nothing_written()


async def test_a_service_principal_and_a_workload_identity_get_their_token_from_the_authority(
    scenario: Scenario,
    env: dict[str, str],
    secure_container: SecureContainer,
    tmp_path: Path,
) -> None:
    assertion = tmp_path / "federated-token"
    assertion.write_text("federated-token-canary", encoding="utf-8")
    certificate = secure_container.store.authority.server()
    async with IdentityEndpoint(certificate=certificate) as authority:
        site = secure_container.with_identity(env) | {
            "AZURE_AUTHORITY_HOST": authority.origin,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
        }
        result = await run_cli(
            site, "check", prefix=NEW_INTERPRETER, AZURE_CLIENT_SECRET=CLIENT_SECRET
        )
        assert result.code == 0, result.output
        (principal, *_) = authority.requests
        assert principal["client_secret"] == CLIENT_SECRET
        authority.requests.clear()
        workload = await run_cli(site, AZURE_FEDERATED_TOKEN_FILE=str(assertion))
        assert workload.code == 0, workload.output
        (request, *_) = authority.requests
    assert request["tenant"] == TENANT
    assert request["client_id"] == CLIENT
    assert request["client_assertion"] == "federated-token-canary"
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    for each in (result, workload):
        assert CLIENT_SECRET not in each.output
        assert "canary" not in each.output


async def test_check_reports_an_identity_in_the_env_file(
    scenario: Scenario, env: dict[str, str]
) -> None:
    path = scenario.data_dir / ".env"
    path.write_text(f"AZURE_CLIENT_ID={CLIENT}\nSSL_CERT_FILE=/ca.pem\n", encoding="utf-8")
    path.chmod(0o600)
    result = await run_cli(env, "check")
    assert result.code == 0, result.output
    text = "warn settings: AZURE_CLIENT_ID, SSL_CERT_FILE in .env: read from the environment only"
    assert text in result.stdout


async def test_a_refused_service_principal_is_reported_with_its_number(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    certificate = secure_container.store.authority.server()
    body = {"error": "invalid_client", "error_description": "AADSTS7000222: keys are expired"}
    async with IdentityEndpoint(certificate=certificate, status=401, body=body) as authority:
        result = await run_cli(
            secure_container.with_identity(env),
            AZURE_AUTHORITY_HOST=authority.origin,
            AZURE_TENANT_ID=TENANT,
            AZURE_CLIENT_ID=CLIENT,
            AZURE_CLIENT_SECRET=CLIENT_SECRET,
        )
    assert result.code == 2, result.output
    assert "no token for the service principal (AADSTS7000222)" in result.messages[0]
    assert CLIENT_SECRET not in result.output


async def test_an_unreadable_federated_token_names_the_setting(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    result = await run_cli(
        secure_container.with_identity(env),
        AZURE_TENANT_ID=TENANT,
        AZURE_CLIENT_ID=CLIENT,
        AZURE_FEDERATED_TOKEN_FILE="/nonexistent/token",
    )
    assert result.code == 2, result.output
    assert "workload identity (No such file or directory)" in result.messages[0]
    assert "AZURE_FEDERATED_TOKEN_FILE" in result.messages[0]


async def test_an_authority_with_an_untrusted_certificate_is_reported(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer, tmp_path: Path
) -> None:
    certificate = Authority.create(tmp_path / "other").server()
    async with IdentityEndpoint(certificate=certificate) as authority:
        result = await run_cli(
            secure_container.with_identity(env),
            AZURE_AUTHORITY_HOST=authority.origin,
            AZURE_TENANT_ID=TENANT,
            AZURE_CLIENT_ID=CLIENT,
            AZURE_CLIENT_SECRET=CLIENT_SECRET,
        )
    assert result.code == 2, result.output
    assert "the certificate of 127.0.0.1 is not trusted" in result.messages[0]
    assert "SSL_CERT_FILE" in result.messages[0]
