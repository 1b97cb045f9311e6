"""All embedded servers: the warehouse, the target, the blob store and an HTTP source."""

import asyncio
import fcntl
import secrets
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Final, Self

import orjson
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerSasPermissions, generate_container_sas
from azure.storage.blob.aio import BlobServiceClient

from rogo_async.demo.checks.expected import CONTAINER
from rogo_async.demo.dataset.dataset import DEMO_LMS
from rogo_async.demo.servers.azurite import Azurite
from rogo_async.demo.servers.ports import reserve_port
from rogo_async.demo.servers.postgres import EmbeddedPostgres
from rogo_async.demo.servers.process import ServerStartError, write_private
from rogo_async.demo.servers.scripted_source import ScriptedSource

WRITER: Final = "rogo_writer"
READER: Final = "rogo_reader"
ODBC_DRIVER: Final = "PostgreSQL Unicode"
SAS_VALID_FOR: Final = timedelta(days=7)
STORE_TIMEOUT_S: Final = 30.0
LOCK_FILE: Final = "stack.lock"
"""The first file of a stack in its directory."""

_TARGET_TEMPLATE: Final = "target_template"
_WAREHOUSE_TEMPLATE: Final = "warehouse_template"
_ODBC_REMEDY: Final = "apt-get install unixodbc odbc-postgresql"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Source and destination of a migration: two databases, two containers, a data directory."""

    target: str
    warehouse: str
    source_container: str
    container: str
    data_dir: Path


class Stack:
    """Starts all servers on entry and stops them on exit; all their files are in ``directory``.

    ``workspace`` has empty tables and containers; ``new_workspace`` creates more. With ``keep``
    the blobs are on disk too. A later stack in the same directory then has the same data and
    ports, but no routes of the scripted source.
    """

    postgres: EmbeddedPostgres
    azurite: Azurite
    source: ScriptedSource

    def __init__(
        self,
        directory: Path,
        *,
        keep: bool = False,
        postgres_type: type[EmbeddedPostgres] = EmbeddedPostgres,
    ) -> None:
        self.directory = directory.resolve()
        self.workspace = Workspace(
            target="target",
            warehouse="warehouse",
            source_container="rogo-source",
            container=CONTAINER,
            data_dir=self.directory / "data",
        )
        self._keep = keep
        self._postgres_type = postgres_type
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises ServerStartError when a server cannot start; then none is running."""
        _require_odbc_driver()
        async with AsyncExitStack() as running:
            running.enter_context(_directory_lock(self.directory))
            self._state = state = _StackState.of(self.directory / "stack.json")
            directory = self.directory / "postgres"
            self.postgres = self._postgres_type(directory, port=state.postgres_port)
            self.azurite = Azurite(
                self.directory / "azurite", port=state.azurite_port, persist=self._keep
            )
            self.source = ScriptedSource(port=state.source_port)
            for server in (self.postgres, self.azurite, self.source):
                running.push_async_callback(server.stop)
            await self._start()
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._running.aclose()

    def environment(self) -> dict[str, str]:
        """The environment variables of a run in ``workspace`` (specification §4)."""
        return self.environment_of(self.workspace)

    def environment_of(self, workspace: Workspace) -> dict[str, str]:
        """The environment variables of a run in a workspace (specification §4)."""
        return {
            "DATABASE_URL": self.writer_dsn(workspace),
            "DATA_WAREHOUSE_CONNECTION_STRING": self.warehouse_odbc(workspace),
            "AZURE_STORAGE_CONNECTION_STRING": self.azurite.connection_string,
            "ROGO_SOURCE_HOSTS": f"{self.azurite.origin},{self.source.origin}",
            "ROGO_SOURCE_SAS_TOKEN": f"{self.azurite.origin}={self.source_sas(workspace)}",
            "ROGO_CONTAINER": workspace.container,
            "ROGO_INSTANCE_ID": DEMO_LMS.instance_id,
            "ROGO_CONSUMER_KEY": DEMO_LMS.consumer_key,
            "ROGO_CONSUMER_NAME": DEMO_LMS.consumer_name,
            "ROGO_RETURN_URL_BASE": DEMO_LMS.return_url_base,
            "ROGO_DATA_DIR": str(workspace.data_dir),
        }

    def writer_dsn(self, workspace: Workspace) -> str:
        """The target, for a role with only the permissions that a migration needs.

        ``postgres.dsn(workspace.target)`` is that of the superuser.
        """
        return self.postgres.dsn_of(WRITER, self._state.writer_password, workspace.target)

    def warehouse_odbc(self, workspace: Workspace) -> str:
        """The warehouse over ODBC, for a read-only role.

        ``postgres.dsn(workspace.warehouse)`` is that of the superuser, for asyncpg.
        """
        return (
            f"DRIVER={{{ODBC_DRIVER}}};SERVER={self.postgres.host};PORT={self.postgres.port};"
            f"DATABASE={workspace.warehouse};UID={READER};PWD={self._state.reader_password}"
        )

    def source_url(self, workspace: Workspace) -> str:
        """The URL of the source container, without a slash at the end."""
        return f"{self.azurite.endpoint}/{workspace.source_container}"

    def source_sas(self, workspace: Workspace) -> str:
        """A SAS (query string) with read access to the blobs of the source container."""
        return generate_container_sas(
            self.azurite.account_name,
            workspace.source_container,
            account_key=self.azurite.account_key,
            permission=ContainerSasPermissions(read=True),
            expiry=datetime.now(UTC) + SAS_VALID_FOR,
        )

    async def new_workspace(self, name: str, data_dir: Path) -> Workspace:
        """Creates an empty workspace. ``name`` has lower case letters and digits only."""
        workspace = Workspace(
            target=f"target_{name}",
            warehouse=f"warehouse_{name}",
            source_container=f"source-{name}",
            container=f"migrated-{name}",
            data_dir=data_dir,
        )
        await self._create_databases(workspace)
        await self._create_containers(workspace)
        return workspace

    async def remove_workspace(self, workspace: Workspace) -> None:
        """Deletes the databases of a workspace, with their connections, and its containers."""
        await self.postgres.drop_databases(workspace.target, workspace.warehouse)
        async with asyncio.timeout(STORE_TIMEOUT_S), self._store() as store:
            for name in (workspace.source_container, workspace.container):
                with suppress(ResourceNotFoundError):  # Azurite has restarted
                    await store.delete_container(name)

    async def _start(self) -> None:
        self.workspace.data_dir.mkdir(mode=0o700, exist_ok=True)
        try:
            async with asyncio.TaskGroup() as starting:
                starting.create_task(self._start_postgres(), name="starting PostgreSQL")
                starting.create_task(self._start_azurite(), name="starting Azurite")
                starting.create_task(self.source.start(), name="starting the scripted source")
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _start_postgres(self) -> None:
        await self.postgres.start()
        if not await self.postgres.has_database(self.workspace.warehouse):
            await self._create_templates()
            await self._create_databases(self.workspace)

    async def _start_azurite(self) -> None:
        await self.azurite.start()
        await self._create_containers(self.workspace)

    async def _create_templates(self) -> None:
        """Creates roles and schemas; replaces incomplete ones of an earlier start."""
        await self.postgres.drop_databases(
            _TARGET_TEMPLATE, _WAREHOUSE_TEMPLATE, self.workspace.target
        )
        await self.postgres.execute_script(
            "postgres",
            f"DROP ROLE IF EXISTS {WRITER}, {READER};"
            f"CREATE ROLE {WRITER} LOGIN PASSWORD '{self._state.writer_password}';"
            f"CREATE ROLE {READER} LOGIN PASSWORD '{self._state.reader_password}';"
            f"ALTER ROLE {READER} SET default_transaction_read_only = on;",
        )
        for template, schema in ((_TARGET_TEMPLATE, "target"), (_WAREHOUSE_TEMPLATE, "warehouse")):
            await self.postgres.create_database(template)
            await self.postgres.execute_script(template, _sql(schema) + _sql(f"{schema}_grants"))

    async def _create_databases(self, workspace: Workspace) -> None:
        await self.postgres.create_databases(
            {workspace.target: _TARGET_TEMPLATE, workspace.warehouse: _WAREHOUSE_TEMPLATE}
        )

    async def _create_containers(self, workspace: Workspace) -> None:
        async with asyncio.timeout(STORE_TIMEOUT_S), self._store() as store:
            for name in (workspace.source_container, workspace.container):
                with suppress(ResourceExistsError):
                    await store.create_container(name)

    def _store(self) -> BlobServiceClient:
        return BlobServiceClient.from_connection_string(
            self.azurite.connection_string, retry_total=0, use_env_settings=False
        )


