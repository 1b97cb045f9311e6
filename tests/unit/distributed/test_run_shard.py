"""When a worker begins a shard, and what it makes of its end (specification §7)."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from rogo_async.common.settings import load_settings
from rogo_async.distributed import worker
from rogo_async.distributed.facts import Place, facts_of
from rogo_async.distributed.worker import ShardEnd, ShardPlan, run_shard
from tests.unit.common.test_settings import SOUND

RUN = "20260301T010000Z-0000000a"
TOKEN = ".rogo_async.token"
HERE = "tcp://127.0.0.1:8786"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardPlan:
    """A run whose data directory the worker shares. Its shards end at once, with exit code 1."""
    for name, value in SOUND.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountName=a;AccountKey=c2VjcmV0")
    for name in ("submission_files.csv", "attempt_number_mapping.csv", TOKEN):
        (tmp_path / name).touch()
    monkeypatch.setattr(worker, "_CHILDREN", worker._Children())
    monkeypatch.setattr(worker, "_run_once", lambda *_: (1, ("it ran",)))
    place = Place(TOKEN, {"rogo_data_dir": str(tmp_path)})
    facts = facts_of(load_settings(**place.settings), place)
    return ShardPlan(RUN, 3, place, facts, (), {})


RAN = ShardEnd(1, ("it ran",))


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A cluster with one worker, whose addresses are those of this machine."""
    async with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            host="127.0.0.1",
            protocol="tcp",
            asynchronous=True,
            dashboard_address=":0",
        ) as dask,
        Client(dask, asynchronous=True, set_as_default=False) as client,
    ):
        yield client


async def ended(client: Client, plan: ShardPlan, index: int = 0, scheduler: str = HERE) -> ShardEnd:
    end: ShardEnd = await client.submit(run_shard, plan, index, scheduler, pure=False)
    return end


async def test_a_late_worker_sends_no_failed_rows_in_the_clear(
    client: Client, plan: ShardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = "tcp://10.0.0.5:8786"
    assert await ended(client, plan, scheduler=far) == RAN
    (tmp_path / TOKEN).unlink()
    assert await ended(client, plan) == RAN
    refused = await ended(client, plan, scheduler=far)
    assert refused.exit_code == 2
    (line,) = refused.messages
    assert "its data directory is not that of this command, so failed rows would pass" in line

    monkeypatch.setattr(worker, "_CHILDREN", worker._Children())
    async with (
        LocalCluster(  # its address is not one of TCP
            n_workers=1, processes=False, asynchronous=True, dashboard_address=":0"
        ) as dask,
        Client(dask, asynchronous=True, set_as_default=False) as other,
    ):
        assert (await ended(other, plan)).exit_code == 2


async def test_a_shard_that_a_signal_ends_while_it_starts_was_not_begun(
    client: Client, plan: ShardPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_by_signal(*_: object) -> tuple[int, tuple[str, ...]]:
        worker.stop_run(RUN, signal.SIGHUP)
        return -signal.SIGHUP, ()

    monkeypatch.setattr(worker, "_run_once", ended_by_signal)
    assert await ended(client, plan) == ShardEnd(None)
