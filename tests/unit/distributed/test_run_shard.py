"""When a worker begins a shard, and what it makes of its end (specification §7)."""

import errno
import io
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from rogo_async.common.settings import load_settings
from rogo_async.common.shard import Shard
from rogo_async.common.shutdown import StopSignal
from rogo_async.distributed import worker
from rogo_async.distributed.children import Children
from rogo_async.distributed.facts import Place, facts_of
from rogo_async.distributed.worker import EndShards, ShardEnd, ShardPlan, run_shard
from rogo_async.reporting.summary import RunRecord
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
    monkeypatch.setattr(worker, "CHILDREN", Children())
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

    monkeypatch.setattr(worker, "CHILDREN", Children())
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


async def test_a_worker_begins_no_shard_after_one_that_stopped_the_run(
    client: Client, plan: ShardPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for the message of the operator's command, which is not there."""
    for code in (2, 3, 4):
        this_run = replace(plan, run_id=f"{RUN}{code}")
        monkeypatch.setattr(worker, "_run_once", lambda *_, code=code: (code, ("no",)))
        assert (await ended(client, this_run, 0)).exit_code == code
        assert await ended(client, this_run, 1) == ShardEnd(None)
    monkeypatch.setattr(worker, "_run_once", lambda *_: (1, ("it ran",)))
    assert [await ended(client, plan, index) for index in (0, 1)] == [RAN, RAN]


@pytest.mark.parametrize(
    ("stopped_by", "next_one"), [({}, RAN), ({"outage": "target"}, ShardEnd(None))]
)
async def test_rows_with_an_unknown_outcome_keep_no_other_shard_from_being_begun(
    client: Client,
    plan: ShardPlan,
    monkeypatch: pytest.MonkeyPatch,
    stopped_by: dict[str, str],
    next_one: ShardEnd,
) -> None:
    """The shard has worked through its rows. One that was stopped would take others along."""
    summary = RunRecord.begin(RUN, 0, {}, None).summary(StopSignal())
    summary = summary.model_copy(update={"exit_code": 3, "stopped_by": stopped_by})
    with monkeypatch.context() as first:
        first.setattr(worker, "_run_once", lambda *_: (3, ()))
        first.setattr(worker, "_summary", lambda *_: summary)
        end = await ended(client, plan, 0)
    assert (end.exit_code, end.ends_the_run) == (3, bool(stopped_by))
    assert await ended(client, plan, 1) == next_one


async def test_a_worker_ends_its_shards_when_it_closes_and_not_before(
    client: Client, plan: ShardPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the workers that run shards get the plugin: those of others may lack rogo_async."""
    sent: list[signal.Signals] = []

    def end_all(number: signal.Signals) -> list[subprocess.Popen[bytes]]:
        sent.append(number)
        return []

    monkeypatch.setattr(vars(worker)["CHILDREN"], "end_all", end_all)
    (dask,) = client.cluster.workers.values()
    assert EndShards.name not in dask.plugins
    await ended(client, plan)
    assert EndShards.name in dask.plugins
    await ended(client, plan, 1)
    assert sent == []
    await dask.close()
    assert sent == [signal.SIGTERM]


async def test_a_shard_begins_within_the_time_window_only(client: Client, plan: ShardPlan) -> None:
    now = datetime.now(UTC)
    assert await ended(client, replace(plan, ends_at=now + timedelta(hours=1))) == RAN
    assert await ended(client, replace(plan, ends_at=now)) == ShardEnd(None)


def test_the_time_window_is_that_of_the_command(
    plan: ShardPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one in the environment of the worker or in its ``.env``."""

    def window_s(plan: ShardPlan) -> float:
        with monkeypatch.context() as child:
            environment = worker._environment(plan, Shard(0, 3), tmp_path)
            child.setenv("ROGO_MAX_DURATION", environment["ROGO_MAX_DURATION"])
            return load_settings(**plan.place.settings).rogo_max_duration or 0.0

    (tmp_path / ".env").write_text("ROGO_MAX_DURATION=60\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROGO_MAX_DURATION", "30")
    assert window_s(plan) == 7 * 86_400.0
    ends_at = datetime.now(UTC) + timedelta(hours=1)
    assert 60.0 < window_s(replace(plan, ends_at=ends_at)) <= 3_600.0


@pytest.mark.parametrize("step", ["make_private_directory", "packed"])
async def test_a_full_disk_of_a_worker_is_named(
    client: Client,
    plan: ShardPlan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "text of the library")

    summary = RunRecord.begin(RUN, 0, {}, None).summary(StopSignal())
    monkeypatch.setattr(worker, "_summary", lambda *_: summary)
    monkeypatch.setattr(worker, step, full)
    (tmp_path / TOKEN).unlink()
    end = await ended(client, plan)
    assert (end.exit_code, end.counts) == (3, None)
    (line,) = end.messages
    directory = tmp_path / "shards" / RUN / "0-of-3"
    assert line.endswith(f": {directory}: cannot be used (No space left on device)")


def test_lines_that_are_no_objects_are_messages() -> None:
    messages: deque[str] = deque()
    lines = b'null\n1\n[2]\nrogo_async: text\n{"event":"progress","done":1}\n{"level":"info"}\n'
    events = list(worker._events(io.BytesIO(lines), messages))
    assert events == [{"kind": "progress", "facts": {"event": "progress", "done": 1}}]
    assert list(messages) == ["null", "1", "[2]", "text"]
