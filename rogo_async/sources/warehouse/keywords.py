"""Translates the keywords of ADO.NET and ODBC to those of Microsoft's ODBC driver."""

import re
from dataclasses import dataclass
from typing import Final

from rogo_async.common.errors import SetupError
from rogo_async.sources.warehouse import connection_grammar as grammar
from rogo_async.sources.warehouse.drivers import VARIABLE

APPLICATION: Final = "rogo_async"
MAX_CONNECT_S: Final = 60.0

_SPELLINGS: Final = {
    "SERVER": ("server", "datasource", "addr", "address", "networkaddress"),
    "PORT": ("port",),
    "DATABASE": ("database", "initialcatalog"),
    "UID": ("uid", "userid", "user"),
    "PWD": ("pwd", "password"),
    "Encrypt": ("encrypt",),
    "TrustServerCertificate": ("trustservercertificate",),
    "HostNameInCertificate": ("hostnameincertificate",),
    "ServerCertificate": ("servercertificate",),
    "Authentication": ("authentication",),
    "Trusted_Connection": ("trusted_connection", "integratedsecurity"),
    "ApplicationIntent": ("applicationintent",),
    "MultiSubnetFailover": ("multisubnetfailover",),
    "APP": ("app", "applicationname"),
    "WSID": ("wsid", "workstationid"),
    "Language": ("language", "currentlanguage"),
    "ConnectRetryCount": ("connectretrycount",),
    "ConnectRetryInterval": ("connectretryinterval",),
    "IpAddressPreference": ("ipaddresspreference",),
    "Failover_Partner": ("failover_partner", "failoverpartner"),
    "ServerSPN": ("serverspn",),
    "KeepAlive": ("keepalive",),
    "KeepAliveInterval": ("keepaliveinterval",),
    "connect_s": ("connectiontimeout", "connecttimeout", "timeout", "logintimeout"),
}
"""Spellings without white space, by the keyword of Microsoft's ODBC driver."""

_KEYWORD_OF: Final = {
    spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings
}
_IGNORED: Final = frozenset(
    {
        "async",
        "asynchronousprocessing",
        "attestationprotocol",
        "clientcharset",
        "columnencryptionsetting",
        "commandtimeout",
        "connectionlifetime",
        "connectionreset",
        "contextconnection",
        "enclaveattestationurl",
        "enlist",
        "failoverpartnerspn",
        "loadbalancetimeout",
        "mars_connection",
        "maxpoolsize",
        "minpoolsize",
        "multipleactiveresultsets",
        "net",
        "network",
        "networklibrary",
        "packetsize",
        "persistsecurityinfo",
        "poolblockingperiod",
        "pooling",
        "replication",
        "tds_version",
        "transactionbinding",
        "transparentnetworkipresolution",
        "typesystemversion",
        "userinstance",
    }
)
"""Keywords about pools, transactions and similar options, which this tool sets itself."""

_YES_OR_NO: Final = {"true": "yes", "yes": "yes", "false": "no", "no": "no"}
_CHOICES: Final = {
    "Encrypt": {**_YES_OR_NO, "mandatory": "yes", "optional": "no", "strict": "strict"},
    "TrustServerCertificate": _YES_OR_NO,
    "MultiSubnetFailover": _YES_OR_NO,
    "Trusted_Connection": {**_YES_OR_NO, "sspi": "yes"},
    "ApplicationIntent": {"readonly": "ReadOnly", "readwrite": "ReadWrite"},
    "Authentication": {
        "sqlpassword": "SqlPassword",
        "activedirectorypassword": "ActiveDirectoryPassword",
        "activedirectoryintegrated": "ActiveDirectoryIntegrated",
        "activedirectoryserviceprincipal": "ActiveDirectoryServicePrincipal",
        "activedirectorymsi": "ActiveDirectoryMsi",
        "activedirectorymanagedidentity": "ActiveDirectoryMsi",
        "activedirectorydefault": "ActiveDirectoryDefault",
        "activedirectoryworkloadidentity": "ActiveDirectoryDefault",
    },
}
_INTERACTIVE: Final = {"activedirectoryinteractive", "activedirectorydevicecodeflow"}
_LOCAL: Final = re.compile(r"(?:tcp:)?(?:\.|\(local\)|localhost)(?=$|[,\\])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Options of a string without a driver, by the keywords of Microsoft's ODBC driver."""

    pairs: dict[str, str]
    connect_s: float | None


def translate_keywords(pairs: grammar.Pairs) -> ConnectionOptions:
    """Translate keywords and values; of several with the same meaning the last counts.

    Raises SetupError for an unknown keyword, an invalid value or a missing server.
    """
    options: dict[str, str] = {}
    previous = ""
    for key, value in pairs:
        spelling = grammar.normalized(key)
        name = _KEYWORD_OF.get(spelling)
        if name is not None and value:
            options[name] = _translate(name, key, value)
        elif name is None and spelling not in _IGNORED:
            raise SetupError(_unknown(key, previous))
        previous = name or key
    if "SERVER" not in options:
        raise SetupError(
            f"{VARIABLE}: has no server. Expected DRIVER={{…}};SERVER=…;DATABASE=…;UID=…;PWD=… "
            "or Server=tcp:host,1433;Initial Catalog=…;User ID=…;Password=…"
        )
    connect_s = min(float(options.pop("connect_s", "0")), MAX_CONNECT_S)
    return ConnectionOptions(options, connect_s or None)


def _unknown(key: str, previous: str) -> str:
    if previous == "PWD":
        # It may be the rest of the password, so it must not appear in the text.
        return (
            f"{VARIABLE}: unknown keyword after the password. A password with a semicolon must be "
            "in quotes (ADO.NET) or braces (ODBC)"
        )
    return f"{VARIABLE}: unknown keyword {key!r}"


def _translate(name: str, key: str, value: str) -> str:
    if name == "SERVER":
        return _server(value)
    if name in {"connect_s", "PORT"}:
        if not re.fullmatch(r"\d{1,9}", value):
            raise SetupError(f"{VARIABLE}: {key} is not a whole number")
        return value
    if name not in _CHOICES:
        return value
    choice = value.replace(" ", "").lower()
    if choice in _INTERACTIVE:
        raise SetupError(f"{VARIABLE}: this {key} needs an interactive login")
    if choice not in _CHOICES[name]:
        raise SetupError(f"{VARIABLE}: {key} has an unknown value")
    return _CHOICES[name][choice]


def _server(value: str) -> str:
    if re.match(r"(?i)(np|lpc|via):|\\\\|\(localdb\)", value):
        raise SetupError(f"{VARIABLE}: only TCP is supported: Server=tcp:host,1433")
    return _LOCAL.sub("localhost", value)
