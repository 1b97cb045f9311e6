"""HTTPS_PROXY, HTTP_PROXY and NO_PROXY apply to all HTTP requests (specification §4)."""

from pathlib import Path

import pytest

from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import FAILED, counts, run_cli, start_cli, summary, table
from tests.support.http_proxy import HttpProxy
from tests.support.identity_endpoint import IdentityEndpoint
from tests.support.secure_store import SecureContainer

ROWS = 20
PASSWORD = "proxy-password-canary"
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in range(1, ROWS + 1)])
    return made


@pytest.fixture
def site(env: dict[str, str], secure_container: SecureContainer) -> dict[str, str]:
    """The destination is a host that only the proxy can reach."""
    store = secure_container.store
    return secure_container.environment(
        env,
        AZURE_STORAGE_ACCOUNT_NAME=store.azurite.account_name,
        AZURE_STORAGE_ACCOUNT_KEY=store.azurite.account_key,
    )


@pytest.fixture
def proxy(secure_container: SecureContainer) -> HttpProxy:
    store = secure_container.store
    return HttpProxy(addresses={f"{store.host}:443": store.azurite.port})


async def test_every_request_goes_through_the_proxy_with_its_password(
    scenario: Scenario,
    env: dict[str, str],
    site: dict[str, str],
    proxy: HttpProxy,
    secure_container: SecureContainer,
) -> None:
    proxy.login = f"user:{PASSWORD}"
    scenario.serve_file("1.txt", b"0123456789" * 1_000_000)  # stored in blocks
    async with proxy:
        through = site | {"HTTPS_PROXY": proxy.url, "http_proxy": proxy.url}
        checked = await run_cli(through, "check")
        assert checked.code == 0, checked.output
        host = secure_container.store.host
        shown = f"http://127.0.0.1:{proxy.port}"
        assert f"store reachable through the proxy {shown} (HTTPS_PROXY)" in checked.stdout
        route = f"{scenario.source.origin} reachable through the proxy {shown} (HTTP_PROXY)"
        assert route in checked.stdout
        result = await run_cli(through)
        assert result.code == 0, result.output
        verified = await run_cli(through, "verify")
        assert verified.code == 0, verified.output
    assert set(proxy.connected) == {f"{host}:443"}
    assert len(proxy.forwarded) >= ROWS
    assert proxy.refused == 0
    assert len(await secure_container.names()) == ROWS
    assert b"sig=" not in b"".join(head for head in proxy.heads if head.startswith(b"CONNECT"))
    for each in (checked, result, verified):
        assert PASSWORD not in each.output


async def test_tokens_come_directly_from_the_machine_and_by_the_proxy_from_the_authority(
    scenario: Scenario, env: dict[str, str], proxy: HttpProxy, secure_container: SecureContainer
) -> None:
    site = secure_container.environment(
        env, AZURE_STORAGE_ACCOUNT_NAME=secure_container.store.azurite.account_name
    )
    certificate = secure_container.store.authority.server("login.microsoftonline.com")
    async with (
        proxy,
        IdentityEndpoint() as machine,
        IdentityEndpoint(certificate=certificate) as authority,
    ):
        proxy.addresses = {**proxy.addresses, "login.microsoftonline.com:443": authority.port}
        through = site | {"HTTPS_PROXY": proxy.url, "HTTP_PROXY": proxy.url}
        hosts = [scenario.source.origin, scenario.stack.azurite.origin]
        through["NO_PROXY"] = ",".join(host.removeprefix("http://") for host in hosts)
        managed = await run_cli(through | machine.environment, "check")
        assert managed.code == 0, managed.output
        assert f"{scenario.source.origin} reachable directly (NO_PROXY)" in managed.stdout
        assert machine.issued == 1
        assert proxy.forwarded == []
        result = await run_cli(
            through,
            AZURE_TENANT_ID="11111111-2222-3333-4444-555555555555",
            AZURE_CLIENT_ID="66666666-7777-8888-9999-000000000000",
            AZURE_CLIENT_SECRET="client-secret",
        )
    assert result.code == 0, result.output
    assert authority.issued == 1
    assert "login.microsoftonline.com:443" in proxy.connected
    assert proxy.forwarded == []


@pytest.mark.parametrize("command", ["run", "check"])
async def test_a_wrong_password_of_the_proxy_is_refused_at_start(
    scenario: Scenario, site: dict[str, str], proxy: HttpProxy, command: str
) -> None:
    proxy.login = "user:right"
    async with proxy:
        wrong = proxy.url.replace("right", PASSWORD)
        result = await run_cli(site, command, HTTPS_PROXY=wrong, HTTP_PROXY=wrong)
    assert result.code == (2 if command == "run" else 1), result.output
    text = "\n".join([result.stdout, *result.messages])
    assert f"the proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY) answered 407" in text
    assert "user name and password" in text
    if command == "check":
        assert f"the proxy http://127.0.0.1:{proxy.port} (HTTP_PROXY) answered 407" in text
    assert PASSWORD not in result.output
    assert await scenario.nothing_written()


async def test_a_proxy_that_forbids_a_host_is_refused_at_start(
    scenario: Scenario, site: dict[str, str], proxy: HttpProxy, secure_container: SecureContainer
) -> None:
    proxy.status = 403
    async with proxy:
        result = await run_cli(site, HTTPS_PROXY=proxy.url)
    assert result.code == 2, result.output
    host = secure_container.store.host
    assert f"(HTTPS_PROXY) answered 403 to a request for {host}:443" in result.messages[0]
    assert f"add {host} to NO_PROXY" in result.messages[0]


