"""Runs the shards of a distributed run on its workers (specification §7)."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import structlog
from distributed import CancelledError, Client, KilledWorker

from rogo_async.common.shutdown import ExitCode, StopReason, StopSignal
from rogo_async.distributed.cluster import RESOURCE, workers_of
from rogo_async.distributed.progress import ShardsProgress
from rogo_async.distributed.worker import (
    ShardEnd,
    ShardKilledError,
    ShardPlan,
    run_shard,
    stop_run,
)

_ALL: Final = "all"
"""Dask's topic of the events of all workers."""

_RETRIES: Final = 3
_STOP_PAUSE_S: Final = 1.0
_LISTEN_S: Final = 1.0
_SIGNALS: Final = {
    StopReason.SIGINT: signal.SIGINT,
    StopReason.SIGTERM: signal.SIGTERM,
    StopReason.SIGHUP: signal.SIGHUP,
}

log = structlog.get_logger()


class SchedulerLost(Exception):
    """The scheduler was lost, or nothing is heard of the shards. The text says which."""

    def __init__(self, text: str, *, has_begun: bool) -> None:
        super().__init__(text)
        self.has_begun = has_begun
        """Whether a shard has begun, and may go on."""


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
