"""Scheduler and workers of a Dask cluster, each a process of its own on this machine."""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from rogo_async.demo.servers.ports import LOOPBACK
from rogo_async.distributed.tls_sockets import tls_sockets
from tests.support.certificates import Authority
from tests.support.cli import DEADLINE_S

_CHILD: Final = "rogo_async.distributed.child"
TLS: Final = "DASK_DISTRIBUTED__COMM__TLS__"
"""How the names of Dask's settings of TLS begin."""


def shards_below(process: psutil.Process) -> list[psutil.Process]:
    """The processes of the shards that run below this one."""
    return [
        each for each in process.children(recursive=True) if _CHILD in " ".join(_command_line(each))
    ]


def _command_line(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):  # it has ended
        return list(process.cmdline())
    return []


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition. Fails when it does not come true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.05)


def other_machine(data_dir: Path, directory: Path) -> Path:
    """Make ``directory`` the data directory of another machine: it has the same inputs."""
    for each in ("submission_files.csv", "attempt_number_mapping.csv"):
        shutil.copy(data_dir / each, directory / each)
    return directory


@contextlib.asynccontextmanager
async def dask_process(
    env: Mapping[str, str], *command: str, prefix: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """``dask COMMAND``, which gets SIGTERM at the end of the block if it still runs.

    ``prefix`` is a command that executes the rest of its line.
    """
    process = await asyncio.create_subprocess_exec(
        *prefix,
        sys.executable,
        "-m",
        "dask",
        *command,
        env={"PATH": os.environ["PATH"], **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            await process.wait()


def dask_scheduler(
    address: str, env: Mapping[str, str], *, prefix: Sequence[str] = ()
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """A scheduler that listens at this address."""
    return dask_process(env, "scheduler", "--host", address, "--no-dashboard", prefix=prefix)


def dask_worker(
    address: str,
    env: Mapping[str, str],
    data_dir: Path,
    *options: str,
    host: str = LOOPBACK,
    prefix: Sequence[str] = (),
) -> contextlib.AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """A worker that runs shards in this data directory."""
    options = ("--nthreads", "1", "--resources", "shard=1", "--no-dashboard", *options)
    scratch = ("--local-directory", str(data_dir / "dask"))
    here = {**env, "ROGO_DATA_DIR": str(data_dir)}
    return dask_process(here, "worker", address, "--host", host, *options, *scratch, prefix=prefix)


def processes_of(data_dir: Path) -> list[psutil.Process]:
    """The processes with a data directory at or below this one."""
    return [each for each in psutil.process_iter() if _is_of(each, data_dir)]


def _is_of(process: psutil.Process, data_dir: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        found = process.environ().get("ROGO_DATA_DIR")
        return found is not None and Path(found).is_relative_to(data_dir)
    return False


def tls_settings(directory: Path) -> dict[str, str]:
    """Dask's settings of docs/scale-out.md, with one certificate for all."""
    authority = Authority.create(directory)
    peer = authority.peer()
    files = {f"{TLS}CA_FILE": authority.certificate}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        files |= {f"{TLS}{role}__CERT": peer.certificate, f"{TLS}{role}__KEY": peer.key}
    sockets = f'["{tls_sockets.__module__}"]'
    others = {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true",
        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": sockets,
        "DASK_DISTRIBUTED__WORKER__PRELOAD": sockets,
    }
    return others | {name: str(path) for name, path in files.items()}
