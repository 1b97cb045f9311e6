"""DATABASE_URL with several hosts, with parameters of libpq, and with other forms of a login."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from rogo_async.common.database_url import DatabaseUrl
from rogo_async.common.errors import SystemicError, TransientError
from rogo_async.demo.servers.ports import reserve_port
from rogo_async.demo.servers.stack import Stack, Workspace
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from tests.integration.target.conftest import TlsSite
from tests.support.builders import Scenario, assert_consistent
from tests.support.cli import run_cli
from tests.support.tcp_proxy import TcpProxy

PORT: Final = "SELECT inet_server_port()"


async def answer(url: str, question: str) -> Any:
    """Connect as a run does and ask. Raises DependencyErrors."""
    connections = await Connections.open(ConnectOptions.of(DatabaseUrl.parse(url)), 1)
    try:
        async with connections.session("test") as session:
            return await session.raw.fetchval(question)
    finally:
        await connections.aclose()


@pytest.fixture
async def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    made = Scenario(stack, workspace)
    await made.load([made.submission(attempt) for attempt in (1, 2, 3)])
    return made


def with_hosts(env: dict[str, str], hosts: str, parameters: str = "") -> dict[str, str]:
    """The environment with other hosts in DATABASE_URL."""
    start, _, rest = env["DATABASE_URL"].partition("@")
    return {**env, "DATABASE_URL": f"{start}@{hosts}/{rest.partition('/')[2]}{parameters}"}


async def test_all_commands_work_with_several_hosts(
    scenario: Scenario, env: dict[str, str]
) -> None:
    """The first host is closed. The blobs belong to both orders of the hosts."""
    port, closed = scenario.stack.postgres.port, reserve_port()
    first = with_hosts(env, f"127.0.0.1:{closed},127.0.0.1:{port}")
    attributes = "?target_session_attrs=primary"
    second = with_hosts(env, f"127.0.0.1:{port},127.0.0.1:{closed}", attributes)
    result = await run_cli(first)
    assert result.code == 0, result.output
    assert await scenario.attempts() == [1, 2, 3]
    run_id = result.events("run ended")[0]["run_id"]
    for command in ("verify", "plan", "status", "check"):
        result = await run_cli(second, command)
        assert result.code == 0, result.output
    await assert_consistent(scenario)
    result = await run_cli(second, "rollback", "--run", run_id, "--yes")
    assert result.code == 0, result.output
    assert "3 of 3 submissions rolled back, 3 blobs deleted" in result.stdout
    assert await scenario.nothing_written()


async def test_a_host_that_does_not_answer_does_not_hide_the_others(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    port = stack.postgres.port
    async with TcpProxy("127.0.0.1", port) as proxy:
        proxy.black_hole = True
        hosts = f"127.0.0.1:{proxy.port},localhost:{port}"
        url = with_hosts(env, hosts, "?connect_timeout=1")["DATABASE_URL"]
        assert await answer(url, PORT) == port


async def test_the_host_that_accepts_writes_is_used(stack: Stack, tls: TlsSite) -> None:
    """A run's lock and rows are on one server: the primary."""
    primary, replica = stack.postgres, tls.postgres
    for server in (primary, replica):
        await server.execute_script("postgres", "CREATE ROLE everywhere LOGIN PASSWORD 'both'")
    read_only = "ALTER ROLE everywhere SET default_transaction_read_only"
    await replica.execute_script("postgres", f"{read_only} = on")
    try:
        hosts = f"127.0.0.1:{replica.port},127.0.0.1:{primary.port}"
        url = f"postgresql://everywhere:both@{hosts}/postgres"
        for parameters in ("", "?target_session_attrs=any", "?target_session_attrs=read-write"):
            assert await answer(f"{url}{parameters}", PORT) == primary.port
        alone = f"postgresql://everywhere:both@127.0.0.1:{replica.port}/postgres"
        assert await answer(alone, PORT) == replica.port
        with pytest.raises(TransientError, match="no host accepts writes"):
            await answer(f"{alone}?target_session_attrs=read-write", PORT)
    finally:
        for server in (primary, replica):
            await server.execute_script("postgres", "DROP ROLE everywhere")