@dataclass(frozen=True, slots=True)
class _StackState:
    """Values that a later stack in the same directory must reuse.

    The ports belong to the data: URLs of source files contain them, and so does the digest of the
    target in blob metadata.
    """

    postgres_port: int
    azurite_port: int
    source_port: int
    writer_password: str
    reader_password: str

    @classmethod
    def of(cls, path: Path) -> "_StackState":
        if path.exists():
            return cls(**orjson.loads(path.read_bytes()))
        ports = reserve_port(), reserve_port(), reserve_port()
        state = cls(*ports, secrets.token_hex(16), secrets.token_hex(16))
        write_private(path, orjson.dumps(asdict(state)))
        return state


@contextmanager
def _directory_lock(directory: Path) -> Iterator[None]:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (directory / LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerStartError(
                f"another stack is running in {directory}: stop it or use another directory"
            ) from None
        yield


def _require_odbc_driver() -> None:
    try:
        import pyodbc  # noqa: PLC0415 - a missing system library needs an explanation
    except ImportError as error:
        raise ServerStartError(f"pyodbc cannot be loaded ({error}): {_ODBC_REMEDY}") from None
    pyodbc.pooling = False  # as in sources.warehouse.drivers.import_pyodbc
    if ODBC_DRIVER not in pyodbc.drivers():
        raise ServerStartError(f"the ODBC driver {ODBC_DRIVER} is missing: {_ODBC_REMEDY}")


def _sql(name: str) -> str:
    return (
        resources.files("rogo_async.demo.servers").joinpath(f"schema/{name}.sql").read_text("utf-8")
    )
