"""From DATA_WAREHOUSE_CONNECTION_STRING to what the chosen driver takes (specification §4).

Source of the keywords: Microsoft's pages on SqlConnection.ConnectionString and on the ODBC
driver's connection string keywords; FreeTDS's user guide on its ODBC connection strings.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from rogo_async.common.errors import SetupError
from rogo_async.sources.warehouse import connection_grammar as grammar
from rogo_async.sources.warehouse import drivers
from rogo_async.sources.warehouse.drivers import VARIABLE, Driver, DriverKind
from rogo_async.sources.warehouse.keywords import APPLICATION, ConnectionOptions, translate_keywords

_DEFAULT_IDENTITY: Final = "activedirectorydefault"

_FREETDS_ENCRYPTION: Final = {"yes": "require", "no": "request"}
_FREETDS_KEYS: Final = frozenset(
    {"DATABASE", "UID", "PWD", "APP", "WSID", "Language", "ApplicationIntent", "Trusted_Connection"}
)
_ALWAYS: Final = {"APP": APPLICATION, "ApplicationIntent": "ReadOnly"}
_SAME: Final = {
    "APP": {"app", "applicationname"},
    "ApplicationIntent": {"applicationintent"},
    "Encrypt": {"encrypt"},
    "Encryption": {"encryption"},
    "TDS_Version": {"tds_version", "servername", "dsn"},
}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """An access token is to be sent; ``client_id`` names a user-assigned managed identity."""

    client_id: str | None


@dataclass(frozen=True, slots=True)
class OdbcSettings:
    """How to reach the warehouse. ``connection_string`` is for the driver and holds secrets.

    ``connect_s`` is the login's time limit where the string sets one.
    """

    connection_string: str = field(repr=False)
    driver: Driver
    connect_s: float | None = None
    token: TokenRequest | None = None


def odbc_settings(text: str) -> OdbcSettings:
    """The way that a connection string describes.

    Raises SetupError for a string of neither form, an unknown keyword (named, its value never),
    and for what the chosen driver cannot do.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SetupError(f"{VARIABLE}: holds bytes that are no UTF-8 text") from None
    form = grammar.parse(text)
    if form is None or not form.pairs:
        raise SetupError(
            f"{VARIABLE}: is not made of keyword=value pairs joined by semicolons. "
            "A value that holds one must be in quotes (ADO.NET) or braces (ODBC)"
        )
    if form.names_driver:
        return _as_it_is(text, form)
    wanted = translate_keywords(form.pairs)
    driver = drivers.choose_driver()
    if driver.kind is DriverKind.FREETDS:
        return OdbcSettings(_for_freetds(wanted, driver), driver, wanted.connect_s)
    pairs = {"Encrypt": "yes", **_ALWAYS, **wanted.pairs}
    if (port := pairs.pop("PORT", None)) is not None:
        pairs["SERVER"] += f",{port}"
    return _for_microsoft(list(pairs.items()), driver, wanted.connect_s)


def _as_it_is(text: str, form: grammar.ParsedString) -> OdbcSettings:
    """A string that names its driver, with what a SQL Server driver is to be told besides."""
    keys = {grammar.normalized(key): value for key, value in reversed(form.pairs)}
    driver = Driver.named(keys.get("driver", f"DSN {keys.get('dsn', keys.get('filedsn'))}"))
    extra = dict(_ALWAYS)
    if "driver" not in keys or driver.kind is DriverKind.OTHER:
        return OdbcSettings(text, driver)
    if driver.kind is DriverKind.FREETDS:
        extra |= {"Encryption": "require", "TDS_Version": "7.4"}
    else:
        extra |= {"Encrypt": "yes"}
    added = [(key, value) for key, value in extra.items() if not keys.keys() & _SAME[key]]
    if driver.kind is DriverKind.MICROSOFT and _wants_token(keys):
        return _for_microsoft([*form.pairs, *added], driver, None)
    if (
        driver.kind is DriverKind.FREETDS
        and keys.get("trustservercertificate", "").lower() != "yes"
    ):
        drivers.warn_of_unchecked_certificate()
    end = "".join(f"{key}={value};" for key, value in added)
    return OdbcSettings(f"{text.removesuffix(';')};{end}", driver)


def _wants_token(keys: dict[str, str]) -> bool:
    return keys.get("authentication", "").replace(" ", "").lower() == _DEFAULT_IDENTITY


def _for_microsoft(pairs: grammar.Pairs, driver: Driver, connect_s: float | None) -> OdbcSettings:
    keys = {grammar.normalized(key): value for key, value in pairs}
    token = None
    if _wants_token(keys):
        # The driver takes a token only where nothing else says who is logging in.
        if keys.get("encrypt", "yes").lower() in {"no", "optional", "false"}:
            raise SetupError(f"{VARIABLE}: an access token must not travel without Encrypt=yes")
        token = TokenRequest(keys.get("uid") or None)
        who = {"authentication", "uid", "pwd", "trusted_connection"}
        pairs = [(key, value) for key, value in pairs if grammar.normalized(key) not in who]
    named = [("DRIVER", driver.name)] if "driver" not in keys else []
    odbc = ";".join(f"{key}={grammar.odbc_value(value)}" for key, value in [*named, *pairs])
    return OdbcSettings(odbc, driver, connect_s, token)


def _for_freetds(wanted: ConnectionOptions, driver: Driver) -> str:
    pairs = {**_ALWAYS, **wanted.pairs}
    encryption = _FREETDS_ENCRYPTION.get(pairs.pop("Encrypt", "yes"))
    if encryption is None or "Authentication" in pairs:
        what = "Encrypt=Strict" if encryption is None else "Authentication"
        raise SetupError(f"{VARIABLE}: {what} needs Microsoft's ODBC driver, here is only FreeTDS")
    trusting = pairs.pop("TrustServerCertificate", "no") == "yes"
    if encryption == "require" and not trusting:
        raise SetupError(
            f"{VARIABLE}: FreeTDS, the only driver here, does not check the server's certificate. "
            "pip install 'rogo-async[mssql]' or install msodbcsql18; "
            "TrustServerCertificate=yes does without the check"
        )
    host, port = _host_and_port(pairs.pop("SERVER"), pairs.pop("PORT", None))
    own = {"DRIVER": driver.name, "SERVER": host, "TDS_Version": "7.4", "Encryption": encryption}
    if port is not None:
        own["PORT"] = port
    own |= {key: value for key, value in pairs.items() if key in _FREETDS_KEYS}
    return "".join(f"{key}={_freetds_value(key, value)};" for key, value in own.items())


def _freetds_value(key: str, value: str) -> str:
    written = grammar.freetds_value(value)
    if written is None:
        raise SetupError(
            f"{VARIABLE}: FreeTDS cannot take a {key} that holds '}};'. Use Microsoft's driver"
        )
    return written


def _host_and_port(server: str, port: str | None) -> tuple[str, str | None]:
    """FreeTDS wants them apart; an instance is found by its name, any other server at 1433."""
    found = re.fullmatch(
        r"(?:tcp:)?(?P<host>[^,]+?)(?:\s*,\s*(?P<port>\d+))?", server, re.IGNORECASE
    )
    if found is None:
        raise SetupError(f"{VARIABLE}: Server is not of the form host, host,port or host\\instance")
    host = found["host"]
    return host, found["port"] or port or (None if "\\" in host else "1433")
