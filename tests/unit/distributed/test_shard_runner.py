"""When a run stops waiting for its shards, and what its workers are told (specification §7)."""

import asyncio
import time

import pytest
from distributed import Client, LocalCluster

from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.distributed import shard_runner, worker
from rogo_async.distributed.children import Children
from rogo_async.distributed.cluster import RESOURCE
from rogo_async.distributed.facts import Place
from rogo_async.distributed.progress import ShardsProgress
from rogo_async.distributed.shard_runner import SchedulerLost, ShardRunner
from rogo_async.distributed.worker import ShardEnd, ShardPlan

RUN = "20260301T010000Z-0000000a"


async def test_a_run_ends_when_nothing_is_heard_of_its_shards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A scheduler that hangs keeps its connections open. News of any shard begin the time anew."""
    monkeypatch.setattr(shard_runner, "_LISTEN_S", 0.01)
    now_s = 0.0
    plan = ShardPlan(RUN, 2, Place(""), {}, (), {})
    async with (
        LocalCluster(  # without a worker no shard is begun
            n_workers=0, processes=False, asynchronous=True, dashboard_address=":0"
        ) as dask,
        Client(dask, asynchronous=True, set_as_default=False) as client,
    ):
        progress = ShardsProgress(RUN, 5, 2)
        runner = ShardRunner(client, plan, progress, StopSignal(), 900.0, lambda: now_s)
        running = asyncio.create_task(runner.run(), name="run")
        for now_s in (800.0, 1_600.0):
            async with asyncio.timeout(60.0):
                while runner._heard_s != now_s:
                    await client.log_event(plan.topic, {"kind": "alive", "shard": 0, "worker": "w"})
                    await asyncio.sleep(0.01)
        now_s = 2_500.0
        await asyncio.sleep(0.1)
        assert not running.done()
        now_s = 2_501.0
        async with asyncio.timeout(60.0):
            with pytest.raises(
                SchedulerLost, match="no shard has begun for 900 s: the workers are busy or gone"
            ):
                await running


async def test_a_signal_ends_the_wait_of_shards_that_have_not_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They may be queued behind the shards of another run. One that has begun is waited for."""
    for name in ("_LISTEN_S", "_STOP_PAUSE_S"):
        monkeypatch.setattr(shard_runner, name, 0.01)
    now_s = 0.0
    plan = ShardPlan(RUN, 2, Place(""), {}, (), {})
    async with (
        LocalCluster(
            n_workers=0, processes=False, asynchronous=True, dashboard_address=":0"
        ) as dask,
        Client(dask, asynchronous=True, set_as_default=False) as client,
        asyncio.timeout(60.0),
    ):
        stopped = StopSignal()
        stopped.stop(StopReason.SIGINT, "interrupted")
        queued = ShardRunner(client, plan, ShardsProgress(RUN, 5, 2), stopped, 900.0, lambda: now_s)
        assert await queued.run() == [ShardEnd(None), ShardEnd(None)]

        plan = ShardPlan("20260302T010000Z-0000000a", 2, Place(""), {}, (), {})  # other keys
        stop_signal, progress = StopSignal(), ShardsProgress(RUN, 5, 2)
        runner = ShardRunner(client, plan, progress, stop_signal, 900.0, lambda: now_s)
        running = asyncio.create_task(runner.run(), name="run")
        while not progress.facts()["shards_running"]:
            await client.log_event(plan.topic, {"kind": "began", "shard": 0, "worker": "w"})
            await asyncio.sleep(0.01)
        stop_signal.stop(StopReason.SIGINT, "interrupted")
        while not progress.facts()["shards_ended"]:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not running.done()
        assert progress.facts()["shards_running"] == 1
        now_s = 1_000.0
        with pytest.raises(SchedulerLost, match="nothing was heard of the shards for 900 s"):
            await running


def _until_told_twice(plan: ShardPlan, index: int, _scheduler: str) -> ShardEnd:
    """The first shard stops the run; the second one ends after it was told so a second time."""
    if index == 0:
        return ShardEnd(3)
    deadline_s = time.monotonic() + 60.0
    children = vars(worker)["CHILDREN"]
    for _ in range(2):
        while not children.is_stopping(plan.run_id):
            if time.monotonic() > deadline_s:
                return ShardEnd(70)
            time.sleep(0.01)
        children._stopping.clear()
    return ShardEnd(None)


async def test_workers_hear_again_that_no_other_shard_is_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker that was started again, or joins later, has not heard it."""
    monkeypatch.setattr(worker, "CHILDREN", Children())
    monkeypatch.setattr(shard_runner, "run_shard", _until_told_twice)
    monkeypatch.setattr(shard_runner, "_STOP_PAUSE_S", 0.01)
    plan = ShardPlan(RUN, 2, Place(""), {}, (), {})
    async with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            resources={RESOURCE: 1},
            asynchronous=True,
            dashboard_address=":0",
        ) as dask,
        Client(dask, asynchronous=True, set_as_default=False) as client,
    ):
        runner = ShardRunner(client, plan, ShardsProgress(RUN, 5, 2), StopSignal(), 900.0)
        runner._begun[1] = "w"  # otherwise it is cancelled
        ends = await runner.run()
    assert list(ends) == [ShardEnd(3), ShardEnd(None)]