async def test_when_no_host_answers_the_run_waits_for_the_limit(
    scenario: Scenario, env: dict[str, str]
) -> None:
    hosts = f"127.0.0.1:{reserve_port()},127.0.0.1:{reserve_port()}"
    result = await run_cli({**with_hosts(env, hosts), "ROGO_OUTAGE_LIMIT": "1"})
    assert result.code == 3, result.output
    assert "target unreachable for 1 s: the connection failed" in result.stdout
    assert await scenario.nothing_written()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ("channel_binding=require", "the parameter channel_binding cannot be honoured"),
        ("gssencmode=require", "the parameter gssencmode cannot be honoured"),
        ("require_auth=scram-sha-256", "the parameter require_auth cannot be honoured"),
        ("service=marking", "the parameter service cannot be honoured"),
        ("target_session_attrs=standby", "the parameter target_session_attrs cannot be honoured"),
        (
            "no_such_parameter=1",
            "SQLSTATE 42704: the server rejects the parameter no_such_",
        ),
        ("work_mem=plenty", "SQLSTATE 22023: the server rejects the parameter work_mem"),
        ("options=-c%20no_such_setting%3D1", "the server rejects the parameter options"),
        ("shared_buffers=1GB", "the server rejects the parameter shared_buffers"),
    ],
)
async def test_a_parameter_that_cannot_be_used_is_named(
    scenario: Scenario, env: dict[str, str], parameters: str, says: str
) -> None:
    env["DATABASE_URL"] += f"?{parameters}"
    result = await run_cli(env)
    assert result.code == 2, result.output
    assert says in result.output, result.output
    assert await scenario.nothing_written()


async def test_parameters_without_effect_give_a_warning(
    scenario: Scenario, env: dict[str, str]
) -> None:
    env["DATABASE_URL"] += "?keepalives=1&keepalives_idle=30&application_name=other&sslmode=disable"
    result = await run_cli(env)
    assert result.code == 0, result.output
    (warning,) = result.events("DATABASE_URL: parameters without effect")
    assert warning["parameters"] == ["application_name", "keepalives", "keepalives_idle"]
    assert await scenario.attempts() == [1, 2, 3]
    checked = await run_cli(env, "check")
    assert checked.code == 0, checked.output
    assert "parameters without effect: application_name, keepalives" in checked.stdout


async def test_settings_of_the_server_are_honoured(env: dict[str, str]) -> None:
    url = env["DATABASE_URL"]
    options = "?options=-c%20work_mem%3D7MB%20-c%20application_name%3Dother&lock_timeout=5s"
    assert await answer(f"{url}{options}", "SHOW work_mem") == "7MB"
    assert await answer(f"{url}{options}", "SHOW lock_timeout") == "5s"
    assert await answer(f"{url}{options}", "SHOW application_name") == "rogo_async"


@pytest.fixture
async def login(stack: Stack, workspace: Workspace) -> AsyncIterator[tuple[str, str]]:
    """A role whose password has special characters, and that password in a URL."""
    role, password = f"role_{workspace.target}", "p@ss/w-o#r?d%"
    sql = f"CREATE ROLE {role} LOGIN PASSWORD '{password}'"
    await stack.postgres.execute_script("postgres", sql)
    yield role, password
    await stack.postgres.execute_script("postgres", f"DROP ROLE {role}")


async def test_other_forms_of_a_login(
    stack: Stack,
    login: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    role, password = login
    port = stack.postgres.port
    encoded = "p%40ss%2Fw-o%23r%3Fd%25"
    passfile = tmp_path / "passwords"
    passfile.write_text(f"127.0.0.1:{port}:*:{role}:{password}\n")
    passfile.chmod(0o600)
    user = "SELECT current_user"
    for url in (
        f"postgresql://{role}:{encoded}@127.0.0.1:{port}/postgres",
        f"postgresql://{role}:{encoded}@/postgres?host=127.0.0.1&port={port}",
        f"postgresql:///?host=127.0.0.1&port={port}&user={role}&password={encoded}&dbname=postgres",
        f"postgresql://{role}@127.0.0.1:{port}/postgres?passfile={passfile}",
    ):
        assert await answer(url, user) == role
    alone = f"postgresql://{role}@127.0.0.1:{port}/postgres"
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert await answer(alone, user) == role
    monkeypatch.delenv("PGPASSFILE")
    monkeypatch.setenv("PGPASSWORD", password)
    assert await answer(alone, user) == role
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(SystemicError, match="login failed"):
        await answer(alone, user)
    monkeypatch.setenv("PGPASSWORD", password)
    monkeypatch.setenv("PGUSER", role)
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(port))
    assert await answer("postgresql:///postgres", user) == role


async def test_a_unix_socket(tls: TlsSite) -> None:
    directory = tls.postgres.socket_directory
    login, _, database = tls.url().partition("@")
    database = database.partition("/")[2]
    encoded = str(directory).replace("/", "%2F")
    port = tls.postgres.port
    local = "local all all scram-sha-256"
    await tls.postgres.allow(local)
    for url in (
        f"{login}@/{database}?host={directory}&port={port}",
        f"{login}@{encoded}:{port}/{database}?sslmode=verify-full",
    ):
        assert await answer(url, PORT) is None
