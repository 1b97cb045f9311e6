"""Checks of the target: connection, server and session; and all others on one connection."""

import ssl
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

from rogo_async.commands.check.instance_id import InstanceIdChecks
from rogo_async.commands.check.probe import QueryRunner, compare_clocks, with_brief_retry
from rogo_async.commands.check.results import (
    Check,
    CheckReport,
    CheckResult,
    fail,
    ok,
    result_of_error,
    warning,
)
from rogo_async.commands.check.schema import SchemaChecks
from rogo_async.commands.check.trial_insert import TrialInsertChecks
from rogo_async.common.errors import DependencyError, SetupError, SystemicError
from rogo_async.common.settings import Settings
from rogo_async.common.text import plural
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.lock_claims import LOCK_KEY as RUN_LOCK_KEY

_APPLICATION_NAME: Final = "rogo_async check"
_CHECK_SERVER: Final = "Check that the server is running and that DATABASE_URL points to it"
_PASSED: Final = {
    "target.reach": "server reachable",
    "target.tls": "TLS as configured",
    "target.login": "login accepted",
}
_TOO_MANY_CONNECTIONS: Final = "53300"
_OLDEST_VERSION: Final = 120_000
_LOGIN: Final = ("target.login",)
_SIZES: Final = ("settings.ROGO_PG_POOL_SIZE", "settings.ROGO_CONCURRENCY")
_LOCK_CONNECTIONS: Final = 1


class TargetChecks:
    """All checks of the target, on one connection."""

    def __init__(self, settings: Settings, report: CheckReport) -> None:
        self._settings = settings
        self._report = report
        self._queries = QueryRunner()
        self._server = ServerChecks(self._queries, settings, report)

    async def execute(self) -> None:
        """Run the checks."""
        async with AsyncExitStack() as stack:
            await self._connect(stack)
            await self._report.run(
                [
                    *self._server.checks(),
                    *SchemaChecks(self._queries, self._settings).checks(),
                    *InstanceIdChecks(self._queries, self._settings).checks(),
                    *TrialInsertChecks(self._queries, self._settings).checks(),
                ]
            )

    async def _connect(self, stack: AsyncExitStack) -> None:
        """Connect, and report the three steps: reach, TLS and login."""
        report, names = self._report, list(_PASSED)
        if not report.passed("settings.DATABASE_URL"):
            for name in names:
                report.skip(name, "settings.DATABASE_URL")
            return
        try:
            options = ConnectOptions.of(self._settings.target_url, _APPLICATION_NAME)
            self._queries.connections = await with_brief_retry(lambda: Connections.open(options, 1))
        except SetupError as error:
            report.add("target.tls", result_of_error(error, _CHECK_SERVER))
            for name in ("target.reach", "target.login"):
                report.skip(name, "target.tls")
            return
        except DependencyError as error:
            failed, result = _failed_step(error)
            for name in names[: names.index(failed)]:
                report.add(name, ok(_PASSED[name]))
            report.add(failed, result)
            for name in names[names.index(failed) + 1 :]:
                report.skip(name, failed)
            return
        stack.push_async_callback(self._queries.connections.aclose)
        report.add("target.reach", ok(_PASSED["target.reach"]))
        await report.run([Check("target.tls", self._server.tls, (), _CHECK_SERVER)])
        report.add("target.login", ok(_PASSED["target.login"]))


def _failed_step(error: DependencyError) -> tuple[str, CheckResult]:
    """The connection step that failed, and its result.

    The type of the driver's exception identifies the step. A run does not need this.
    """
    result = result_of_error(error, _CHECK_SERVER)
    cause = error.__context__
    if getattr(cause, "sqlstate", None) == _TOO_MANY_CONNECTIONS:
        return "target.login", fail(
            "no connection left for this user",
            "Close idle connections, or raise max_connections or the connection limit of the role "
            "or database",
        )
    if isinstance(cause, ssl.SSLError) or type(cause) is ConnectionError:
        return "target.tls", result
    if isinstance(error, SystemicError) and hasattr(cause, "sqlstate"):
        return "target.login", result
    return "target.reach", result


