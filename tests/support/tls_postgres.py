"""A PostgreSQL that offers TLS: Debian's, since the embedded one is built without it.

``Stack(directory, postgres_type=TlsPostgres)`` is a whole stack with such a target::

    authority = Authority.create(directory / "certificates")
    await stack.postgres.use_certificate(authority.server("localhost"), authority)
    url = stack.writer_dsn(workspace).replace("127.0.0.1", "localhost")
    url += f"?sslmode=verify-full&sslrootcert={authority.certificate}"
"""

import asyncio
import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

import asyncpg

from rogo_async.demo.servers.postgres import SUPERUSER, EmbeddedPostgres
from rogo_async.demo.servers.process import ServerStartError, is_root, nobody
from tests.support.certificates import Authority, Certificate

_PASSWORD_LOGIN: Final = "host all all all scram-sha-256"
_SUPERUSER_LOGIN: Final = f"host all {SUPERUSER} all scram-sha-256"


class TlsPostgres(EmbeddedPostgres):
    """One cluster, with a Unix socket in ``socket_directory`` too.

    It offers TLS after ``use_certificate``, and refuses nobody without TLS.

    It is outside of ``directory``, in a directory that everyone can enter: as the user ``nobody``,
    initdb before version 16 goes through all its parents. It is deleted when this process ends.
    """

    initdb_options = ("--locale=C",)

    def __init__(self, directory: Path, *, port: int = 0, durable: bool = False) -> None:
        outside = Path(tempfile.mkdtemp(prefix=f"{directory.name}_tls_"))
        outside.chmod(0o711)
        self.socket_directory = outside / "socket"
        self.socket_directory.mkdir()
        self.socket_directory.chmod(0o777)
        atexit.register(shutil.rmtree, outside, ignore_errors=True)
        super().__init__(outside / "cluster", port=port, durable=durable)

    async def binaries(self) -> Path:
        """The newest version that Debian's package has installed. Raises ServerStartError."""
        found = sorted(
            Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
        )
        if not found:
            raise ServerStartError("PostgreSQL with TLS is missing: apt-get install postgresql")
        return found[-1].parent

    def _options(self) -> list[str]:
        return [*super()._options(), "-k", str(self.socket_directory)]

    async def use_certificate(self, server: Certificate, clients: Authority) -> None:
        """Offer TLS with this certificate; check those of clients with this authority."""
        self._write("server.crt", server.certificate.read_bytes())
        self._write("server.key", server.key.read_bytes())
        self._write("root.crt", clients.certificate.read_bytes())
        await self.configure(ssl="on", ssl_ca_file="root.crt")

    async def configure(self, **settings: str) -> None:
        """Change settings of the server that need no restart."""
        for name, value in settings.items():
            await self.execute_script("postgres", f"ALTER SYSTEM SET {name} = '{value}'")
        before = await self._loaded_at()
        await self.execute_script("postgres", "SELECT pg_reload_conf()")
        while await self._loaded_at() == before:
            await asyncio.sleep(0.01)

    async def allow(self, *lines: str) -> None:
        """Put lines into pg_hba.conf. They do not apply to the superuser."""
        text = "\n".join([_SUPERUSER_LOGIN, *lines, _PASSWORD_LOGIN, ""])
        self._write("pg_hba.conf", text.encode())
        await self.configure()

    async def _loaded_at(self) -> object:
        """When the server read its configuration, as a new session sees it."""
        connection = await asyncpg.connect(self.dsn("postgres"), ssl=False)
        try:
            return await connection.fetchval("SELECT pg_conf_load_time()")
        finally:
            await connection.close()

    def _write(self, name: str, content: bytes) -> None:
        path = self.data / name
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if is_root():
            owner = nobody()
            os.chown(path, owner.pw_uid, owner.pw_gid)
