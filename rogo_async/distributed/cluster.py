"""The operator's side of a distributed run (specification §7): runs the shards on the workers."""

import asyncio
import contextlib
import logging
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from multiprocessing import resource_tracker
from typing import Any, Final

import dask
import structlog
from distributed import CancelledError, Client, KilledWorker, LocalCluster

from rogo_async.common.errors import SetupError
from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal
from rogo_async.distributed.children import signals_blocked
from rogo_async.distributed.facts import Place, WorkerReport, differences, exposures
from rogo_async.distributed.progress import ShardsProgress
from rogo_async.distributed.tls_sockets import tls_sockets
from rogo_async.distributed.worker import (
    IgnoreSignals,
    ShardEnd,
    ShardKilledError,
    ShardPlan,
    check_worker,
    run_shard,
    stop_run,
)

RESOURCE: Final = "shard"
"""The Dask resource that a shard needs: a worker has one of them, and runs one shard at a time."""

_ALL: Final = "all"
"""Dask's topic of the events of all workers."""

_RETRIES: Final = 3
_CONNECT_S: Final = 30.0
_FIRST_WORKER_S: Final = 60.0
_STOP_PAUSE_S: Final = 1.0
_LISTEN_S: Final = 1.0
_SIGNALS: Final = {
    StopReason.SIGINT: signal.SIGINT,
    StopReason.SIGTERM: signal.SIGTERM,
    StopReason.SIGHUP: signal.SIGHUP,
}
_LOGGERS: Final = ("bokeh", "distributed", "tornado")

log = structlog.get_logger()


class SchedulerLost(Exception):
    """The scheduler was lost, or nothing is heard of the shards. The text says which."""

    def __init__(self, text: str, *, has_begun: bool) -> None:
        super().__init__(text)
        self.has_begun = has_begun
        """Whether a shard has begun, and may go on."""


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
        await asyncio.sleep(_STOP_PAUSE_S)


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


