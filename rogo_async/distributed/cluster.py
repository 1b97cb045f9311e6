"""The workers of a distributed run: their start, and their comparison (specification §7)."""

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Mapping
from multiprocessing import resource_tracker
from typing import Final

import dask
from distributed import Client, LocalCluster

from rogo_async.common.errors import SetupError
from rogo_async.distributed.children import signals_blocked
from rogo_async.distributed.facts import Place, WorkerReport, differences, exposures
from rogo_async.distributed.tls_sockets import tls_sockets
from rogo_async.distributed.worker import IgnoreSignals, check_worker

RESOURCE: Final = "shard"
"""The Dask resource that a shard needs: a worker has one of them, and runs one shard at a time."""

_CONNECT_S: Final = 30.0
_FIRST_WORKER_S: Final = 60.0
_POLL_S: Final = 1.0
_LOGGERS: Final = ("bokeh", "distributed", "tornado")


@contextlib.asynccontextmanager
async def local_cluster(workers: int) -> AsyncIterator[Client]:
    """Worker processes on this machine, which the network does not reach.

    Raises SetupError if one of them ends while it starts.
    """
    _calm_loggers()
    with (
        tls_sockets(),
        tempfile.TemporaryDirectory(prefix="rogo_async.") as directory,
        dask.config.set(
            {
                "temporary-directory": directory,
                "distributed.worker.preload": [tls_sockets.__module__],
                "distributed.worker.profile.enabled": False,
                # Pages about the tasks, without TLS, for every user of this machine.
                "distributed.scheduler.http.routes": [],
                "distributed.worker.http.routes": [],
            }
        ),
    ):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            security=True,  # a key of its own: other users of this machine cannot connect
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # its HTTP server; not 8787
            memory_limit=0,  # a worker only waits; the child has the memory
            resources={RESOURCE: 1},
            silence_logs=logging.ERROR,
            asynchronous=True,
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                client = await _started(cluster, stack)
            except (OSError, RuntimeError) as error:  # of Dask, also if a worker is lost
                raise SetupError(
                    f"--workers {workers}: a worker ended while the workers were starting "
                    f"({type(error.__cause__ or error).__name__}). Run again. If it happens again, "
                    "see the system's log for a lack of memory, and take fewer workers"
                ) from None
            yield client


async def _started(cluster: LocalCluster, stack: contextlib.AsyncExitStack) -> Client:
    resource_tracker.ensure_running()  # its start, with the first process, would unblock them
    with signals_blocked():  # until they ignore them
        await stack.enter_async_context(cluster)
    client = Client(cluster, asynchronous=True, set_as_default=False)
    await stack.enter_async_context(client)
    await client.register_plugin(IgnoreSignals())
    return client


@contextlib.asynccontextmanager
async def remote_cluster(address: str) -> AsyncIterator[Client]:
    """The workers of a scheduler. Raises SetupError if it cannot be reached, or has none."""
    _calm_loggers()
    try:
        client = await Client(address, asynchronous=True, set_as_default=False, timeout=_CONNECT_S)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise SetupError(
            f"--scheduler {address}: cannot be reached ({type(error).__name__}). Check the address "
            "and, for tls://, Dask's settings of certificates (DASK_DISTRIBUTED__COMM__TLS__…)"
        ) from None
    async with client:
        await _wait_for_a_worker(client, address)
        yield client


async def _wait_for_a_worker(client: Client, address: str) -> None:
    deadline_s = asyncio.get_running_loop().time() + _FIRST_WORKER_S
    while not await workers_of(client):
        if asyncio.get_running_loop().time() > deadline_s:
            raise SetupError(
                f"--scheduler {address}: no worker with the resource {RESOURCE} within "
                f"{_FIRST_WORKER_S:g} s. Start them with: dask worker {address} --nthreads 1 "
                f"--resources {RESOURCE}=1"
            )
        await asyncio.sleep(_POLL_S)


async def workers_of(client: Client) -> dict[str, str]:
    """The names of the workers that run shards, by address.

    Raises SetupError if the scheduler does not answer.
    """
    try:
        async with asyncio.timeout(_CONNECT_S):
            info = await client.scheduler.identity(n_workers=-1)
    except (OSError, TimeoutError):
        raise SetupError(
            f"the scheduler has not answered within {_CONNECT_S:g} s. Look at it, and start it "
            "again if it hangs"
        ) from None
    return {
        address: str(each["name"])
        for address, each in info["workers"].items()
        if each.get("resources", {}).get(RESOURCE)
    }


async def check_workers(
    client: Client, place: Place, expected: Mapping[str, str], deadline_s: float
) -> None:
    """Raises SetupError with a line for each thing that a worker has otherwise.

    They read the input files. Also raises it if they do not all answer in ``deadline_s``.
    """
    try:
        async with asyncio.timeout(deadline_s):
            names = await workers_of(client)
            found = await client.run(check_worker, place, workers=list(names), on_error="return")
    except TimeoutError:
        raise SetupError(
            f"the workers did not answer within {deadline_s:g} s. Look at the scheduler and the "
            "workers, and start those again that hang"
        ) from None
    problems = [
        line
        for address, report in sorted(found.items())
        for line in differences(expected, f"{names[address]} ({address})", report)
    ]
    if not problems:
        problems = [
            line
            for address, report in sorted(found.items())
            if isinstance(report, WorkerReport)
            for line in exposures(names[address], report, (client.scheduler.address, address))
        ]
    if problems:
        raise SetupError(*problems)


def _calm_loggers() -> None:
    """Let the libraries log warnings like all others, instead of lines of their own on stderr."""
    for name in list(logging.Logger.manager.loggerDict):
        if name.partition(".")[0] in _LOGGERS:
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True
            logger.setLevel(logging.ERROR)