class ServerChecks:
    """Checks of the server and the session, independent of the schema."""

    def __init__(self, queries: QueryRunner, settings: Settings, report: CheckReport) -> None:
        self._queries = queries
        self._settings = settings
        self._report = report

    def checks(self) -> list[Check]:
        """The checks that need a login."""
        return [
            Check("target.pooler", self._pooler, _LOGIN),
            Check("target.version", self._version, _LOGIN),
            Check("target.primary", self._primary, _LOGIN),
            Check("target.lock", self._lock, _LOGIN),
            Check("target.connections", self._connections, (*_LOGIN, *_SIZES)),
            Check("clock.target", self._clock, _LOGIN),
        ]

    async def tls(self) -> CheckResult:
        """Whether the connection is encrypted."""
        row = await self._queries.row("server_tls")
        if row["protocol"] is not None:
            return ok(f"encrypted with {row['protocol']}")
        if row["local"]:
            return ok("not encrypted, but local to this machine")
        return warning(
            "not encrypted: passwords and marks are sent in clear text",
            "Enable TLS on the server and remove sslmode from DATABASE_URL",
        )

    async def _pooler(self) -> CheckResult:
        async with self._queries.connections.session("backend") as session:
            expected_pid = session.raw.get_server_pid()
            pid = (await session.row("backend", {}))["pid"]
        if expected_pid != pid:
            return fail(
                "connected through a connection pooler, which does not keep the run lock",
                "Use the address of the PostgreSQL server itself in DATABASE_URL",
            )
        return ok("no connection pooler")

    async def _version(self) -> CheckResult:
        row = await self._queries.row("server_facts")
        if row["number"] < _OLDEST_VERSION:
            return fail(
                f"PostgreSQL {row['version']} is not supported",
                f"Use version {_OLDEST_VERSION // 10_000} or later",
            )
        if row["encoding"] == "SQL_ASCII":
            return warning(
                f"PostgreSQL {row['version']}, with the encoding SQL_ASCII: it stores texts that "
                "are not valid UTF-8, which this tool cannot read",
                "Ask the platform team to convert the database to UTF8",
            )
        return ok(f"PostgreSQL {row['version']}")

    async def _primary(self) -> CheckResult:
        row = await self._queries.row("server_facts")
        if row["standby"]:
            return fail("read-only replica", "Use the primary server in DATABASE_URL")
        if row["read_only"]:
            return fail(
                "sessions are read-only by default",
                "Set default_transaction_read_only = off for this role and database",
            )
        return ok("writable (not a replica)")

    async def _lock(self) -> CheckResult:
        rows = await self._queries.rows("lock_holder", **RUN_LOCK_KEY)
        if not rows:
            return ok("run lock is free")
        since = rows[0]["since"]
        when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start time not visible)"
        return warning(
            f"another run holds the run lock {when}", "Wait until it ends before you start a run"
        )

    async def _connections(self) -> CheckResult:
        available = _available_connections(await self._queries.row("connection_room"))
        needed = self._settings.pg_pool_size + _LOCK_CONNECTIONS
        message = f"{plural(available, 'connection')} available, a run needs up to {needed}"
        remedy = "Lower ROGO_PG_POOL_SIZE, or raise the limit of the server, role or database"
        if available >= needed:
            return ok(message)
        if self._report.has_warning("target.lock"):
            return warning(f"{message}; the active run uses some", remedy)
        return fail(message, remedy)

    async def _clock(self) -> CheckResult:
        before = datetime.now(UTC)
        server_time = (await self._queries.row("server_clock"))["now"]
        return compare_clocks(server_time, before, datetime.now(UTC), "the target")


def _available_connections(row: Any) -> int:
    """The connections that this user could open, including the one of this query."""
    limits: list[tuple[int, int]] = [
        (row["allowed"], row["used"]),
        (row["role_allowed"], row["role_used"]),
        (row["database_allowed"], row["database_used"]),
    ]
    return max(0, min(allowed - used + 1 for allowed, used in limits if allowed >= 0))
