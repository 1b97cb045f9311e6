"""What the server receives when the product logs in, with both drivers."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web

from rogo_async.common.errors import DependencyError, SetupError, SystemicError
from rogo_async.sources.warehouse import drivers, reader
from rogo_async.sources.warehouse.connection_grammar import freetds_value, odbc_value
from tests.support.fake_sql_server import Certificate, FakeSqlServer
from tests.support.fake_sql_server.login import Login
from tests.support.fake_sql_server.server import DATABASE, HOST, PASSWORD, USER
from tests.support.sql_server import opened, report_row, tables

AWKWARD = [
    PASSWORD,
    "plain",
    "{braces}",
    "}",
    "{",
    "a}}b",
    "};UID=evil",
    " blanks ",
    "'",
    '"',
    "\";'",
    "=;=",
    "\N{OWL} caf\u00e9",
    "DRIVER={x}",
    "%2B+&?#[]()*!@,",
]
TRUSTING = "Encrypt=True;TrustServerCertificate=True"


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate.make(tmp_path)


@asynccontextmanager
async def serving(certificate: Certificate | None = None) -> AsyncIterator[FakeSqlServer]:
    async with FakeSqlServer(tables([report_row(1)], []), certificate) as running:
        yield running


async def login_of(running: FakeSqlServer, text: str) -> Login:
    """The first login with a connection string, accepted or not."""
    try:
        async with opened(text):
            pass
    except SystemicError as error:
        assert "18456" in error.reason
    return running.logins[0]


@pytest.mark.parametrize("password", AWKWARD)
async def test_password_in_ado_net_syntax(password: str) -> None:
    quoted = password.replace('"', '""')
    async with serving() as running:
        login = await login_of(
            running,
            f"Data Source={HOST},{running.port};Initial Catalog={DATABASE};Encrypt=no;"
            f'User Id="x;y";Password="{quoted}"',
        )
    assert (login.user, login.password, login.database) == ("x;y", password, DATABASE)


@pytest.mark.parametrize("password", AWKWARD)
async def test_password_in_odbc_syntax(password: str) -> None:
    async with serving() as running:
        login = await login_of(
            running,
            f"SERVER={HOST},{running.port};DATABASE={DATABASE};Encrypt=no;UID={USER};"
            f"PWD={odbc_value(password)}",
        )
    assert login.password == password


@pytest.mark.parametrize("password", [each for each in AWKWARD if freetds_value(each) is not None])
async def test_password_for_freetds(password: str) -> None:
    async with serving() as running:
        login = await login_of(
            running,
            f"DRIVER=FreeTDS;SERVER={HOST};PORT={running.port};Encryption=off;DATABASE={DATABASE};"
            f"UID={USER};PWD={freetds_value(password)}",
        )
    assert login.password == password


@pytest.fixture
def freetds_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "packaged", lambda: None)
    monkeypatch.setattr(drivers.import_pyodbc(), "drivers", lambda: ["FreeTDS"])


@pytest.mark.parametrize("password", [each for each in AWKWARD if freetds_value(each) is not None])
async def test_ado_net_syntax_with_freetds_only(password: str, freetds_only: None) -> None:
    quoted = password.replace("'", "''")
    async with serving() as running:
        login = await login_of(
            running,
            f"Data Source=tcp:{HOST}, {running.port};Initial Catalog={DATABASE};Encrypt=Optional;"
            f"User ID={USER};Password='{quoted}'",
        )
    assert (login.user, login.password, login.database) == (USER, password, DATABASE)
    assert (login.is_read_only, login.application) == (True, "rogo_async")


async def test_read_only_intent_and_name_are_sent(sql_server: FakeSqlServer, text: str) -> None:
    async with opened(text):
        pass
    assert {(each.is_read_only, each.application) for each in sql_server.logins} == {
        (True, "rogo_async")
    }
    # Names in double quotes require ANSI settings, which ODBC clients request.
    assert all(each.is_odbc for each in sql_server.logins)


async def test_intent_and_name_in_the_string_win(sql_server: FakeSqlServer, text: str) -> None:
    async with opened(f"{text};ApplicationIntent=ReadWrite;APP=nightly"):
        pass
    assert {(each.is_read_only, each.application) for each in sql_server.logins} == {
        (False, "nightly")
    }


async def test_certificate_is_checked(certificate: Certificate) -> None:
    async with serving(certificate) as running:
        text = f"Server={HOST},{running.port};Database={DATABASE};User Id={USER};Password=x"
        with pytest.raises(SystemicError, match="the server's certificate is not trusted"):
            async with opened(text):
                pass
        assert running.logins == []


async def test_certificate_of_a_known_authority(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.path))
    async with serving(certificate) as running:
        login = await login_of(
            running,
            # By address, since machines resolve localhost differently.
            f"Server={HOST},{running.port};Database={DATABASE};User Id=u;Password=x;"
            "HostNameInCertificate=localhost",
        )
    assert login.is_encrypted


async def test_certificate_check_can_be_turned_off(driver: str, certificate: Certificate) -> None:
    async with serving(certificate) as running:
        where = f"{HOST},{running.port}" if driver == "microsoft" else f"{HOST};PORT={running.port}"
        named = "DRIVER=FreeTDS;" if driver == "freetds" else ""
        login = await login_of(
            running, f"{named}SERVER={where};DATABASE={DATABASE};UID=u;PWD=x;{TRUSTING}"
        )
    assert login.is_encrypted


@asynccontextmanager
async def identity(monkeypatch: pytest.MonkeyPatch, token: str) -> AsyncIterator[list[str]]:
    """The token endpoint of an App Service. Yields the requested client ids."""
    asked = []

    async def give(request: web.Request) -> web.Response:
        asked.append(request.query.get("client_id", ""))
        expires = str(int(time.time()) + 3600)
        # Without white space: the driver searches the text and does not parse JSON.
        answer = orjson.dumps(
            {
                "access_token": token,
                "expires_on": expires,
                "expires_in": "3600",
                "resource": request.query.get("resource", ""),
                "token_type": "Bearer",
            }
        )
        return web.Response(body=answer, content_type="application/json")

    app = web.Application()
    app.router.add_get("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    env = web.TCPSite(runner, HOST, 0)
    await env.start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://{HOST}:{runner.addresses[0][1]}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    try:
        yield asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    "authentication",
    ["Active Directory Default", "ActiveDirectoryDefault", "Active Directory Managed Identity"],
)
@pytest.mark.parametrize("client", ["", "11111111-2222-3333-4444-555555555555"])
async def test_access_token_is_sent(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch, authentication: str, client: str
) -> None:
    token = "ey." + "token" * 300
    async with identity(monkeypatch, token) as asked, serving(certificate) as running:
        async with opened(
            f"Server={HOST},{running.port};Initial Catalog={DATABASE};User Id={client};{TRUSTING};"
            f"Authentication={authentication}"
        ) as warehouse:
            assert await warehouse.look_up([1])
        login = running.logins[0]
    assert (login.token, login.user, login.password) == (token, "", "")
    assert set(asked) == {client}


async def test_missing_identity_is_not_retried(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    async with serving(certificate) as running:
        text = (
            f"Server={HOST},{running.port};Initial Catalog={DATABASE};{TRUSTING};"
            "Authentication=Active Directory Default"
        )
        with pytest.raises(SystemicError, match="no identity for an access token"):
            async with opened(text):
                pass


async def test_wrong_database_is_retried_a_few_times(
    sql_server: FakeSqlServer, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "NOT_OPENED_WAITS_S", (0.01, 0.02, 0.03))
    with pytest.raises(SystemicError, match="4060: cannot open the database"):
        async with opened(text.replace(f"={DATABASE};", "=elsewhere;")):
            pass
    assert sql_server.connections == 4


async def test_server_without_encryption_is_rejected(sql_server: FakeSqlServer) -> None:
    text = f"Server={HOST},{sql_server.port};Database={DATABASE};User Id={USER};Password=x"
    with pytest.raises(DependencyError, match="SQLSTATE 08001"):
        async with opened(text):
            pass
    assert sql_server.logins == []


async def test_freetds_does_not_support_every_password(freetds_only: None) -> None:
    with pytest.raises(SetupError, match="FreeTDS does not support a PWD that contains '};'"):
        async with opened("Server=h;Password='};x';User ID=u;Encrypt=no"):
            pass
