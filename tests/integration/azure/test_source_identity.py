"""Sources that are read and copied with the access token of an identity (rule 14)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from azure.storage.blob import ContainerSasPermissions, ContentSettings, generate_container_sas
from yarl import URL

from rogo_async.common.azure_storage import API_VERSION
from rogo_async.common.errors import SourceForbidden
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.rules.records import Route
from tests.support.builders import Scenario, valid_submission
from tests.support.cli import counts, run_cli, start_cli, summary
from tests.support.copy_proxy import CopyProxy, copy_proxy
from tests.support.file_copier import OneFileEach, open_file_copier, settings_of
from tests.support.identity_endpoint import SECRET, IdentityEndpoint
from tests.support.raw_server import raw_server, responding
from tests.support.secure_store import SecureContainer
from tests.support.store_proxy import StoreRequest
from tests.support.tcp_proxy import TcpProxy

ROWS: Final = 12
BODY: Final = b"the learner's answer"


@pytest.fixture
async def proxy(secure_container: SecureContainer) -> AsyncIterator[CopyProxy]:
    """The service that copies, in front of source and destination, over https."""
    store = secure_container.store
    async with copy_proxy(store.azurite, store.authority) as running:
        yield running


@pytest.fixture
async def source(secure_container: SecureContainer) -> AsyncIterator[SecureContainer]:
    async with secure_container.store.new_container() as container:
        yield container


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[IdentityEndpoint]:
    """The managed identity of this process."""
    async with IdentityEndpoint() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def site(
    env: dict[str, str],
    secure_container: SecureContainer,
    proxy: CopyProxy,
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The environment of a run: the destination has a key, the source nothing but the identity."""
    azurite = secure_container.store.azurite
    for name, value in secure_container.store.trust.items():
        monkeypatch.setenv(name, value)
    origin = str(URL(proxy.endpoint).origin())
    made = secure_container.environment(
        env,
        AZURE_STORAGE_ACCOUNT_NAME=azurite.account_name,
        AZURE_STORAGE_ACCOUNT_KEY=azurite.account_key,
        AZURE_STORAGE_SERVICE_ENDPOINT=proxy.endpoint,
        ROGO_SOURCE_HOSTS=f"{origin},{scenario.source.origin}",
        ROGO_SOURCE_IDENTITY_HOSTS=origin,
    )
    del made["ROGO_SOURCE_SAS_TOKEN"]
    return made


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


Put = Callable[..., Awaitable[str]]


@pytest.fixture
def put(source: SecureContainer, proxy: CopyProxy) -> Put:
    """Creates a source blob; returns its URL."""

    async def create(name: str = "1.txt", body: bytes = BODY) -> str:
        md5 = bytearray(hashlib.md5(body).digest())
        async with source.client() as client:
            await client.upload_blob(name, body, content_settings=ContentSettings(content_md5=md5))
        return f"{proxy.endpoint}/{source.name}/{name}"

    return create


@pytest.fixture
async def copier(site: dict[str, str], endpoint: IdentityEndpoint) -> AsyncIterator[OneFileEach]:
    del endpoint
    async with open_file_copier(settings_of(site)) as opened:
        yield opened


async def test_an_identity_is_enough_to_read_and_to_copy_the_source(
    scenario: Scenario,
    site: dict[str, str],
    secure_container: SecureContainer,
    proxy: CopyProxy,
    put: Put,
    endpoint: IdentityEndpoint,
) -> None:
    bodies = [b"text %d" % attempt for attempt in range(1, ROWS)]
    urls = [await put(f"{number}.txt", body) for number, body in enumerate(bodies, 1)]
    made = [valid_submission(attempt, url) for attempt, url in enumerate(urls, 1)]
    await scenario.load([scenario.submission(ROWS), *made])  # the last row is attempt ROWS - 1
    site |= endpoint.environment
    checked = await run_cli(site, "check")
    assert checked.code == 0, checked.output
    origin = str(URL(proxy.endpoint).origin())
    assert f"{origin}: the identity has an access token" in checked.stdout
    assert f"{origin}: newest files readable" in checked.stdout
    assert f"{origin}: a run lets the service copy files" in checked.stdout
    first = await run_cli(site, "--limit", "4")
    streamed = await run_cli(site, ROGO_COPY="stream")
    for result in (first, streamed):
        assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS - 4, 0, 4, 0)
    assert summary(scenario.data_dir)["streamed_files"] == ROWS - 4
    assert proxy.copies == [201] * 5  # one of check
    assert {headers["x-ms-copy-source-authorization"][:10] for headers in proxy.asked} == {
        "Bearer eyJ"
    }
    async with secure_container.client() as client:
        stored = [
            bytes(blob.content_settings.content_md5 or b"") async for blob in client.list_blobs()
        ]
    expected = [hashlib.md5(body).digest() for body in [*bodies, b"text %d" % ROWS]]
    assert sorted(stored) == sorted(expected)
    written = [path.read_text("utf-8") for path in scenario.data_dir.rglob("*") if path.is_file()]
    for text in (*written, checked.output, first.output, streamed.output):
        assert SECRET not in text
        assert "eyJ" not in text


async def test_a_token_goes_to_no_other_host(
    site: dict[str, str], put: Put, proxy: CopyProxy, endpoint: IdentityEndpoint
) -> None:
    del endpoint
    other = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
    async with raw_server(responding(other)) as server:
        site["ROGO_SOURCE_HOSTS"] += f",{server.url().origin()}"
        async with open_file_copier(settings_of(site)) as copier:
            await copier.copy(1, await put())
            await copier.copy(2, str(server.url()))
        assert proxy.requests[0].headers["authorization"].startswith("Bearer ")
        assert proxy.requests[0].headers["x-ms-version"] == API_VERSION
        (request,) = server.requests
        assert b"authorization" not in request.lower()


