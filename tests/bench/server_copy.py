"""``copy``: files that the service copies and streamed files, beside rclone's server-side copy.

All clients reach Azurite through a proxy that counts their bytes. The service is a proxy, too,
since Azurite has no Put Blob From URL: only bytes, CPU and memory of the client mean something.
"""

import asyncio
import contextlib
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from rogo_async.common.settings import DEFAULT_CONCURRENCY
from rogo_async.demo.dataset.documents import BlobSpec
from rogo_async.demo.servers.blob_container import Container, run_concurrently
from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.demo.servers.process import die_with_parent
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.bench import client, dataset
from tests.bench.client import BenchError, Used
from tests.bench.rclone import account_sas
from tests.bench.report import Report
from tests.support.copy_proxy import redirected

COUNT, QUICK_COUNT = 200, 20
SIZE_BYTES = 8 * 1024**2
MOST_SHARE = 0.01
"""Bytes through this machine, as a share of the files' size."""


async def measure(report: Report, *, quick: bool, stretch: float | None) -> None:
    """Copy the same files in each way, and count them."""
    del stretch
    count = QUICK_COUNT if quick else COUNT
    ways = ["streamed", "copied", *(["rclone"] if shutil.which("rclone") else [])]
    rows = []
    with tempfile.TemporaryDirectory(prefix="rogo_bench_") as name:
        async with dataset.start_stack(Path(name)) as stack, _servers(stack) as servers:
            bench = _Bench(stack, servers, count, Path(name))
            await bench.fill()
            for way in ways:
                used, bytes_through = await bench.copy(way)
                share = bytes_through / (count * SIZE_BYTES)
                report.add(f"{way}.rate", count / used.wall_s, 2)
                report.add(f"{way}.cpu_ms", used.cpu_s * 1_000 / count)
                report.add(f"{way}.share", share, 5)
                report.add(f"{way}.peak_mb", used.peak_bytes / 1_000_000, 1)
                figures = (count / used.wall_s, used.cpu_s * 1_000 / count, bytes_through / 1e6)
                shown = [f"{figure:,.1f}" for figure in figures]
                rows.append((way, *shown, f"{share:.2%}", f"{used.peak_bytes / 1e6:,.0f}"))
    report.add_line(f"{count} files of {SIZE_BYTES / 1e6:,.1f} MB, {DEFAULT_CONCURRENCY} at a time")
    report.add_line("")
    header = "", "files/s", "own CPU ms a file", "MB through it", "share", "peak MB"
    report.table(header, rows)
    report.target("copied.share", MOST_SHARE, most=True)


class _Servers:
    """The proxies of ``copy_server``."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self._process = process
        self._ports = ports

    def origin(self, way: str) -> str:
        """Where a client reaches the store."""
        return f"http://{LOOPBACK}:{self._ports['copying' if way == 'copied' else 'plain']}"

    async def bytes_through(self) -> int:
        """The bytes that clients have sent and received since the last call."""
        stdin: Any = self._process.stdin
        stdin.write(b"\n")
        await stdin.drain()
        return sum((await _read(self._process)).values())


@contextlib.asynccontextmanager
async def _servers(stack: Stack) -> AsyncIterator[_Servers]:
    azurite = stack.azurite
    order = {"endpoint": azurite.endpoint, "port": azurite.port}
    login = {"account": azurite.account_name, "key": azurite.account_key}
    command = [sys.executable, "-m", "tests.bench.copy_server", json.dumps({**order, **login})]
    process = await asyncio.create_subprocess_exec(
        *die_with_parent(command, signal.SIGKILL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield _Servers(process, await _read(process))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _read(process: asyncio.subprocess.Process) -> dict[str, int]:
    stdout: Any = process.stdout
    line = await stdout.readline()
    if not line:
        raise BenchError("the proxies of the bench ended: see the lines above")
    found: dict[str, int] = json.loads(line)
    return found


@dataclass(frozen=True, slots=True)
class _Bench:
    stack: Stack
    servers: _Servers
    count: int
    directory: Path

    def _names(self) -> list[str]:
        return [f"{number:06d}.txt" for number in range(self.count)]

    async def fill(self) -> None:
        """Upload the files to the source container."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as session:
            source = Container(self.stack.azurite, self.stack.workspace.source_container, session)
            specs = [
                BlobSpec(name, "txt", number, SIZE_BYTES)
                for number, name in enumerate(self._names())
            ]
            await run_concurrently(source.upload, specs)

    async def copy(self, way: str) -> tuple[Used, int]:
        """Copy all files in one way, and check the copies; what the client used, and its bytes."""
        workspace = await dataset.BenchDataset(self.stack, self.stack.workspace, 0).new_target(
            way, self.directory / way
        )
        command, environment = (
            self._rclone(workspace) if way == "rclone" else self._ours(workspace, way)
        )
        await self.servers.bytes_through()
        used = await client.process(command, environment, workspace.data_dir)
        bytes_through = await self.servers.bytes_through()
        blobs = await dataset.stored(self.stack, workspace)
        await self.stack.remove_workspace(dataset.own_of(workspace))
        if used.code != 0 or [size for size, _ in blobs] != [SIZE_BYTES] * self.count:
            said = client.last_lines(workspace.data_dir / "output.log")
            raise BenchError(f"{way} ended with {used.code}, {len(blobs)} blobs arrived: {said}")
        return used, bytes_through

    def _ours(self, workspace: Workspace, way: str) -> tuple[list[str], dict[str, str]]:
        azurite, origin = self.stack.azurite.origin, self.servers.origin(way)
        base = self.stack.source_url(workspace).replace(azurite, origin)
        order = workspace.data_dir / "urls.json"
        order.write_text(json.dumps([f"{base}/{name}" for name in self._names()]), "utf-8")
        environment = redirected(self.stack.environment_of(workspace), azurite, origin)
        mode = {"ROGO_COPY": "auto" if way == "copied" else "stream"}
        return [sys.executable, "-m", "tests.bench.blobpath", str(order)], {**environment, **mode}

    def _rclone(self, workspace: Workspace) -> tuple[list[str], dict[str, str]]:
        endpoint = self.stack.azurite.endpoint.replace(
            self.stack.azurite.origin, self.servers.origin("rclone")
        )
        transfers = str(DEFAULT_CONCURRENCY)
        command = [
            *("rclone", "copy", f"store:{workspace.source_container}"),
            *(f"store:{workspace.container}", "--config", "", "--stats", "0"),
            *("--transfers", transfers, "--checkers", transfers, "--retries", "1"),
        ]
        environment = {
            "RCLONE_CONFIG_STORE_TYPE": "azureblob",
            "RCLONE_CONFIG_STORE_SAS_URL": f"{endpoint}?{account_sas(self.stack)}",
            "HOME": str(workspace.data_dir),
        }
        return command, environment
