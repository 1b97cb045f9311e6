"""From the operator's connection string to that of the driver (specification §4)."""

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from rogo_async.common.errors import SetupError
from rogo_async.sources.warehouse import drivers
from rogo_async.sources.warehouse.connection_grammar import parse
from rogo_async.sources.warehouse.connection_string import OdbcSettings, TokenRequest, odbc_settings
from rogo_async.sources.warehouse.drivers import Driver, DriverKind

MICROSOFT = Driver("ODBC Driver 18 for SQL Server", DriverKind.MICROSOFT, "for a test")
FREETDS = Driver("FreeTDS", DriverKind.FREETDS, "for a test")
FULL = (
    "Server=tcp:h.database.windows.net,1433;Initial Catalog=d;Persist Security Info=False;"
    "User ID=u;Password=p;MultipleActiveResultSets=False;Encrypt=True;"
    "TrustServerCertificate=False;Connection Timeout=30;"
)
passwords = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1
)


@pytest.fixture
def microsoft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "choose_driver", lambda: MICROSOFT)


@pytest.fixture
def freetds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "choose_driver", lambda: FREETDS)


def pairs(odbc: OdbcSettings) -> dict[str, str]:
    form = parse(odbc.connection_string)
    assert form is not None
    assert len({key for key, _ in form.pairs}) == len(form.pairs)
    return dict(form.pairs)


def one(text: str) -> dict[str, str]:
    return pairs(odbc_settings(f"Data Source=h;{text}"))


def refusal(text: str) -> str:
    with pytest.raises(SetupError) as raised:
        odbc_settings(text)
    (problem,) = raised.value.problems
    assert problem.startswith("DATA_WAREHOUSE_CONNECTION_STRING: ")
    return problem


def test_connection_string_of_the_azure_portal(microsoft: None) -> None:
    odbc = odbc_settings(FULL)
    assert pairs(odbc) == {
        "DRIVER": MICROSOFT.name,
        "SERVER": "tcp:h.database.windows.net,1433",
        "DATABASE": "d",
        "UID": "u",
        "PWD": "p",
        "Encrypt": "yes",
        "TrustServerCertificate": "no",
        "ApplicationIntent": "ReadOnly",
        "APP": "rogo_async",
    }
    assert odbc.connect_s == 30


def test_connection_string_of_the_azure_portal_for_freetds(freetds: None) -> None:
    odbc = odbc_settings(
        FULL.replace("TrustServerCertificate=False", "TrustServerCertificate=True")
    )
    assert odbc.connection_string.endswith(";")
    assert pairs(odbc) == {
        "DRIVER": "FreeTDS",
        "SERVER": "h.database.windows.net",
        "PORT": "1433",
        "TDS_Version": "7.4",
        "Encryption": "require",
        "DATABASE": "d",
        "UID": "u",
        "PWD": "p",
        "ApplicationIntent": "ReadOnly",
        "APP": "rogo_async",
    }


@pytest.mark.parametrize(
    ("spelling", "keyword"),
    [
        ("Server", "SERVER"),
        ("DATA SOURCE", "SERVER"),
        ("addr", "SERVER"),
        ("Address", "SERVER"),
        ("Network  Address", "SERVER"),
        ("Database", "DATABASE"),
        ("initial catalog", "DATABASE"),
        ("User ID", "UID"),
        ("UID", "UID"),
        ("user", "UID"),
        ("Password", "PWD"),
        ("pwd", "PWD"),
        ("App", "APP"),
        ("Application Name", "APP"),
        ("Workstation ID", "WSID"),
        ("Host Name In Certificate", "HostNameInCertificate"),
        ("ServerCertificate", "ServerCertificate"),
    ],
)
def test_spellings(microsoft: None, spelling: str, keyword: str) -> None:
    assert one(f"{spelling} = x ")[keyword] == "x"


@pytest.mark.parametrize(
    ("given", "keyword", "value"),
    [
        ("Encrypt=True", "Encrypt", "yes"),
        ("Encrypt=yes", "Encrypt", "yes"),
        ("Encrypt=Mandatory", "Encrypt", "yes"),
        ("Encrypt=Strict", "Encrypt", "strict"),
        ("Encrypt=False", "Encrypt", "no"),
        ("Encrypt=NO", "Encrypt", "no"),
        ("Encrypt=Optional", "Encrypt", "no"),
        ("", "Encrypt", "yes"),
        ("Trust Server Certificate=true", "TrustServerCertificate", "yes"),
        ("MultiSubnetFailover=True", "MultiSubnetFailover", "yes"),
        ("Application Intent=ReadWrite", "ApplicationIntent", "ReadWrite"),
        ("Integrated Security=SSPI", "Trusted_Connection", "yes"),
        ("Server=.,1435", "SERVER", "localhost,1435"),
        ("Server=(local)\\X", "SERVER", "localhost\\X"),
        ("Authentication=Active Directory Password", "Authentication", "ActiveDirectoryPassword"),
        ("Authentication=ActiveDirectoryMsi", "Authentication", "ActiveDirectoryMsi"),
        (
            "Authentication=Active Directory Managed Identity",
            "Authentication",
            "ActiveDirectoryMsi",
        ),
        (
            "Authentication=Active Directory Service Principal",
            "Authentication",
            "ActiveDirectoryServicePrincipal",
        ),
        (
            "Authentication=Active Directory Integrated",
            "Authentication",
            "ActiveDirectoryIntegrated",
        ),
        ("Authentication=Sql Password", "Authentication", "SqlPassword"),
    ],
)
def test_values(microsoft: None, given: str, keyword: str, value: str) -> None:
    assert one(given)[keyword] == value


