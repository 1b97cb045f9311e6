"""Translates DATA_WAREHOUSE_CONNECTION_STRING for the chosen ODBC driver (specification §4).

Sources for the keywords: Microsoft's pages on SqlConnection.ConnectionString and on the keywords of
its ODBC driver, and the FreeTDS user guide on ODBC connection strings.
"""

import re
from collections.abc import Mapping
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
_DEFAULTS: Final = {"APP": APPLICATION, "ApplicationIntent": "ReadOnly"}
_SYNONYMS: Final = {
    "APP": {"app", "applicationname"},
    "ApplicationIntent": {"applicationintent"},
    "Encrypt": {"encrypt"},
    "Encryption": {"encryption"},
    "TDS_Version": {"tds_version", "servername", "dsn"},
}


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The driver needs an access token; ``client_id`` names a user-assigned managed identity."""

    client_id: str | None


@dataclass(frozen=True, slots=True)
class OdbcSettings:
    """How to connect to the warehouse. ``connection_string`` is for the driver and holds secrets.

    ``connect_s`` is the login timeout, if the operator's string sets one.
    """

    connection_string: str = field(repr=False)
    driver: Driver
    connect_s: float | None = None
    token: TokenRequest | None = None


def odbc_settings(text: str) -> OdbcSettings:
    """Translate the operator's connection string.

    Raises SetupError for invalid syntax, an unknown keyword (the text never has a value), or an
    option that the chosen driver does not support.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SetupError(f"{VARIABLE}: is not valid UTF-8") from None
    parsed = grammar.parse(text)
    if parsed is None or not parsed.pairs:
        raise SetupError(
            f"{VARIABLE}: is not a list of keyword=value pairs separated by semicolons. "
            "A value with a semicolon must be in quotes (ADO.NET) or braces (ODBC)"
        )
    if parsed.names_driver:
        return _with_named_driver(text, parsed)
    options = translate_keywords(parsed.pairs)
    if options.pairs.get("Encrypt") == "no":
        drivers.warn_of_no_encryption()
    driver = drivers.choose_driver()
    if driver.kind is DriverKind.FREETDS:
        return OdbcSettings(_for_freetds(options, driver), driver, options.connect_s)
    pairs = {"Encrypt": "yes", **_DEFAULTS, **options.pairs}
    if (port := pairs.pop("PORT", None)) is not None:
        pairs["SERVER"] += f",{port}"
    return _for_microsoft(list(pairs.items()), driver, options.connect_s)


def _with_named_driver(text: str, parsed: grammar.ParsedString) -> OdbcSettings:
    """Keep a string that names its driver; add the defaults of a SQL Server driver."""
    keys = {grammar.normalized(key): value for key, value in reversed(parsed.pairs)}
    driver = Driver.named(keys.get("driver", f"DSN {keys.get('dsn', keys.get('filedsn'))}"))
    extra = dict(_DEFAULTS)
    if "driver" not in keys or driver.kind is DriverKind.OTHER:
        return OdbcSettings(text, driver)
    if driver.kind is DriverKind.FREETDS:
        extra |= {"Encryption": "require", "TDS_Version": "7.4"}
    else:
        extra |= {"Encrypt": "yes"}
    added = [(key, value) for key, value in extra.items() if not keys.keys() & _SYNONYMS[key]]
    if driver.kind is DriverKind.MICROSOFT and _needs_token(keys):
        return _for_microsoft([*parsed.pairs, *added], driver, None)
    if is_unencrypted(keys):
        drivers.warn_of_no_encryption()
    elif (
        driver.kind is DriverKind.FREETDS
        and keys.get("trustservercertificate", "").lower() != "yes"
    ):
        drivers.warn_of_unchecked_certificate()
    end = "".join(f"{key}={value};" for key, value in added)
    return OdbcSettings(f"{text.removesuffix(';')};{end}", driver)


def is_unencrypted(keys: Mapping[str, str]) -> bool:
    """Whether the string turns encryption off, or only asks for it (FreeTDS: off, request)."""
    encrypt = keys.get("encrypt", keys.get("encryption", "yes")).lower()
    return encrypt in {"no", "false", "off", "optional", "request", "0"}


def _needs_token(keys: dict[str, str]) -> bool:
    return keys.get("authentication", "").replace(" ", "").lower() == _DEFAULT_IDENTITY


def _for_microsoft(pairs: grammar.Pairs, driver: Driver, connect_s: float | None) -> OdbcSettings:
    keys = {grammar.normalized(key): value for key, value in pairs}
    token = None
    if _needs_token(keys):
        # The driver accepts a token only without any other credentials.
        if keys.get("encrypt", "yes").lower() in {"no", "optional", "false"}:
            raise SetupError(f"{VARIABLE}: an access token requires Encrypt=yes")
        token = TokenRequest(keys.get("uid") or None)
        credentials = {"authentication", "uid", "pwd", "trusted_connection"}
        pairs = [(key, value) for key, value in pairs if grammar.normalized(key) not in credentials]
    named = [("DRIVER", driver.name)] if "driver" not in keys else []
    odbc = ";".join(f"{key}={grammar.odbc_value(value)}" for key, value in [*named, *pairs])
    return OdbcSettings(odbc, driver, connect_s, token)


def _for_freetds(options: ConnectionOptions, driver: Driver) -> str:
    pairs = {**_DEFAULTS, **options.pairs}
    encryption = _FREETDS_ENCRYPTION.get(pairs.pop("Encrypt", "yes"))
    if encryption is None or "Authentication" in pairs:
        option = "Encrypt=Strict" if encryption is None else "Authentication"
        raise SetupError(
            f"{VARIABLE}: {option} requires Microsoft's ODBC driver, but only FreeTDS is installed"
        )
    trusting = pairs.pop("TrustServerCertificate", "no") == "yes"
    if encryption == "require" and not trusting:
        raise SetupError(
            f"{VARIABLE}: FreeTDS, the only installed driver, does not validate the server's "
            "certificate. Install msodbcsql18, or run pip install '.[mssql]' in the source "
            "directory; TrustServerCertificate=yes skips certificate validation"
        )
    host, port = _host_and_port(pairs.pop("SERVER"), pairs.pop("PORT", None))
    result = {"DRIVER": driver.name, "SERVER": host, "TDS_Version": "7.4", "Encryption": encryption}
    if port is not None:
        result["PORT"] = port
    result |= {key: value for key, value in pairs.items() if key in _FREETDS_KEYS}
    return "".join(f"{key}={_freetds_value(key, value)};" for key, value in result.items())


def _freetds_value(key: str, value: str) -> str:
    written = grammar.freetds_value(value)
    if written is None:
        raise SetupError(
            f"{VARIABLE}: FreeTDS does not support a {key} that contains '}};'. "
            "Use Microsoft's driver"
        )
    return written


def _host_and_port(server: str, port: str | None) -> tuple[str, str | None]:
    """Split Server for FreeTDS. The port is 1433 by default, and none for a named instance."""
    found = re.fullmatch(
        r"(?:tcp:)?(?P<host>[^,]+?)(?:\s*,\s*(?P<port>\d+))?", server, re.IGNORECASE
    )
    if found is None:
        raise SetupError(f"{VARIABLE}: Server is not of the form host, host,port or host\\instance")
    host = found["host"]
    return host, found["port"] or port or (None if "\\" in host else "1433")
