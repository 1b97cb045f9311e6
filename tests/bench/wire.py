"""Simulated latencies: a delay proxy for each kind of call, each in its own process.

A proxy in the bench's process would share its event loop and hide its own CPU time.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from rogo_async.demo.servers.azurite import Azurite
from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.demo.servers.process import die_with_parent
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.bench.client import BenchError
from tests.support.tcp_proxy import TcpProxy

_START_S: Final = 20.0
_STOP_S: Final = 5.0

ROUND_TRIP_MS: Final[Mapping[str, float]] = {
    "duplicates": 50,
    "lookup": 100,
    "get": 500,
    "put": 500,
    "target": 8,
}
"""Unstretched milliseconds of a round trip, by kind of call."""


@dataclass(frozen=True, slots=True)
class Wire:
    """Running proxies: port and process by kind of call."""

    ports: Mapping[str, int]
    pids: Mapping[str, int]
    stretch: float

    def source_base(self, stack: Stack, workspace: Workspace) -> str:
        """The address of the source container, with the delay of a GET."""
        return stack.source_url(workspace).replace(*self._azurite(stack.azurite, "get"))

    def target_dsn(self, stack: Stack, workspace: Workspace, kind: str = "target") -> str:
        """DATABASE_URL, with the delay of a round trip (or of a duplicate check)."""
        port = stack.postgres.port
        return stack.writer_dsn(workspace).replace(f":{port}/", f":{self.ports[kind]}/")

    def warehouse_odbc(self, stack: Stack, workspace: Workspace) -> str:
        """The warehouse, with the delay of a lookup."""
        port = stack.postgres.port
        return stack.warehouse_odbc(workspace).replace(
            f"PORT={port};", f"PORT={self.ports['lookup']};"
        )

    def store_connection_string(self, stack: Stack) -> str:
        """The destination account, with the delay of a PUT."""
        return stack.azurite.connection_string.replace(*self._azurite(stack.azurite, "put"))

    def environment(self, stack: Stack, workspace: Workspace) -> dict[str, str]:
        """The environment of ``run`` for a workspace behind the proxies."""
        origin = f"http://{LOOPBACK}:{self.ports['get']}"
        return {
            **stack.environment_of(workspace),
            "DATABASE_URL": self.target_dsn(stack, workspace),
            "DATA_WAREHOUSE_CONNECTION_STRING": self.warehouse_odbc(stack, workspace),
            "AZURE_STORAGE_CONNECTION_STRING": self.store_connection_string(stack),
            "ROGO_SOURCE_HOSTS": origin,
            "ROGO_SOURCE_SAS_TOKEN": f"{origin}={stack.source_sas(workspace)}",
        }

    def _azurite(self, azurite: Azurite, kind: str) -> tuple[str, str]:
        return azurite.origin, f"http://{LOOPBACK}:{self.ports[kind]}"


@contextlib.asynccontextmanager
async def delayed_servers(stack: Stack, stretch: float) -> AsyncIterator[Wire]:
    """Run the proxies of all kinds for a with block."""
    async with contextlib.AsyncExitStack() as running:
        ports, pids = {}, {}
        for kind, milliseconds in ROUND_TRIP_MS.items():
            store = kind in {"get", "put"}
            upstream = stack.azurite.port if store else stack.postgres.port
            process = await running.enter_async_context(
                _proxy_process(upstream, stretch * milliseconds / 2_000)
            )
            ports[kind], pids[kind] = process
        yield Wire(ports, pids, stretch)


@contextlib.asynccontextmanager
async def _proxy_process(upstream: int, delay_s: float) -> AsyncIterator[tuple[int, int]]:
    order = json.dumps({"upstream": upstream, "delay_s": delay_s})
    process = await asyncio.create_subprocess_exec(
        *die_with_parent([sys.executable, "-m", "tests.bench.wire", order], signal.SIGKILL),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ,
        start_new_session=True,
    )
    try:
        line = await asyncio.wait_for(_line(process), _START_S)
        yield int(line), process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_S)


async def _line(process: asyncio.subprocess.Process) -> bytes:
    stdout: Any = process.stdout
    line: bytes = await stdout.readline()
    if not line:
        raise BenchError("a delay proxy did not start: see the lines above")
    return line


async def _serve(upstream: int, delay_s: float) -> None:
    proxy = TcpProxy(LOOPBACK, upstream)
    proxy.delay_s = delay_s
    async with proxy:
        sys.stdout.write(f"{proxy.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(**json.loads(sys.argv[1])))
