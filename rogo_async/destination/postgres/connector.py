"""Opens one connection to the target: its hosts in turn, with TLS as DATABASE_URL asks.

asyncpg could do both, but with one deadline for all hosts, so that a host that does not answer
hides the others, and with files of HOME that nobody asked for.
"""

import getpass
import os
import ssl
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import structlog

from rogo_async.common.database_url import DatabaseUrl, Host
from rogo_async.common.errors import SetupError
from rogo_async.destination.postgres.tls import Tls, ways_to_connect

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 20.0
RUN: Final = "rogo_async"
"""The application_name of a run's sessions; ``sweep`` and ``rollback`` look for it."""
OF_SHARD: Final = f"{RUN} shard "
"""Its beginning for the sessions of a shard."""

_KEEPALIVE: Final = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "120s",
}
"""Lets the server detect within a minute that this machine is gone, and release its locks."""
_TRY_NEXT: Final = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.exceptions.TargetServerAttributeNotMatched,
)
log = structlog.get_logger()


@dataclass
class ConnectOptions:
    """How to connect to the target. ``name`` is the application_name that the server shows."""

    url: DatabaseUrl
    tls: "list[Tls]"
    name: str = RUN
    _first: int = field(default=0, init=False)
    """The index of the host that answered last; it is tried first."""

    @classmethod
    def of(cls, url: DatabaseUrl, name: str = RUN) -> "ConnectOptions":
        """Logs the parameters without effect.

        Raises SetupError for a certificate file that cannot be used.
        """
        if url.ignored:
            log.warning("DATABASE_URL: parameters without effect", parameters=list(url.ignored))
        return cls(url, list(ways_to_connect(url)), name)

    @property
    def deadline_s(self) -> float:
        """The time after which ``connect`` has tried all hosts."""
        return self._timeout_s * len(self.url.hosts)

    async def connect(self, _dsn: None = None, **of_pool: Any) -> Any:
        """Connect to the first host that answers. The arguments are those of asyncpg's pool.

        With several hosts, to the first one that accepts writes. Raises the error of the last host.
        """
        hosts = self.url.hosts
        last: BaseException | None = None
        for number in range(len(hosts)):
            index = (self._first + number) % len(hosts)
            try:
                connection = await self._connect_to(hosts[index], of_pool)
            except _TRY_NEXT as error:
                if isinstance(error, ssl.SSLError):
                    raise
                last = error
            else:
                self._first = index
                return connection
        raise last or OSError

    async def _connect_to(self, host: Host, of_pool: dict[str, Any]) -> Any:
        *others, last = self.tls
        for tls in others:
            try:
                return await self._try(host, tls, of_pool)
            except (OSError, asyncpg.InvalidAuthorizationSpecificationError) as error:
                if not _refuses_way(error):
                    raise
        return await self._try(host, last, of_pool)

    async def _try(self, host: Host, tls: Tls, of_pool: dict[str, Any]) -> Any:
        url, parameters = self.url, self.url.parameters
        attributes = parameters.get("target_session_attrs", "any")
        if attributes == "any" and len(url.hosts) > 1:
            attributes = "read-write"  # the lock and the rows are on the primary server
        ours = {"application_name": self.name, "TimeZone": "UTC", **_KEEPALIVE}
        arguments: dict[str, Any] = {
            "host": host.name or None,
            "port": host.port,
            "user": url.user or os.environ.get("PGUSER") or _account(),
            "password": url.password,
            "database": url.database,
            "passfile": parameters.get("passfile"),
            "ssl": tls,
            "direct_tls": parameters.get("sslnegotiation") == "direct" and tls is not False,
            "timeout": self._timeout_s,
            "command_timeout": STATEMENT_S,
            "target_session_attrs": attributes,
            "krbsrvname": parameters.get("krbsrvname"),
            "gsslib": parameters.get("gsslib"),
            "server_settings": {**url.server_settings, **ours},
        }
        return await asyncpg.connect(**arguments, **of_pool)

    @property
    def _timeout_s(self) -> float:
        seconds = int(self.url.parameters.get("connect_timeout", "0"))
        return float(seconds) if seconds > 0 else CONNECT_S


def _refuses_way(error: Exception) -> bool:
    """Whether the server refuses this way to connect, with or without TLS, and may accept another.

    asyncpg raises a bare ConnectionError when the server does not offer TLS.
    """
    if isinstance(error, asyncpg.PostgresError):
        return not isinstance(error, asyncpg.InvalidPasswordError)
    return isinstance(error, ssl.SSLError) or is_without_tls(error)


def is_without_tls(error: BaseException) -> bool:
    """Whether the server does not offer TLS.

    Errors of the operating system are subclasses of ConnectionError.
    """
    return type(error) is ConnectionError and "rejected SSL" in str(error)


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise SetupError("DATABASE_URL: names no user, and this account has no name") from None
