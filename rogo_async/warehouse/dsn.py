"""Connection strings: the ODBC form as it is, the ADO.NET form translated (SPEC §4).

Source of the keywords: Microsoft's pages on SqlConnection.ConnectionString and on the ODBC
driver's connection string attributes.
"""

import re
from typing import Final

from rogo_async.errors import SetupError

VARIABLE: Final = "DATA_WAREHOUSE_CONNECTION_STRING"

_PAIR = re.compile(
    r"\s*(?P<key>[^=;]+?)\s*=\s*"
    r"(?P<value>\{(?:[^}]|\}\})*\}|\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|[^;]*?)\s*(?:;|$)"
)
_MICROSOFT = re.compile(r"ODBC Driver \d+ for SQL Server")
_ADO_KEYS: Final = {
    "server": "SERVER",
    "data source": "SERVER",
    "address": "SERVER",
    "addr": "SERVER",
    "network address": "SERVER",
    "database": "DATABASE",
    "initial catalog": "DATABASE",
    "user id": "UID",
    "user": "UID",
    "uid": "UID",
    "password": "PWD",
    "pwd": "PWD",
    "encrypt": "Encrypt",
    "trustservercertificate": "TrustServerCertificate",
    "trust server certificate": "TrustServerCertificate",
    "authentication": "Authentication",
    "applicationintent": "ApplicationIntent",
    "application intent": "ApplicationIntent",
    "multisubnetfailover": "MultiSubnetFailover",
    "multi subnet failover": "MultiSubnetFailover",
    "application name": "APP",
    "app": "APP",
}
_ADO_AUTHENTICATION: Final = {
    "active directory password": "ActiveDirectoryPassword",
    "active directory managed identity": "ActiveDirectoryMsi",
    "active directory msi": "ActiveDirectoryMsi",
    "active directory service principal": "ActiveDirectoryServicePrincipal",
    "active directory integrated": "ActiveDirectoryIntegrated",
    "sql password": "SqlPassword",
}
_YES: Final = {"true": "yes", "false": "no", "yes": "yes", "no": "no"}
_ENCRYPT: Final = {
    **_YES,
    "mandatory": "yes",
    "optional": "no",
    "strict": "strict",
}


_ADO_VALUES: Final = {
    "Encrypt": _ENCRYPT,
    "TrustServerCertificate": _YES,
    "MultiSubnetFailover": _YES,
    "Authentication": _ADO_AUTHENTICATION,
}


def odbc_string(text: str) -> str:
    """The connection string as unixODBC takes it.

    Raises SetupError when the text names neither a driver, a DSN nor a server.
    """
    pairs = parse(text)
    keys = {key.lower() for key, _ in pairs}
    if keys & {"driver", "dsn", "filedsn"}:
        return text
    if not keys & {"server", "data source", "address", "addr", "network address"}:
        raise SetupError(
            f"{VARIABLE}: names no server. Expected DRIVER={{…}};SERVER=…;DATABASE=…;UID=…;PWD=… "
            "or Server=tcp:host,1433;Initial Catalog=…;User ID=…;Password=…"
        )
    return ";".join(
        [f"DRIVER={quote(_newest_driver())}"]
        + [f"{key}={quote(value)}" for key, value in _translated(pairs).items()]
    )


def parse(text: str) -> list[tuple[str, str]]:
    """Keyword and value pairs in the order they stand, quotes and braces removed."""
    pairs = []
    place = 0
    while place < len(text):
        match = _PAIR.match(text, place)
        if match is None:
            if text[place:].strip(" ;\t\r\n"):
                raise SetupError(f"{VARIABLE}: is not made of keyword=value pairs joined by ;")
            break
        pairs.append((match["key"], _unquoted(match["value"])))
        place = match.end()
    return pairs


def quote(value: str) -> str:
    """A value as ODBC reads it back: in braces, a closing brace doubled, where it needs them."""
    if re.fullmatch(r"[A-Za-z0-9_.,:\-\\/@+ ]*", value) and value == value.strip():
        return value
    return "{" + value.replace("}", "}}") + "}"


def _unquoted(value: str) -> str:
    if value[:1] == "{" and value[-1:] == "}" and len(value) > 1:
        return value[1:-1].replace("}}", "}")
    for mark in "\"'":
        if value[:1] == mark and value[-1:] == mark and len(value) > 1:
            return value[1:-1].replace(mark * 2, mark)
    return value


def _translated(pairs: list[tuple[str, str]]) -> dict[str, str]:
    result = {"Encrypt": "yes", "ApplicationIntent": "ReadOnly", "APP": "rogo_async"}
    for key, value in pairs:
        name = _ADO_KEYS.get(" ".join(key.lower().split()))
        if name is not None:
            result[name] = _ADO_VALUES.get(name, {}).get(value.lower(), value)
    return result


def _newest_driver() -> str:
    import pyodbc  # noqa: PLC0415 - it needs the system's unixODBC, whose absence we explain

    installed: list[str] = pyodbc.drivers()
    microsoft = [name for name in installed if _MICROSOFT.fullmatch(name)]
    if microsoft:
        return max(microsoft, key=lambda name: int(name.split()[2]))
    if "FreeTDS" in installed:
        return "FreeTDS"
    raise SetupError(
        "no ODBC driver for SQL Server is installed. Install Microsoft's msodbcsql18, "
        "or Debian's tdsodbc, or name a driver in " + VARIABLE
    )
