"""The target: whether it answers, is the platform's, and lets a run write."""

import ssl
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

from rogo_async.commands.check.probe import Asking, compared, soon
from rogo_async.commands.check.results import (
    Check,
    Findings,
    Verdict,
    fail,
    ok,
    verdict_of,
    warning,
)
from rogo_async.commands.check.trial_insert import Trial
from rogo_async.common.errors import DependencyError, SetupError, SystemicError
from rogo_async.common.settings import Settings
from rogo_async.destination.postgres.connections import Connections, ConnectOptions
from rogo_async.destination.postgres.reference_data import (
    SchemaDifferences,
    applied_by,
    compare_schema,
    missing_rights,
)
from rogo_async.destination.postgres.run_lock import LOCK_KEY as RUN_LOCK_KEY
from rogo_async.destination.postgres.schema import READ_TABLES, WRITTEN_TABLES

_OLDEST: Final = 120_000
_LOGIN: Final = ("target.login",)
_SIZES: Final = ("settings.ROGO_PG_POOL_SIZE", "settings.ROGO_CONCURRENCY")
_BESIDE_THE_POOL: Final = 1
"""The connection that holds the lock."""


class Server:
    """Looks at what is the same whatever the database in it."""

    def __init__(self, asking: Asking, settings: Settings, findings: Findings) -> None:
        self._asking = asking
        self._settings = settings
        self._findings = findings

    def checks(self) -> list[Check]:
        """What follows the login."""
        return [
            Check("target.pooler", self._pooler, _LOGIN),
            Check("target.version", self._version, _LOGIN),
            Check("target.primary", self._primary, _LOGIN),
            Check("target.lock", self._lock, _LOGIN),
            Check("target.connections", self._connections, (*_LOGIN, *_SIZES)),
            Check("clock.target", self._clock, _LOGIN),
        ]

    async def tls(self) -> Verdict:
        """Whether the way to it is encrypted."""
        row = await self._asking.row("server_tls")
        if row["protocol"] is not None:
            return ok(f"encrypted with {row['protocol']}")
        if row["local"]:
            return ok("not encrypted, and within one machine")
        return warning(
            "not encrypted: passwords and marks travel in the clear",
            "Turn TLS on there and leave sslmode out of DATABASE_URL",
        )

    async def _clock(self) -> Verdict:
        before = datetime.now(UTC)
        there = (await self._asking.row("server_clock"))["now"]
        return compared(there, before, datetime.now(UTC), "the target's")

    async def _pooler(self) -> Verdict:
        async with self._asking.connections.session("backend") as session:
            told = session.raw.get_server_pid()
            found = (await session.row("backend", {}))["pid"]
        if told != found:
            return fail(
                "a connection pooler stands between, which does not keep the lock against a "
                "second run",
                "Name the PostgreSQL server itself in DATABASE_URL",
            )
        return ok("no pooler stands between")

    async def _version(self) -> Verdict:
        row = await self._asking.row("server_facts")
        if row["number"] < _OLDEST:
            return fail(
                f"PostgreSQL {row['version']} is too old", f"Use {_OLDEST // 10_000} or later"
            )
        return ok(f"PostgreSQL {row['version']}")

    async def _primary(self) -> Verdict:
        row = await self._asking.row("server_facts")
        if row["standby"]:
            return fail("a standby, which takes no writes", "Name the primary in DATABASE_URL")
        if row["read_only"]:
            return fail(
                "sessions begin read only",
                "Set default_transaction_read_only = off for this role and database",
            )
        return ok("takes writes")

    async def _lock(self) -> Verdict:
        rows = await self._asking.rows("lock_holder", **RUN_LOCK_KEY)
        if not rows:
            return ok("the lock against a second run is free")
        since = rows[0]["since"]
        when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start not visible here)"
        return warning(
            f"another run has held the lock {when}", "Let it finish before you start another"
        )

    async def _connections(self) -> Verdict:
        left = _left(await self._asking.row("connection_room"))
        wanted = self._settings.pg_pool_size + _BESIDE_THE_POOL
        shown = f"{left} connections are left, a run may want {wanted}"
        remedy = "Lower ROGO_PG_POOL_SIZE, or have the limit raised (server, role or database)"
        if left >= wanted:
            return ok(shown)
        if self._findings.is_warned_of("target.lock"):
            return warning(f"{shown}; the run that holds the lock has some", remedy)
        return fail(shown, remedy)