async def test_a_proxy_that_refuses_the_request_for_a_token_is_named(
    scenario: Scenario, env: dict[str, str], proxy: HttpProxy, secure_container: SecureContainer
) -> None:
    """The store is reached directly, the authority by a proxy without the right password."""
    proxy.login = "user:right"
    async with proxy:
        result = await run_cli(
            secure_container.with_identity(env),
            HTTPS_PROXY=f"http://127.0.0.1:{proxy.port}",
            NO_PROXY="127.0.0.1",
            AZURE_TENANT_ID="11111111-2222-3333-4444-555555555555",
            AZURE_CLIENT_ID="66666666-7777-8888-9999-000000000000",
            AZURE_CLIENT_SECRET="client-secret",
        )
    assert result.code == 2, result.output
    (line,) = result.messages
    assert f"the proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY) answered 407" in line
    assert "login.microsoftonline.com:443" in line


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (None, "cannot be reached: the connection failed (Connection refused)"),
        (503, "answered 503"),
    ],
)
async def test_a_proxy_that_is_down_is_waited_for(
    scenario: Scenario,
    site: dict[str, str],
    proxy: HttpProxy,
    status: int | None,
    says: str,
) -> None:
    await proxy.start()
    if status is None:
        await proxy.stop()
    else:
        proxy.status = status
    stopped = await run_cli(site, HTTPS_PROXY=proxy.url, ROGO_OUTAGE_LIMIT="2")
    assert stopped.code == 3, stopped.output
    assert f"the proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY) {says}" in stopped.stdout
    assert counts(scenario.data_dir) == (0, 0, 0, ROWS)
    async with start_cli(site, HTTPS_PROXY=proxy.url) as command:
        await command.wait_for_event("waiting")
        proxy.status = 200
        if status is None:
            await proxy.start()
        result = await command.wait()
    await proxy.stop()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)


@pytest.mark.parametrize("status", [None, 403, 407, 502])
async def test_a_proxy_that_fails_during_a_run_fails_no_row(
    scenario: Scenario, site: dict[str, str], proxy: HttpProxy, status: int | None
) -> None:
    for attempt in range(1, ROWS + 1):
        scenario.serve_file(f"{attempt}.txt", b"text %d" % attempt, delay_s=0.3)
    async with (
        proxy,
        start_cli(site, ROGO_CONCURRENCY="2", HTTPS_PROXY=proxy.url) as command,
    ):
        await command.wait_for_event("migration begins")
        await proxy.stop()
        if status is not None:
            proxy.status = status
            await proxy.start()
        began = await command.wait_for_event("outage began")
        assert f"the proxy http://127.0.0.1:{proxy.port}" in began["reason"]
        proxy.status = 200
        if status is None:
            await proxy.start()
        result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    assert table(scenario.data_dir / FAILED) == []


async def test_no_proxy_excepts_the_store(
    scenario: Scenario, env: dict[str, str], secure_container: SecureContainer
) -> None:
    """A proxy that nobody listens at, and servers that are excepted by host, network and port."""
    site = secure_container.environment(
        env,
        AZURE_STORAGE_CONNECTION_STRING=secure_container.store.azurite.connection_string,
        HTTPS_PROXY="http://127.0.0.1:1",
        HTTP_PROXY="http://127.0.0.1:1",
        NO_PROXY="localhost, 127.0.0.0/8",
    )
    result = await run_cli(site)
    assert result.code == 0, result.output
    checked = await run_cli(site, "check")
    assert checked.code == 0, checked.output
    assert "store reachable directly (NO_PROXY)" in checked.stdout
    assert len(await secure_container.names()) == ROWS


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("proxy.example:3128", "proxy.example:3128"),
        (f"socks5://user:{PASSWORD}@proxy.example:1080", "socks5://proxy.example:1080"),
        ("http://proxy.example:port", "http://proxy.example:port"),
    ],
)
async def test_a_malformed_proxy_is_refused_by_the_name_of_its_variable(
    env: dict[str, str], variable: str, value: str, shown: str
) -> None:
    result = await run_cli(env | {variable: value})
    assert result.code == 2, result.output
    (line,) = result.messages
    assert f"{variable.upper()}: {shown} is not the URL of a proxy" in line
    assert PASSWORD not in result.output


async def test_check_reports_a_malformed_proxy_and_skips_what_needs_it(
    scenario: Scenario, env: dict[str, str]
) -> None:
    result = await run_cli(env, "check", https_proxy=f"user:{PASSWORD}@proxy:3128")
    assert result.code == 2, result.output
    assert "FAIL settings: HTTPS_PROXY: proxy:3128 is not the URL of a proxy" in result.stdout
    assert "reach skipped: needs settings.HTTPS_PROXY" in result.stdout
    assert PASSWORD not in result.output


@pytest.mark.parametrize("kind", ["login", "malformed", "directory"])
async def test_the_netrc_file_is_not_read(
    scenario: Scenario,
    env: dict[str, str],
    secure_container: SecureContainer,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
) -> None:
    home: Path = tmp_path_factory.mktemp("home")
    netrc = home / ".netrc"
    if kind == "directory":
        netrc.mkdir()
    else:
        text = "machine 127.0.0.1 login me password canary\n"
        netrc.write_text(text if kind == "login" else "machine\nfoo {", encoding="utf-8")
    async with IdentityEndpoint() as endpoint, HttpProxy() as proxy:
        site = secure_container.with_identity(env) | endpoint.environment
        result = await run_cli(site, HOME=str(home), HTTP_PROXY=proxy.url)
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)
    assert len(proxy.heads) >= ROWS
    assert not any(b"Authorization" in head for head in proxy.heads)
    assert summary(scenario.data_dir)["retries"] == {}