@pytest.mark.parametrize(
    "keyword",
    [
        "Pooling",
        "Max Pool Size",
        "Enlist",
        "Command Timeout",
        "PersistSecurityInfo",
        "MARS_Connection",
    ],
)
def test_ignored_keywords(microsoft: None, keyword: str) -> None:
    assert one(f"{keyword}=x") == one("")


@pytest.mark.parametrize(
    ("spelling", "seconds"),
    [
        ("Connect Timeout=7", 7),
        ("Timeout=7", 7),
        ("Connection Timeout=0", None),
        ("", None),
        ("Connection Timeout=9999", 60),
    ],
)
def test_connection_timeout(microsoft: None, spelling: str, seconds: float | None) -> None:
    assert odbc_settings(f"Data Source=h;{spelling}").connect_s == seconds


@given(password=passwords)
def test_any_password_reaches_microsoft_s_driver(password: str) -> None:
    quoted = password.replace('"', '""')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drivers, "choose_driver", lambda: MICROSOFT)
        assert pairs(odbc_settings(f'Data Source=h;Password="{quoted}"'))["PWD"] == password


@given(password=passwords)
def test_any_password_reaches_freetds_or_is_rejected(password: str) -> None:
    quoted = password.replace("'", "''")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drivers, "choose_driver", lambda: FREETDS)
        try:
            odbc = odbc_settings(
                f"Data Source=h;Encrypt=no;APP=x;Password='{quoted}'"
            ).connection_string
        except SetupError as error:
            assert "};" in password
            assert password not in str(error) or password == "};"
        else:
            start = odbc.index(";PWD=") + len(";PWD=")
            rest = odbc[start:]
            inside = rest.startswith("{")
            assert rest[inside : rest.index("};" if inside else ";", inside)] == password


def test_odbc_string_gets_missing_defaults() -> None:
    text = "Driver={ODBC Driver 18 for SQL Server};Server=h;Uid=u;Pwd={a;}}b}"
    odbc = odbc_settings(text)
    assert (
        odbc.connection_string == f"{text};APP=rogo_async;ApplicationIntent=ReadOnly;Encrypt=yes;"
    )
    assert odbc.driver.kind is DriverKind.MICROSOFT


def test_options_of_an_odbc_string_win() -> None:
    text = (
        "DRIVER=/opt/libmsodbcsql-18.so;SERVER=h;application name=x;applicationintent=ReadWrite;"
        "encrypt=no;"
    )
    assert odbc_settings(text).connection_string == text


def test_odbc_string_for_freetds() -> None:
    odbc = odbc_settings("DRIVER=FreeTDS;SERVER=h;PWD={a;b}c}")
    assert odbc.connection_string == (
        "DRIVER=FreeTDS;SERVER=h;PWD={a;b}c};APP=rogo_async;ApplicationIntent=ReadOnly;"
        "Encryption=require;TDS_Version=7.4;"
    )
    assert odbc.driver.kind is DriverKind.FREETDS


@pytest.mark.parametrize("text", ["DSN=rogo;PWD=x", "DRIVER={PostgreSQL Unicode};SERVER=h;PWD=x"])
def test_string_of_another_driver_is_unchanged(text: str) -> None:
    assert odbc_settings(text).connection_string == text
    assert odbc_settings(text).driver.kind is DriverKind.OTHER


def test_odbc_string_without_a_driver(microsoft: None) -> None:
    odbc = odbc_settings("SERVER=h;PORT=1435;DATABASE=d;UID=u;PWD={a;b}}}")
    assert pairs(odbc)["SERVER"] == "h,1435"
    assert pairs(odbc)["PWD"] == "a;b}"


