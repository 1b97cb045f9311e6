"""DATABASE_URL: hosts, login, database and parameters (specification §4).

The form and the parameters are those of libpq, whose URLs people copy. asyncpg understands a part
of them, and sends every parameter that it does not know to the server. So each parameter of libpq
is honoured, ignored with a warning, or refused by name. All others are settings of the server.

Source: https://www.postgresql.org/docs/current/libpq-connect.html
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

FORM: Final = (
    "must have the form postgresql://user:password@host:5432/database "
    "(write / @ : # ? in the password as %2F %40 %3A %23 %3F)"
)
LOCAL_HOSTS: Final = frozenset({"", "localhost", "127.0.0.1", "::1"})
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")

_URL: Final = re.compile(
    r"(?i:postgres(?:ql)?(?:\+[a-z0-9]+)?)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]*)"
    r"(?:/(?P<database>[^?#@]*))?(?:\?(?P<query>[^#]*))?"
)
_HOST: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.%-]+)?)\]|(?P<name>[^:\[\]]+))(?::(?P<port>\d*))?"
)
_MAX_PORT: Final = 65_535
_DEFAULT_PORT: Final = 5432

_LOGIN: Final = frozenset({"host", "port", "dbname", "database", "user", "password"})
_HONOURED: Final = frozenset(
    {"passfile", "sslmode", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"}
    | {"sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version"}
    | {"target_session_attrs", "connect_timeout", "krbsrvname", "gsslib"}
    | {"sslcertmode"}
)
_IGNORED: Final = frozenset(
    {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"}
    | {"tcp_user_timeout", "application_name", "fallback_application_name", "client_encoding"}
    | {"sslcompression", "sslsni", "sslkeylogfile", "load_balance_hosts"}
    | {"channel_binding", "gssencmode", "gssdelegation"}
    | {"min_protocol_version", "max_protocol_version"}
)
"""They do not matter here, or this tool sets them itself. ``_REFUSED`` goes first."""

_ANY: Final = re.compile(".*")
_REQUIRE: Final = re.compile("require")
_REFUSED: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    "channel_binding": (_REQUIRE, "remove it; sslmode=verify-full protects the login"),
    "gssencmode": (_REQUIRE, "remove it and use sslmode"),
    "sslcertmode": (_REQUIRE, "remove it; the server decides whether it asks for a certificate"),
    "require_auth": (_ANY, "remove it; the server decides how a user logs in"),
    "requiressl": (_ANY, "use sslmode"),
    "ssl": (_ANY, "use sslmode"),
    "sslcrldir": (_ANY, "use sslcrl with one file"),
    "service": (_ANY, "write the settings of the service into the URL"),
    "servicefile": (_ANY, "write the settings of the service into the URL"),
    "hostaddr": (_ANY, "use host"),
    "replication": (_ANY, "remove it"),
    "requirepeer": (_ANY, "remove it"),
    "scram_client_key": (_ANY, "use a password"),
    "scram_server_key": (_ANY, "use a password"),
    "oauth_issuer": (_ANY, "use a password or a certificate"),
    "oauth_client_id": (_ANY, "use a password or a certificate"),
    "oauth_client_secret": (_ANY, "use a password or a certificate"),
    "oauth_scope": (_ANY, "use a password or a certificate"),
    "target_session_attrs": (
        re.compile("standby|read-only|prefer-standby"),
        "a run writes: use read-write",
    ),
}
"""Parameters that ask for something that is not done here: which values, and the remedy."""

_CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "sslmode": SSL_MODES,
    "target_session_attrs": ("any", "read-write", "primary"),
    "sslnegotiation": ("postgres", "direct"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
}


@dataclass(frozen=True, slots=True)
class Host:
    """A server. ``name`` is a host name, an address or the directory of a Unix socket.

    An empty name means what libpq's environment variables say, else this machine.
    """

    name: str
    port: int | None

    def __str__(self) -> str:
        return f"{self.name}:{self.port or _DEFAULT_PORT}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine."""
        return self.name in LOCAL_HOSTS or self.name.startswith("/")