class ShardRunner:
    """Runs the shards of a plan. ``run`` is called once."""

    def __init__(
        self,
        client: Client,
        plan: ShardPlan,
        progress: ShardsProgress,
        stop_signal: StopSignal,
        silence_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._plan = plan
        self._progress = progress
        self._stop_signal = stop_signal
        self._silence_s = silence_s
        self._clock = clock
        self._heard_s = 0.0
        self._futures: list[Any] = []
        self._begun: dict[int, str] = {}
        self._cancelled: set[int] = set()
        self._ends_early = asyncio.Event()

    async def run(self) -> Sequence[ShardEnd]:
        """Run all shards, or drain them when the run stops. Returns how each one ended.

        A shard that runs is heard of every second. Raises SchedulerLost, also after ``silence_s``
        without news of any shard.
        """
        self._heard_s = self._clock()
        handlers = {self._plan.topic: self._received, _ALL: self._warn_of_lost_worker}
        for topic, handler in handlers.items():
            self._client.subscribe_topic(topic, handler)
        self._futures = list(map(self._submit, range(self._plan.count)))
        running = [
            asyncio.create_task(self._end_of(index, future), name=f"shard {index}")
            for index, future in enumerate(self._futures)
        ]
        stopping = [
            asyncio.create_task(self._stop_after(self._stop_signal.wait), name="stop shards"),
            asyncio.create_task(self._stop_after(self._ends_early.wait), name="begin no shards"),
        ]
        waiting = set(running)
        try:
            while waiting:
                ended, waiting = await asyncio.wait(waiting, timeout=_LISTEN_S)
                for each in ended:
                    each.result()
                if waiting and self._clock() > self._heard_s + self._silence_s:
                    raise self._silence()
            return [each.result() for each in running]
        finally:
            for task in (*running, *stopping):
                task.cancel()
            await asyncio.gather(*running, *stopping, return_exceptions=True)
            with contextlib.suppress(Exception):
                for topic in handlers:
                    self._client.unsubscribe_topic(topic)

    def _silence(self) -> SchedulerLost:
        text = f"nothing was heard of the shards for {self._silence_s:g} s"
        if not self._begun:
            text = f"no shard has begun for {self._silence_s:g} s: the workers are busy or gone"
        return SchedulerLost(text, has_begun=bool(self._begun))

    def _submit(self, index: int) -> Any:
        return self._client.submit(
            run_shard,
            self._plan,
            index,
            self._client.scheduler.address,
            key=f"rogo_async-{self._plan.run_id}-{index}",
            resources={RESOURCE: 1},
            retries=_RETRIES,
            pure=False,
        )

    async def _end_of(self, index: int, future: Any) -> ShardEnd:
        try:
            end: ShardEnd = await future
        except CancelledError:  # of Dask
            if index not in self._cancelled:
                text = "the connection to the Dask scheduler was lost"
                raise SchedulerLost(text, has_begun=bool(self._begun)) from None
            end = ShardEnd(None)
        except KilledWorker:
            end = ShardEnd(ExitCode.STOPPED_EARLY, ["its workers were lost several times"])
        except ShardKilledError as error:
            end = ShardEnd(ExitCode.STOPPED_EARLY, [str(error)])
        except Exception as error:  # noqa: BLE001 - raised on a worker, where Dask has logged it
            end = ShardEnd(ExitCode.INTERNAL, [f"{type(error).__name__} on a worker, see its log"])
        self._heard_s = self._clock()
        self._progress.ended(index, end.counts)
        if end.exit_code is not None:
            log.info("shard ended", shard=self._name(index), exit_code=int(end.exit_code))
        if end.ends_the_run:
            self._ends_early.set()
        return end

    async def _stop_after(self, event: Callable[[], Awaitable[object]]) -> None:
        """After the event begin no more shards. A signal drains those under way.

        The others are cancelled: they may be queued behind the shards of another run.
        """
        await event()
        numbers = [_SIGNALS[each] for each in self._stop_signal.reasons if each in _SIGNALS]
        while True:  # a worker that was lost, or joins later, knows nothing
            await self._tell_workers(numbers[0] if numbers else None)
            await asyncio.sleep(_STOP_PAUSE_S)  # for news of those that began before
            await self._cancel_queued()

    async def _cancel_queued(self) -> None:
        queued = {index for index, each in enumerate(self._futures) if not each.done()}
        queued -= self._begun.keys()
        self._cancelled |= queued
        with contextlib.suppress(Exception):  # a lost scheduler ends the shards
            await self._client.cancel([self._futures[index] for index in queued])

    async def _tell_workers(self, number: signal.Signals | None) -> None:
        # A worker may be lost in this moment; a lost scheduler ends the shards.
        with contextlib.suppress(Exception):
            workers = list(await workers_of(self._client))
            run_id = self._plan.run_id
            await self._client.run(stop_run, run_id, number, workers=workers, on_error="ignore")

    def _received(self, event: tuple[float, dict[str, Any]]) -> None:
        self._heard_s = self._clock()
        message = event[1]
        index, worker = message["shard"], message["worker"]
        match message["kind"]:
            case "began":
                self._begun[index] = worker
                self._progress.began(index, worker)
                log.info("shard begins", shard=self._name(index), worker=worker)
            case "progress":
                self._progress.reported(index, worker, message["facts"])
            case "log":
                line = message["line"]
                fields = {name: each for name, each in line.items() if name not in _OWN_FIELDS}
                getattr(log, line["level"])(line["event"], **{**fields, "worker": worker})

    def _warn_of_lost_worker(self, event: tuple[float, Any]) -> None:
        message = event[1]
        if not isinstance(message, dict) or message.get("action") != "remove-worker":
            return
        for index, worker in self._begun.items():
            future = self._futures[index]
            if future.key in message["processing-tasks"] and not future.done():
                log.warning("worker lost", shard=self._name(index), worker=worker)

    def _name(self, index: int) -> str:
        return f"{index}/{self._plan.count}"


_OWN_FIELDS: Final = {"event", "level", "timestamp", "run_id"}
"""Fields of a log line that this process sets."""