@pytest.mark.parametrize(
    ("who", "client"), [("", None), ("User ID=11-22;", "11-22"), ("UID=x;Password=y;", "x")]
)
@pytest.mark.parametrize(
    "authentication", ["Active Directory Default", "Active Directory Workload Identity"]
)
def test_token_replaces_user_and_password(
    microsoft: None, authentication: str, who: str, client: str | None
) -> None:
    odbc = odbc_settings(f"Data Source=h;{who}Authentication={authentication}")
    assert odbc.token == TokenRequest(client)
    assert not {"UID", "PWD", "Authentication"} & pairs(odbc).keys()


def test_token_in_an_odbc_string() -> None:
    odbc = odbc_settings(
        "DRIVER={ODBC Driver 18 for SQL Server};Server=h;Authentication=ActiveDirectoryDefault"
    )
    assert odbc.token == TokenRequest(None)
    assert "Authentication" not in pairs(odbc)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a list of keyword=value pairs"),
        ("server", "is not a list of keyword=value pairs"),
        ("Database=d;User ID=u", "has no server"),
        ("Data Source=;User ID=u", "has no server"),
        ("Data Source=h;Passwort=secret", "unknown keyword 'Passwort'"),
        ("Data Source=h;Password=se;cret=1", "unknown keyword after the password"),
        ("Data Source=h;Encrypt=secret", "Encrypt has an unknown value"),
        ("Data Source=h;Connect Timeout=secret", "Connect Timeout is not a whole number"),
        ("Data Source=h;Authentication=Active Directory Interactive", "needs an interactive login"),
        ("Data Source=np:\\\\h\\pipe\\secret;User ID=u", "only TCP is supported"),
        ("Data Source=(localdb)\\secret", "only TCP is supported"),
        (
            "Data Source=h;Encrypt=no;Authentication=Active Directory Default",
            "an access token requires Encrypt=yes",
        ),
        ("Data Source=h;Password=\udcff", "is not valid UTF-8"),
    ],
)
def test_rejected(microsoft: None, text: str, words: str) -> None:
    problem = refusal(text)
    assert words in problem
    assert "secret" not in problem
    assert "cret" not in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Data Source=h;Encrypt=True", "does not validate the server's certificate"),
        ("Data Source=h", "does not validate the server's certificate"),
        ("Data Source=h;Encrypt=Strict", "Encrypt=Strict requires Microsoft's ODBC driver"),
        ("Data Source=h;Authentication=ActiveDirectoryMsi", "Authentication requires Microsoft's"),
        ("Data Source=h,x;Encrypt=no", "Server is not of the form"),
        (
            "Data Source=h;Encrypt=no;Password='};'",
            "FreeTDS does not support a PWD",
        ),
    ],
)
def test_rejected_with_freetds_only(freetds: None, text: str, words: str) -> None:
    assert words in refusal(text)


@pytest.mark.parametrize(
    ("server", "host", "port"),
    [
        ("h", "h", "1433"),
        ("tcp:h,1435", "h", "1435"),
        ("TCP:10.0.0.1 , 1435", "10.0.0.1", "1435"),
        ("h\\INSTANCE", "h\\INSTANCE", None),
    ],
)
def test_server_for_freetds(freetds: None, server: str, host: str, port: str | None) -> None:
    found = one(f"Server={server};Encrypt=no")
    assert (found["SERVER"], found.get("PORT")) == (host, port)


def test_repr_has_no_secret(microsoft: None) -> None:
    assert "hunter2" not in repr(odbc_settings("Data Source=h;Password=hunter2"))


@pytest.mark.parametrize(
    ("text", "encrypted"),
    [
        ("DRIVER=FreeTDS;SERVER=h;Encryption=off", False),
        ("DRIVER=FreeTDS;SERVER=h;Encryption=request", False),
        ("DRIVER=FreeTDS;SERVER=h;Encryption=require", True),
        ("DRIVER=FreeTDS;SERVER=h", True),
        ("DRIVER={ODBC Driver 18 for SQL Server};SERVER=h;Encrypt=no", False),
        ("DRIVER={ODBC Driver 18 for SQL Server};SERVER=h;Encrypt=Optional", False),
        ("DRIVER={ODBC Driver 18 for SQL Server};SERVER=h", True),
        ("Server=tcp:h,1433;Initial Catalog=rogo;User ID=u;Password=p;Encrypt=False", False),
        ("Server=tcp:h,1433;Initial Catalog=rogo;User ID=u;Password=p", True),
    ],
)
def test_no_line_claims_encryption_that_the_string_turns_off(text: str, encrypted: bool) -> None:
    drivers.warn_of_no_encryption.cache_clear()
    drivers.warn_of_unchecked_certificate.cache_clear()
    with structlog.testing.capture_logs() as lines:
        odbc_settings(text)
    events = [line["event"] for line in lines]
    assert any("need not be encrypted" in event for event in events) is not encrypted
    if not encrypted:
        assert not any("FreeTDS encrypts" in event for event in events)