async def test_a_token_that_the_source_refuses_is_renewed_once(
    copier: OneFileEach, put: Put, endpoint: IdentityEndpoint, site: dict[str, str]
) -> None:
    """The stated life of a token is wrong when it is revoked, or when the clocks differ."""
    endpoint.life_s, endpoint.stated_life_s = -30, 3600
    url = await put()
    with pytest.raises(SourceForbidden) as raised:
        await copier.copy(1, url)
    assert endpoint.issued == 2
    assert "the access token is wrong or has expired" in raised.value.message
    async with open_file_copier(settings_of(site, rogo_copy="stream")) as streaming:
        for each, route in ((copier, Route.COPIED), (streaming, Route.OFF)):
            endpoint.life_s = 3600
            assert (await each.copy(2, url)).route is route
    assert endpoint.issued == 4


async def test_a_sas_inside_the_url_is_used_first(
    copier: OneFileEach, put: Put, source: SecureContainer, proxy: CopyProxy
) -> None:
    azurite = source.store.azurite
    sas = generate_container_sas(
        azurite.account_name,
        source.name,
        account_key=azurite.account_key,
        permission=ContainerSasPermissions(read=True),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    url = await put()
    await copier.copy(1, f"{url}?{sas}")
    assert "sig=" in proxy.asked[0]["x-ms-copy-source"]
    assert "x-ms-copy-source-authorization" not in proxy.asked[0]
    assert "authorization" not in proxy.requests[0].headers
    await copier.copy(2, f"{url}?{sas[:-4]}AAAA")
    assert proxy.asked[1]["x-ms-copy-source"] == url
    assert proxy.asked[1]["x-ms-copy-source-authorization"].startswith("Bearer ")
    assert proxy.copies == [201, 201]


async def test_each_try_of_a_copy_has_a_valid_token(
    copier: OneFileEach, put: Put, proxy: CopyProxy, endpoint: IdentityEndpoint
) -> None:
    """A copy that waited for the end of an outage does not use the token of its begin."""
    endpoint.stated_life_s = 0
    url = await put()
    proxy.refuse = lambda: (503, "ServerBusy") if len(proxy.asked) == 1 else None
    assert (await copier.copy(1, url)).route is Route.COPIED
    first, second = [headers["x-ms-copy-source-authorization"] for headers in proxy.asked]
    assert first != second


async def test_without_a_token_for_a_copy_nothing_is_sent(
    copier: OneFileEach, put: Put, proxy: CopyProxy, endpoint: IdentityEndpoint
) -> None:
    """The token expires between the request for the properties and the copy."""
    url = await put()
    endpoint.stated_life_s = 0

    def fail(request: StoreRequest, headers: dict[str, str]) -> dict[str, str]:
        if request.operation == "HEAD":
            endpoint.status = 500
        return headers

    proxy.change_reply = fail
    copying = asyncio.create_task(copier.copy(1, url), name="copying")
    while len(endpoint.requests) < 3:  # for HEAD, for the copy, for the streamed file
        await asyncio.sleep(0.01)
    endpoint.status = 200
    assert (await copying).route is Route.UNKNOWN
    assert proxy.asked == []
    assert copier.call_stats.retries.keys() == {"source.get"}


async def test_an_endpoint_that_fails_during_a_run_is_an_outage_of_the_source(
    scenario: Scenario,
    site: dict[str, str],
    put: Put,
    proxy: CopyProxy,
    endpoint: IdentityEndpoint,
) -> None:
    async with TcpProxy("127.0.0.1", proxy.port) as slow:
        slow.delay_s = 0.2
        urls = [await put(f"{number}.txt") for number in range(ROWS)]
        urls = [url.replace(f":{proxy.port}/", f":{slow.port}/") for url in urls]
        await scenario.load([valid_submission(n, url) for n, url in enumerate(urls, 1)])
        hosts = f"https://127.0.0.1:{slow.port}"
        site |= {"ROGO_SOURCE_HOSTS": hosts, "ROGO_SOURCE_IDENTITY_HOSTS": hosts}
        endpoint.life_s = 2
        async with start_cli(
            site | endpoint.environment, ROGO_CONCURRENCY="1", ROGO_COPY="stream"
        ) as command:
            await command.wait_for_event("migration begins")
            endpoint.status = 500
            began = await command.wait_for_event("outage began")
            assert hosts in began["dependency"]
            assert "managed identity" in began["reason"]
            await asyncio.sleep(0.5)
            endpoint.status = 200
            result = await command.wait()
    assert result.code == 0, result.output
    assert counts(scenario.data_dir) == (ROWS, 0, 0, 0)


@pytest.mark.parametrize(("status", "code"), [(400, 2), (503, 3)])
async def test_without_a_token_at_start_nothing_is_migrated(
    scenario: Scenario,
    site: dict[str, str],
    put: Put,
    endpoint: IdentityEndpoint,
    status: int,
    code: int,
) -> None:
    await scenario.load([valid_submission(1, await put())])
    endpoint.status = status
    site |= endpoint.environment
    result = await run_cli(site, ROGO_OUTAGE_LIMIT="2")
    assert result.code == code, result.output
    assert f"no token for the managed identity (status {status})" in result.output
    if code == 2:
        checked = await run_cli(site, "check")
        assert "source: no token for the managed identity (status 400)" in checked.stdout
    assert await scenario.nothing_written()
