"""What the store refuses: certificates, roles, tokens. Each is found at start, with its remedy."""

from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.certificates import Authority, server_context
from tests.support.cli import run_cli
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.raw_server import RawServer, raw_server, responding
from tests.support.secure_store import SecureContainer

CHALLENGE = (
    "WWW-Authenticate: Bearer authorization_uri=https://login.microsoftonline.com/"
    "11111111-2222-3333-4444-555555555555/oauth2/authorize resource_id=https://storage.azure.com"
)


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(1)])
    return made


def refusal(status: int, code: str, *headers: str) -> bytes:
    """An answer of the store; the answer to HEAD has no body."""
    lines = [f"HTTP/1.1 {status} Refused", f"x-ms-error-code: {code}", "Content-Length: 0"]
    return "\r\n".join([*lines, *headers, "", ""]).encode()


def site_of(
    server: RawServer, env: dict[str, str], container: SecureContainer, endpoint: IdentityEndpoint
) -> dict[str, str]:
    """An environment whose store is the server."""
    url = f"https://localhost:{server.origin[2]}/account1"
    site = container.environment(
        env, AZURE_STORAGE_ACCOUNT_NAME="account1", AZURE_STORAGE_SERVICE_ENDPOINT=url
    )
    return site | endpoint.environment


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (403, "AuthorizationPermissionMismatch", "Storage Blob Data Contributor"),
        (403, "AuthorizationFailure", "firewall"),
        (403, "KeyBasedAuthenticationNotPermitted", "does not accept keys"),
        (403, "SomethingNew", "status 403 (SomethingNew): credentials refused"),
        (404, "ContainerNotFound", "no such container"),
    ],
)
async def test_a_refusal_names_its_cause_and_remedy(
    scenario: Scenario,
    env: dict[str, str],
    secure_container: SecureContainer,
    status: int,
    code: str,
    says: str,
) -> None:
    tls = server_context(secure_container.store.authority.server())
    async with (
        raw_server(responding(refusal(status, code)), tls=tls) as server,
        IdentityEndpoint() as endpoint,
    ):
        site = site_of(server, env, secure_container, endpoint)
        result = await run_cli(site)
        checked = await run_cli(site, "check")
    assert result.code == 2, result.output
    (line,) = result.messages
    assert says in line
    assert endpoint.issued == 2  # one for each command: only an invalid token is renewed
    assert checked.code == 1, checked.output
    assert says in checked.stdout
    assert await scenario.nothing_written()


@pytest.mark.parametrize(
    ("status", "code"), [(401, "InvalidAuthenticationInfo"), (403, "AuthenticationFailed")]
)
async def test_a_token_that_is_refused_twice_ends_the_start(
    scenario: Scenario,
    env: dict[str, str],
    secure_container: SecureContainer,
    status: int,
    code: str,
) -> None:
    tls = server_context(secure_container.store.authority.server())
    answer = refusal(status, code, CHALLENGE)
    async with (
        raw_server(responding(answer), tls=tls) as server,
        IdentityEndpoint() as endpoint,
    ):
        result = await run_cli(site_of(server, env, secure_container, endpoint))
    assert result.code == 2, result.output
    assert f"status {status} ({code})" in result.messages[0]
    assert endpoint.issued == 2


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("authority", "unable to get local issuer certificate"),
        ("name", "not valid for '127.0.0.1'"),
        ("expired", "certificate has expired"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_refused_at_start(
    scenario: Scenario,
    env: dict[str, str],
    secure_container: SecureContainer,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    says: str,
) -> None:
    other: Path = tmp_path_factory.mktemp("other")
    trusted = secure_container.store.authority
    certificate = {
        "authority": lambda: Authority.create(other).server(),
        "name": lambda: trusted.server("files.example"),
        "expired": lambda: trusted.server(expired=True),
    }[kind]()
    async with raw_server(responding(b""), tls=server_context(certificate)) as server:
        site = secure_container.environment(
            env,
            AZURE_STORAGE_ACCOUNT_NAME="account1",
            AZURE_STORAGE_ACCOUNT_KEY="a2V5",
            AZURE_STORAGE_SERVICE_ENDPOINT=f"https://127.0.0.1:{server.origin[2]}/account1",
        )
        result = await run_cli(site)
        checked = await run_cli(site, "check")
    assert result.code == 2, result.output
    (line,) = result.messages
    assert "store: the certificate of 127.0.0.1 is not trusted (" in line
    assert says in line
    assert "SSL_CERT_FILE" in line
    assert checked.code == 1, checked.output
    assert says in checked.stdout
