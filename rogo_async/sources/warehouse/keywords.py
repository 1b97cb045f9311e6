"""The keywords of ADO.NET and of ODBC, and what becomes of each (specification §4)."""

import re
from dataclasses import dataclass
from typing import Final

from rogo_async.common.errors import SetupError
from rogo_async.sources.warehouse import connection_grammar as grammar
from rogo_async.sources.warehouse.drivers import VARIABLE

APPLICATION: Final = "rogo_async"
LONGEST_CONNECT_S: Final = 60.0

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
"""Keywords without their white space, by the name that Microsoft's ODBC driver has for each."""

_KEYWORD_OF: Final = {
    spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings
}
_OF_NO_CONCERN: Final = frozenset(
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
"""Keywords about pools, transactions and the like: what this tool settles in its own way."""

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
_AT_A_SCREEN: Final = {"activedirectoryinteractive", "activedirectorydevicecodeflow"}
_HERE: Final = re.compile(r"(?:tcp:)?(?:\.|\(local\)|localhost)(?=$|[,\\])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What a string without a driver asks for, by the names of Microsoft's ODBC driver."""

    pairs: dict[str, str]
    connect_s: float | None


def translate_keywords(pairs: grammar.Pairs) -> ConnectionOptions:
    """What the keywords mean; of several for one thing the last counts.

    Raises SetupError for what is unknown, impossible or missing.
    """
    wanted: dict[str, str] = {}
    before = ""
    for key, value in pairs:
        spelling = grammar.normalized(key)
        name = _KEYWORD_OF.get(spelling)
        if name is not None and value:
            wanted[name] = _translated(name, key, value)
        elif name is None and spelling not in _OF_NO_CONCERN:
            raise SetupError(_unknown(key, before))
        before = name or key
    if "SERVER" not in wanted:
        raise SetupError(
            f"{VARIABLE}: names no server. Expected DRIVER={{…}};SERVER=…;DATABASE=…;UID=…;PWD=… "
            "or Server=tcp:host,1433;Initial Catalog=…;User ID=…;Password=…"
        )
    connect_s = min(float(wanted.pop("connect_s", "0")), LONGEST_CONNECT_S)
    return ConnectionOptions(wanted, connect_s or None)


def _unknown(key: str, before: str) -> str:
    if before == "PWD":
        # It may be the rest of the password.
        return (
            f"{VARIABLE}: what follows the password is no known keyword. A password that holds a "
            "semicolon must be in quotes (ADO.NET) or braces (ODBC)"
        )
    return f"{VARIABLE}: the keyword {key!r} is unknown"


def _translated(name: str, key: str, value: str) -> str:
    if name == "SERVER":
        return _server(value)
    if name in {"connect_s", "PORT"}:
        if not re.fullmatch(r"\d{1,9}", value):
            raise SetupError(f"{VARIABLE}: {key} is not a whole number")
        return value
    if name not in _CHOICES:
        return value
    choice = value.replace(" ", "").lower()
    if choice in _AT_A_SCREEN:
        raise SetupError(f"{VARIABLE}: this {key} needs somebody at a screen")
    if choice not in _CHOICES[name]:
        raise SetupError(f"{VARIABLE}: {key} has a value that is not known")
    return _CHOICES[name][choice]


def _server(value: str) -> str:
    if re.match(r"(?i)(np|lpc|via):|\\\\|\(localdb\)", value):
        raise SetupError(f"{VARIABLE}: the server is reached by TCP only: Server=tcp:host,1433")
    return _HERE.sub("localhost", value)
