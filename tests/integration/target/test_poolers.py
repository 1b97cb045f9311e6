"""A connection pooler is refused at start, in every mode (decision 6): PgBouncer, as installed."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from rogo_async.demo.servers.ports import reserve_port
from rogo_async.demo.servers.postgres import STOP_SIGNALS
from rogo_async.demo.servers.postgres_binaries import environment
from rogo_async.demo.servers.process import (
    ServerProcess,
    as_nobody,
    die_with_parent,
    is_root,
    nobody,
)
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import Scenario
from tests.support.cli import run_cli

PGBOUNCER: Final = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
OURS: Final = (
    "extra_float_digits,tcp_keepalives_idle,tcp_keepalives_interval,tcp_keepalives_count,"
    "idle_in_transaction_session_timeout"
)
"""The parameters of a session that PgBouncer refuses unless it is told to ignore them."""


@asynccontextmanager
async def pooler(stack: Stack, mode: str, ignored: str) -> AsyncIterator[int]:
    """A PgBouncer in this pool mode; yields its port."""
    port = reserve_port()
    # The user nobody cannot enter the directories of the tests.
    with tempfile.TemporaryDirectory(prefix="pgbouncer_") as name:
        directory = Path(name)
        directory.chmod(0o755)
        configuration = directory / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host=127.0.0.1 port={stack.postgres.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {directory}/users\npool_mode = {mode}\n"
            f"ignore_startup_parameters = {ignored}\n",
            encoding="utf-8",
        )
        login, _, _ = stack.writer_dsn(stack.workspace).partition("@")
        user, _, password = login.removeprefix("postgresql://").partition(":")
        (directory / "users").write_text(f'"{user}" "{password}"\n', encoding="utf-8")
        if is_root():
            for path in directory.iterdir():
                shutil.chown(path, nobody().pw_uid)
                path.chmod(0o600)
        server = ServerProcess("PgBouncer", directory / "log", STOP_SIGNALS)

        async def ready() -> bool:
            try:
                url = stack.writer_dsn(stack.workspace).replace(
                    f":{stack.postgres.port}/", f":{port}/"
                )
                connection = await asyncpg.connect(url, ssl=False, statement_cache_size=0)
            except OSError:
                return False
            await connection.close()
            return True

        command = [PGBOUNCER, str(configuration)]
        await server.start(
            as_nobody(die_with_parent(command, STOP_SIGNALS[0][0])),
            ready=ready,
            timeout_s=30.0,
            cwd=directory,
            env=environment(),
        )
        async with AsyncExitStack() as running:
            running.push_async_callback(server.stop)
            yield port


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
@pytest.mark.parametrize(
    ("ignored", "says"),
    [
        ("", "SQLSTATE 08P01: DATABASE_URL names a connection pooler such as PgBouncer"),
        (OURS, "DATABASE_URL names a connection pooler, which does not keep the lock"),
    ],
)
async def test_a_pooler_is_named_at_once(
    stack: Stack, workspace: Workspace, env: dict[str, str], mode: str, ignored: str, says: str
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    async with pooler(stack, mode, ignored) as port:
        url = env["DATABASE_URL"].replace(f":{stack.postgres.port}/", f":{port}/")
        pooled = {**env, "DATABASE_URL": url}
        result = await run_cli(pooled)
        assert result.code == 2, result.output
        (line,) = result.messages
        assert says in line
        assert "Name the PostgreSQL server itself" in line
        assert await scenario.nothing_written()
        checked = await run_cli(pooled, "check")
        assert checked.code == 1, checked.output
        assert "connection pooler" in checked.stdout
