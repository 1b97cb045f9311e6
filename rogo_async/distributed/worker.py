"""What a Dask worker does for a shard (specification §7): starts a child, forwards its progress.

The child is the ordinary command ``run`` with ROGO_SHARD and ROGO_RUN_ID, and the settings of the
worker's own environment.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import orjson
from distributed import Reschedule, Status, Worker, WorkerPlugin, get_worker

from rogo_async.common.data_dir import DataDir, shards_of
from rogo_async.common.files import make_private_directory
from rogo_async.common.settings import load_settings
from rogo_async.common.shard import Shard
from rogo_async.common.shutdown import ExitCode
from rogo_async.distributed.children import CHILDREN, STOP_SIGNALS
from rogo_async.distributed.facts import Place, WorkerReport, differences, exposures, report_of
from rogo_async.distributed.results import packed
from rogo_async.reporting.summary import RunSummary, read_summary

PROGRESS_S: Final = 1.0
LOG: Final = "log.jsonl"
"""The log of a shard, in its directory."""

_END_THE_RUN: Final = {ExitCode.SETUP, ExitCode.STOPPED_EARLY, ExitCode.LOCKED}
_NO_WINDOW_S: Final = 7 * 86_400.0
"""The longest that ROGO_MAX_DURATION accepts."""

_LOCK_WAIT_S: Final = 120.0
_LOCK_PAUSE_S: Final = 3.0
_MESSAGES: Final = 20
_CLOSING: Final = frozenset({Status.closing, Status.closing_gracefully})
_FORWARDED: Final = frozenset({"warning", "error", "critical"})


class ShardKilledError(Exception):
    """The process of a shard was killed, for example because the machine has too little memory."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """What all shards of a run have in common. It has no secrets.

    ``options`` follow ``run`` on the command line. ``environment`` is added to that of the worker.
    """

    run_id: str
    count: int
    place: Place
    facts: Mapping[str, str]
    options: Sequence[str]
    environment: Mapping[str, str]
    ends_at: datetime | None = None

    @property
    def topic(self) -> str:
        """The topic of the events of this run."""
        return f"rogo_async {self.run_id}"


@dataclass(frozen=True, slots=True)
class ShardEnd:
    """How a shard ended. ``exit_code`` is None if it was not begun, as the run is stopping.

    ``counts`` are those of its summary; None without one. ``messages`` are what it printed on
    standard error. ``files`` are packed if the operator's command does not see its directory.
    ``has_stopped`` is False if it has worked through its rows.
    """

    exit_code: int | None
    messages: Sequence[str] = ()
    counts: Mapping[str, int] | None = None
    files: bytes | None = None
    has_stopped: bool = True

    @property
    def ends_the_run(self) -> bool:
        """Whether no other shard is begun, since it would end in the same way.

        Not so if the outcome of single rows is unknown (exit 3, too).
        """
        return self.has_stopped and self.exit_code in _END_THE_RUN


class IgnoreSignals(WorkerPlugin):  # type: ignore[misc] # Dask's types are skipped
    """Lets a local worker ignore what a terminal or a supervisor sends to the process group.

    The operator's command receives these signals, too, and drains the shards.
    """

    name = "rogo_async-signals"

    def setup(self, worker: Worker) -> None:  # noqa: ARG002 - the interface of Dask
        """Called in the main thread of a worker when it starts."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class EndShards(WorkerPlugin):  # type: ignore[misc] # Dask's types are skipped
    """Lets a worker that closes drain its shard first, so that it can go on elsewhere."""

    name = "rogo_async-shards"

    async def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - the interface of Dask
        """Called when the worker closes. ``dask worker`` kills it after 8 s."""
        children = CHILDREN.end_all(signal.SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(each.wait) for each in children))


async def check_worker(place: Place) -> WorkerReport:
    """The report of a worker, made in a thread."""
    return await asyncio.to_thread(report_of, place)


def stop_run(run_id: str, number: signal.Signals | None) -> None:
    """Begin no more shards of a run on this worker. A signal stops those under way."""
    CHILDREN.stop(run_id, number)


def run_shard(plan: ShardPlan, index: int, scheduler: str) -> ShardEnd:
    """The task: run a shard to its end. Called in a thread that exists as long as the worker.

    ``scheduler`` is the address at which the operator's command is connected to it.
    Raises ShardKilledError, after which Dask tries again, and Reschedule if the worker closes.
    """
    worker = get_worker()
    # Not through the scheduler: the workers of others may lack this package.
    worker.plugins.setdefault(EndShards.name, EndShards())
    end = _end_of(plan, index, scheduler, worker)
    if end.ends_the_run:
        stop_run(plan.run_id, None)  # Dask begins the next one before the operator's command hears
    return end


def _end_of(plan: ShardPlan, index: int, scheduler: str, worker: Worker) -> ShardEnd:
    if CHILDREN.is_stopping(plan.run_id) or _left_s(plan) <= 0:
        return ShardEnd(None)
    # A worker that joined later was not checked when the run began.
    found, name = report_of(plan.place), str(worker.name)
    addresses = (scheduler, worker.scheduler.address, worker.address)
    problems = list(differences(plan.facts, name, found)) or list(exposures(name, found, addresses))
    if problems:
        return ShardEnd(ExitCode.SETUP, problems)
    shard = Shard(index, plan.count)
    data_dir = load_settings(**plan.place.settings).rogo_data_dir
    directory = shards_of(data_dir, plan.run_id) / shard.directory
    try:
        for each in (directory.parents[1], directory.parent, directory):
            make_private_directory(each)
        return _end_in(directory, plan, shard, worker, is_sent=not found.shares_directory)
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else type(error).__name__
        line = f"worker {name} on {found.host}: {directory}: cannot be used ({problem})"
        return ShardEnd(ExitCode.STOPPED_EARLY, [line])