def _left(row: Any) -> int:
    """How many connections this user could have, the one that asks among them."""
    limits: list[tuple[int, int]] = [
        (row["allowed"], row["used"]),
        (row["role_allowed"], row["role_used"]),
        (row["database_allowed"], row["database_used"]),
    ]
    return max(0, min(allowed - used + 1 for allowed, used in limits if allowed >= 0))


_KEYED: Final = ("lti_launch_sessions", "lti_session_records")
_GRANT: Final = "Grant it to the user of DATABASE_URL"
_MOVED_ON: Final = "The platform's schema is not the one that this version writes: get one that is"
_NAME_ONE: Final = "Name a user of the platform in it, or leave it out"
_COUNT: Final = len(READ_TABLES) + len(WRITTEN_TABLES)


class Platform:
    """Looks at the schema and at what a run loads from it once."""

    def __init__(self, asking: Asking, settings: Settings) -> None:
        self._asking = asking
        self._settings = settings
        self._faults = SchemaDifferences()

    def checks(self) -> list[Check]:
        """Each once the tables are there."""
        tables = ("target.tables",)
        readable = ("target.columns", "target.rights")
        return [
            Check("target.tables", self._tables, ("target.login",)),
            Check("target.columns", self._columns, tables),
            Check("target.keys", self._keys, tables),
            Check("target.rights", self._rights, tables),
            Check("target.user", self._user, readable, _NAME_ONE),
            Check("target.reference", self._reference, readable),
        ]

    async def _tables(self) -> Verdict:
        async with self._asking.connections.session("tables") as session:
            self._faults = await compare_schema(session)
        if self._faults.missing_tables:
            return fail(
                f"there is no table {', '.join(self._faults.missing_tables)}",
                "Check database and search path in DATABASE_URL",
            )
        return ok(f"all {_COUNT} tables are there")

    async def _columns(self) -> Verdict:
        found = [
            *_each(self._faults.missing_columns, "{table} has no column {columns}"),
            *_each(
                self._faults.unfilled_columns,
                "{table} wants a value in {columns}, which this version does not write",
            ),
        ]
        if found:
            return fail("; ".join(found), _MOVED_ON)
        return ok(f"{_COUNT} tables with their columns")

    async def _keys(self) -> Verdict:
        rows = await self._asking.rows("tables_without_key", tables=list(_KEYED))
        if rows:
            names = " and ".join(row["table_name"] for row in rows)
            return fail(
                f"{names}: no unique key on launch_id, so that nothing keeps an attempt from "
                "being migrated twice",
                "Have the platform's owner add a unique constraint on launch_id",
            )
        return ok("launch ids are unique")

    async def _rights(self) -> Verdict:
        async with self._asking.connections.session("rights") as session:
            missing = await missing_rights(session)
        if missing:
            return fail(f"no right to {_rights_text(missing)}", _GRANT)
        written = list(WRITTEN_TABLES)
        rows = await self._asking.rows(
            "table_privileges", tables=written, privileges=["DELETE"] * len(written)
        )
        if rows:
            pairs = [(row["table_name"], row["privilege"]) for row in rows]
            return warning(
                f"no right to {_rights_text(pairs)}: a run can do without, a rollback cannot",
                _GRANT,
            )
        return ok("all rights on the tables")

    async def _user(self) -> Verdict:
        async with self._asking.connections.session("user") as session:
            await applied_by(session, self._settings.rogo_migration_user_id)
        return ok("there is a user on whose behalf malpractice rules are applied")

    async def _reference(self) -> Verdict:
        counts = await self._asking.row("reference_counts")
        levels = len(await self._asking.rows("levels"))
        remedy = "Check that DATABASE_URL names the platform's own database, and have them set up"
        if not counts["assessments"]:
            return fail("there are no assessments", remedy)
        shown = (
            f"{counts['assessments']:,} assessments ({counts['active']:,} active), "
            f"{counts['sections']:,} sections, {levels:,} active malpractice levels"
        )
        if not (counts["active"] and counts["sections"] and levels):
            return warning(shown, remedy)
        return ok(shown)