@dataclass(frozen=True)
class DatabaseUrl:
    """A valid DATABASE_URL. ``parameters`` has those that are honoured or sent to the server."""

    text: str = field(repr=False)
    hosts: Sequence[Host]
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    parameters: Mapping[str, str] = field(repr=False)
    ignored: Sequence[str]
    """The names of the parameters that have no effect."""

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Raises ValueError, without the values of the URL."""
        match = _URL.fullmatch(text)
        if match is None or not text.isprintable():
            raise ValueError(FORM)
        if match["login"] is None and "@" in (match["query"] or ""):
            raise ValueError(FORM)  # a question mark in the password
        query = _query(match["query"] or "")
        _refuse(query)
        user, _, password = (match["login"] or "").partition(":")
        database = unquote(match["database"] or "")
        url = cls(
            text,
            _hosts(match["hosts"], query),
            unquote(user) or query.get("user"),
            unquote(password) or query.get("password"),
            database or query.get("dbname") or query.get("database"),
            {k: v for k, v in query.items() if k not in _LOGIN | _IGNORED},
            sorted(query.keys() & _IGNORED),
        )
        if len(url.hosts) == 1:
            _split(text)
        return url

    def variables_that_count(self, environment: Mapping[str, str]) -> list[str]:
        """The variables of libpq that name the host, port or database instead of the URL.

        They would make the identity of the target, and whether its certificate is checked, depend
        on the environment.
        """
        found = []
        if environment.get("PGHOST") and not all(host.name for host in self.hosts):
            found.append("PGHOST")
        default = environment.get("PGPORT") or str(_DEFAULT_PORT)
        if default != str(_DEFAULT_PORT) and not all(host.port for host in self.hosts):
            found.append("PGPORT")
        if environment.get("PGDATABASE") and not self.database:
            found.append("PGDATABASE")
        return found

    @property
    def is_local(self) -> bool:
        """Whether every host is this machine."""
        return all(host.is_local for host in self.hosts)

    @property
    def server_settings(self) -> dict[str, str]:
        """The parameters that the server gets: all that libpq does not know, and ``options``."""
        return {k: v for k, v in self.parameters.items() if k not in _HONOURED}

    @cached_property
    def identity(self) -> str:
        """Host, port and database as one text, the same for any order of several hosts.

        For one host its form never changes, since the metadata of blobs have a digest of it.
        """
        if len(self.hosts) > 1:
            where = ",".join(sorted(map(str, self.hosts)))
            return f"{where}/{self.database or self.user or ''}"
        parts = _split(self.text)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        host = query.get("host") or parts.hostname or ""
        port: Any = query.get("port") or parts.port or _DEFAULT_PORT
        database = parts.path.lstrip("/") or query.get("dbname") or query.get("database")
        return f"{host}:{port}/{database or parts.username or ''}"


def _split(text: str) -> SplitResult:
    try:
        return urlsplit(text)
    except ValueError:  # its text would quote the URL
        raise ValueError(FORM) from None


def _query(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        parameters = parse_qs(text, strict_parsing=True)
    except ValueError:
        raise ValueError("must have name=value&name=value after the question mark") from None
    if twice := [name for name, values in parameters.items() if len(values) > 1]:
        raise ValueError(f"has a parameter twice: {', '.join(sorted(twice))}")
    return {name: values[0] for name, values in parameters.items()}


def _refuse(query: Mapping[str, str]) -> None:
    problems = []
    for name, value in query.items():
        refused, remedy = _REFUSED.get(name, (None, ""))
        if refused is not None and refused.fullmatch(value):
            problems.append(f"the parameter {name} cannot be honoured: {remedy}")
        elif name in _CHOICES and value not in _CHOICES[name]:
            problems.append(f"{name} must be one of {', '.join(_CHOICES[name])}")
        elif name == "connect_timeout" and not re.fullmatch(r"-?\d{1,3}", value):
            problems.append("connect_timeout must be a number of seconds, at most 999")
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name):
            problems.append("a parameter has a name that no setting has")
    if problems:
        raise ValueError("; ".join(problems))


def _hosts(text: str, query: Mapping[str, str]) -> list[Host]:
    """The hosts of the URL, else those of its parameters ``host`` and ``port``."""
    ports = [_port(part) for part in query["port"].split(",")] if "port" in query else []
    if text and "host" in query:
        raise ValueError("names a host twice: before the database, and with host=")
    entries = text or query.get("host", "")
    if not entries:
        return [Host("", ports[0] if ports else None)]
    hosts = [_host(entry, encoded=bool(text)) for entry in entries.split(",")]
    if not ports:
        return hosts
    if len(ports) not in {1, len(hosts)}:
        raise ValueError("has another number of ports than of hosts")
    if any(host.port for host in hosts):
        raise ValueError("names a port twice: after the host, and with port=")
    ports = ports if len(ports) == len(hosts) else ports * len(hosts)
    return [Host(host.name, port) for host, port in zip(hosts, ports, strict=True)]


def _host(entry: str, *, encoded: bool) -> Host:
    if entry.startswith("/"):
        return Host(entry, None)
    match = _HOST.fullmatch(entry)
    if match is None:
        raise ValueError(FORM)
    name = match["v6"] or match["name"]
    port = unquote(match["port"] or "") if encoded else match["port"]
    return Host(unquote(name) if encoded else name, _port(port) if port else None)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MAX_PORT:
        raise ValueError(FORM)
    return int(text)