def _end_in(
    directory: Path, plan: ShardPlan, shard: Shard, worker: Worker, *, is_sent: bool
) -> ShardEnd:
    """Run a shard in its directory, whose files are packed if they are to be sent."""
    code, messages = _run_until_unlocked(plan, shard, directory, worker)
    if worker.status in _CLOSING:
        raise Reschedule
    summary = _summary(directory, plan.run_id, code)
    if summary is None and (code is None or CHILDREN.is_stopping(plan.run_id)):
        return ShardEnd(None)
    if code is None or code < 0:
        raise ShardKilledError(f"its process was ended by signal {-(code or 0)}")
    if summary is None:
        return ShardEnd(code, messages)
    files = packed(directory, plan.run_id) if is_sent else None
    return ShardEnd(code, messages, counts_of(summary), files, bool(summary.stopped_by))


def _run_until_unlocked(
    plan: ShardPlan, shard: Shard, directory: Path, worker: Worker
) -> tuple[int | None, Sequence[str]]:
    """Run the shard; repeat it while an earlier try, on a worker that was lost, has its lock."""
    deadline_s = time.monotonic() + _LOCK_WAIT_S
    while True:
        code, messages = _run_once(plan, shard, directory, worker)
        is_free = code != ExitCode.LOCKED or not is_held_by_earlier_try(plan.run_id, messages)
        if is_free or time.monotonic() > deadline_s:
            return code, messages
        time.sleep(_LOCK_PAUSE_S)


def is_held_by_earlier_try(run_id: str, messages: Sequence[str]) -> bool:
    """Whether a shard could not start since the same shard runs already.

    It holds its lock in the target and, if it has the same directory, that of the directory.
    """
    return any("of this run since" in each or run_id in each for each in messages)


def _run_once(
    plan: ShardPlan, shard: Shard, directory: Path, worker: Worker
) -> tuple[int | None, Sequence[str]]:
    """The exit code, negative after a signal, None if the run is stopping; and the messages."""
    command = (sys.executable, "-m", "rogo_async.distributed.child", str(os.getpid()), "run")
    environment = _environment(plan, shard, directory)
    with CHILDREN.started(plan.run_id, [*command, *plan.options], environment) as child:
        if child is None:
            return None, ()
        messages: deque[str] = deque(maxlen=_MESSAGES)
        about = {"shard": shard.index, "worker": str(worker.name)}
        worker.log_event(plan.topic, {**about, "kind": "began"})
        for event in _events(child.stderr, messages):
            worker.log_event(plan.topic, {**about, **event})
        return child.wait(), tuple(messages)


def _environment(plan: ShardPlan, shard: Shard, directory: Path) -> dict[str, str]:
    own = {
        "ROGO_SHARD": str(shard),
        "ROGO_RUN_ID": plan.run_id,
        "ROGO_LOG_FORMAT": "json",
        "ROGO_LOG_FILE": str((directory / LOG).absolute()),
        "ROGO_PROGRESS_INTERVAL": str(PROGRESS_S),
        "ROGO_REPORT": "false",
        "ROGO_MAX_DURATION": f"{max(_left_s(plan), 0.1):.1f}",
    }
    return {**os.environ, **plan.environment, **own}


def _left_s(plan: ShardPlan) -> float:
    """The rest of the time window. Without one so long that a window of the worker's has no effect.

    Its ``.env`` may have one, which a variable that is missing or empty would not override.
    """
    if plan.ends_at is None:
        return _NO_WINDOW_S
    return (plan.ends_at - datetime.now(UTC)).total_seconds()


def _events(stderr: IO[bytes] | None, messages: deque[str]) -> Iterator[dict[str, Any]]:
    """The progress and the warnings in the log lines; other lines are messages.

    Progress of reading the inputs only shows that the shard is alive.
    """
    for raw in stderr or ():
        line = None
        with contextlib.suppress(ValueError):
            line = orjson.loads(raw)
        if not isinstance(line, dict):
            messages.append(raw.decode(errors="replace").rstrip().removeprefix("rogo_async: "))
            continue
        if line.get("event") == "progress":
            yield {"kind": "alive"} if "stage" in line else {"kind": "progress", "facts": line}
        elif line.get("level") in _FORWARDED:
            yield {"kind": "log", "line": line}


def _summary(directory: Path, run_id: str, code: int | None) -> RunSummary | None:
    """The summary of a shard that ended so; None if it ended before it had read its inputs.

    That of an earlier try, which the worker ended, has another exit code.
    """
    try:
        found = read_summary(DataDir(directory).summary_of(run_id))
    except (OSError, ValueError):
        return None
    return found if found.is_result_of_shard and found.exit_code == code else None


def counts_of(summary: RunSummary) -> dict[str, int]:
    """The counts of a progress line, as they are at the end."""
    return {
        "total": summary.rows_total,
        "done": summary.rows_total - summary.not_reached,
        "migrated": summary.migrated,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "left": 0,
    }
