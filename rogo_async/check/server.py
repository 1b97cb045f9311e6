"""The target as a server: what it is, who else is there, and what time it has."""

from datetime import UTC, datetime
from typing import Any, Final

from rogo_async.check.asking import Asking
from rogo_async.check.clock import compared
from rogo_async.check.findings import Check, Findings, Verdict, fail, ok, warning
from rogo_async.settings import Settings
from rogo_async.target import RUN_LOCK_KEY

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