def _each(faults: Mapping[str, Sequence[str]], text: str) -> list[str]:
    return [text.format(table=table, columns=", ".join(names)) for table, names in faults.items()]


def _rights_text(pairs: Sequence[tuple[str, str]]) -> str:
    rights: dict[str, list[str]] = {}
    for table, privilege in pairs:
        rights.setdefault(privilege, []).append(table)
    return "; ".join(f"{right} on {', '.join(tables)}" for right, tables in rights.items())


_NAME: Final = "rogo_async check"
_ADVICE: Final = "See that the server runs and that DATABASE_URL leads to it"
_PASSED: Final = {
    "target.reach": "the server answers",
    "target.tls": "the server's way of encrypting is as it should be",
    "target.login": "the login is taken",
}
_NO_ROOM: Final = "53300"


class Target:
    """All checks of the target."""

    def __init__(self, settings: Settings, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._asking = Asking()
        self.server = Server(self._asking, settings, findings)

    async def execute(self) -> None:
        """Make them, on one connection."""
        async with AsyncExitStack() as stack:
            await self._open(stack)
            await self._findings.carry_out(
                [
                    *self.server.checks(),
                    *Platform(self._asking, self._settings).checks(),
                    *Trial(self._asking, self._settings).checks(),
                ]
            )

    async def _open(self, stack: AsyncExitStack) -> None:
        """Connect. Three findings tell how far that went; what it failed at is one of them."""
        findings, names = self._findings, list(_PASSED)
        if not findings.stands("settings.DATABASE_URL"):
            for name in names:
                findings.skip(name, "settings.DATABASE_URL")
            return
        try:
            options = ConnectOptions(self._settings.target_dsn, self._settings.target_ssl, _NAME)
            self._asking.connections = await soon(lambda: Connections.open(options, 1))
        except SetupError as fault:
            findings.add("target.tls", verdict_of(fault, _ADVICE))
            for name in ("target.reach", "target.login"):
                findings.skip(name, "target.tls")
            return
        except DependencyError as fault:
            at, verdict = _stage(fault)
            for name in names[: names.index(at)]:
                findings.add(name, ok(_PASSED[name]))
            findings.add(at, verdict)
            for name in names[names.index(at) + 1 :]:
                findings.skip(name, at)
            return
        stack.push_async_callback(self._asking.connections.aclose)
        findings.add("target.reach", ok(_PASSED["target.reach"]))
        await findings.carry_out([Check("target.tls", self.server.tls, (), _ADVICE)])
        findings.add("target.login", ok(_PASSED["target.login"]))


def _stage(fault: DependencyError) -> tuple[str, Verdict]:
    """At what connecting failed, and how. The library's error, which the fault stands for, tells
    apart what a run has no need to.
    """
    verdict = verdict_of(fault, _ADVICE)
    cause = fault.__context__
    if getattr(cause, "sqlstate", None) == _NO_ROOM:
        return "target.login", fail(
            "the server has no connection left for this user",
            "End idle connections there, or raise max_connections or the limit of the role or the "
            "database",
        )
    if isinstance(cause, ssl.SSLError) or type(cause) is ConnectionError:
        return "target.tls", verdict
    if isinstance(fault, SystemicError) and hasattr(cause, "sqlstate"):
        return "target.login", verdict
    return "target.reach", verdict
