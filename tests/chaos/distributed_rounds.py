"""Distributed runs with a process killed or frozen at a random moment (specification §7).

The workers are on this machine (``--workers``) or those of a Dask scheduler, which takes a worker
for lost after five seconds without a heartbeat. A frozen worker wakes beside its replacement.
"""

import asyncio
import contextlib
import json
import random
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg
import psutil

from rogo_async.demo.servers.ports import reserve_port
from tests.chaos.invariants import Findings
from tests.chaos.kills import DELAY_S, count_submissions
from tests.chaos.rounds import ChaosRound, RoundFactory
from tests.support.cli import NEW_INTERPRETER, SUMMARY, CliResult, RunningCommand, start_cli
from tests.support.dask_cluster import (
    dask_scheduler,
    dask_worker,
    other_machine,
    processes_of,
    shards_below,
    until,
)
from tests.support.target_sessions import end_sessions

_RUN_S: Final = 900.0
"""Ends a run that hangs."""
_CLOSE_S: Final = 120.0
"""Processes of a run that are there after this time would stay."""
_AWAKE_S: Final = 6.0
"""A frozen shard wakes at most so long after its replacement has begun."""
_WORKERS: Final = 2
_SHARDS: Final = ("--shards", "3")
_SETTINGS: Final = {"ROGO_CONCURRENCY": "4", "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s"}
_PARTS: Final = ("migrated", "refreshed", "failed", "skipped", "not_reached")


class Fault(StrEnum):
    """What happens to a distributed run."""

    WORKER_KILLED = "worker killed"
    SCHEDULER_KILLED = "scheduler killed"
    COMMAND_KILLED = "command killed"
    FROZEN = "worker and shard frozen"
    FROZEN_WITHOUT_SESSIONS = "worker and shard frozen, their sessions ended"
    FROZEN_IN_SHARED_DIRECTORY = "worker and shard frozen, shared directory"
    WORKER_FROZEN = "worker frozen without its shard, shared directory"
    LOCAL_FROZEN = "worker of --workers and shard frozen"


_FREEZES: Final = (
    Fault.FROZEN_WITHOUT_SESSIONS,
    Fault.FROZEN_IN_SHARED_DIRECTORY,
    Fault.FROZEN,
    Fault.WORKER_FROZEN,
    Fault.LOCAL_FROZEN,
)
_SHARED: Final = {Fault.FROZEN_IN_SHARED_DIRECTORY, Fault.WORKER_FROZEN}
_ENDS_THE_RUN: Final = {Fault.SCHEDULER_KILLED: 3, Fault.COMMAND_KILLED: -signal.SIGKILL}
"""The exit code if the run had not ended before."""


def planned(kills: int, seed: int) -> list[Fault]:
    """``kills`` lost workers, and a sixth of each other kind: frozen, scheduler, command."""
    others = max(1, kills // 6)
    return [
        *(_FREEZES[(seed + index) % len(_FREEZES)] for index in range(others)),
        *[Fault.SCHEDULER_KILLED] * others,
        *[Fault.COMMAND_KILLED] * others,
        *[Fault.WORKER_KILLED] * kills,
    ]


@dataclass(frozen=True, slots=True)
class CleanRun:
    """An undisturbed run: when its migration begins, and when it ends (seconds)."""

    begins_s: float
    ends_s: float


@dataclass(frozen=True, slots=True)
class _Run:
    """A distributed run. Without a scheduler, its workers are children of the command."""

    command: RunningCommand
    scheduler: asyncio.subprocess.Process | None = None
    of_scheduler: Sequence[psutil.Process] = ()

    @property
    def has_ended(self) -> bool:
        return self.command.process.returncode is not None

    def workers(self) -> list[psutil.Process]:
        """Those that are there now."""
        if self.scheduler is not None:
            return [each for each in self.of_scheduler if _is_alive(each)]
        with contextlib.suppress(psutil.Error):  # the command ends
            children = psutil.Process(self.command.process.pid).children()
            return [each for each in children if "spawn_main" in " ".join(each.cmdline())]
        return []

    def shards(self) -> list[psutil.Process]:
        """The processes of the shards that run now."""
        found: list[psutil.Process] = []
        for each in self.workers():
            with contextlib.suppress(psutil.Error):
                found += shards_below(each)
        return found

    def begun(self, shard: str) -> set[str]:
        """The workers on which a shard has begun."""
        events = self.command.events("shard begins")
        return {str(each["worker"]) for each in events if each["shard"] == shard}


async def measure_distributed_run(factory: RoundFactory) -> CleanRun:
    """Make an undisturbed run. Its result must be correct."""
    clock = asyncio.get_running_loop().time
    async with factory.round(DELAY_S) as chaos_round, _with_workers(chaos_round) as run:
        began_s = clock()
        await run.command.wait_for_event("migration begins")
        begins_s = clock() - began_s
        result = await run.command.wait()
        ends_s = clock() - began_s
        findings = await _judged(chaos_round, Fault.WORKER_KILLED, result)
        assert not findings.lines(), findings
    return CleanRun(begins_s, ends_s)


async def run_disturbed(
    factory: RoundFactory, fault: Fault, generator: random.Random, clean: CleanRun
) -> tuple[str, Findings]:
    """What happened, and the findings after the run and after the next one."""
    async with factory.round(DELAY_S) as chaos_round:
        async with _started(chaos_round, fault, generator) as run:
            await _random_moment(chaos_round, run, generator, clean)
            submissions = await count_submissions(chaos_round)
            await _disturb(chaos_round, run, fault, generator)
            result = await run.command.wait(_RUN_S)
            findings = await _left_behind(chaos_round, run)
        findings.add(await _judged(chaos_round, fault, result))
    where = "--workers" if run.scheduler is None else "--scheduler"
    text = f"{fault}, {where}, {submissions:4} submissions, exit {result.code}"
    return text, findings


async def _random_moment(
    chaos_round: ChaosRound, run: _Run, generator: random.Random, clean: CleanRun
) -> None:
    """Wait for a time, or else for a number of submissions, also on a machine that is slower now.

    The workers of a scheduler start before the command; only what follows is disturbed.
    """
    latest_s = clean.ends_s
    if run.scheduler is not None:
        await run.command.wait_for_event("migration begins")
        latest_s -= clean.begins_s
    if generator.random() < 0.5:
        await asyncio.sleep(generator.uniform(0.0, latest_s))
        return
    written = await count_submissions(chaos_round) + generator.randrange(
        1, len(chaos_round.expected.files)
    )
    while not run.has_ended and await count_submissions(chaos_round) < written:
        await asyncio.sleep(0.1)


def _started(
    chaos_round: ChaosRound, fault: Fault, generator: random.Random
) -> contextlib.AbstractAsyncContextManager[_Run]:
    """The run that suits the fault; where both do, one at random."""
    suit_both = {Fault.WORKER_KILLED, Fault.COMMAND_KILLED}
    if fault is Fault.LOCAL_FROZEN or (fault in suit_both and generator.random() < 0.5):
        return _with_workers(chaos_round)
    return _with_scheduler(chaos_round, is_shared=fault in _SHARED)


@asynccontextmanager
async def _with_workers(chaos_round: ChaosRound) -> AsyncIterator[_Run]:
    options = ("run", "--workers", str(_WORKERS), *_SHARDS)
    async with start_cli(chaos_round.env, *options, prefix=NEW_INTERPRETER, **_SETTINGS) as command:
        yield _Run(command)


@asynccontextmanager
async def _with_scheduler(chaos_round: ChaosRound, *, is_shared: bool) -> AsyncIterator[_Run]:
    """Workers without a nanny, so that a frozen one is not killed."""
    data_dir = chaos_round.workspace.data_dir
    env = {**chaos_round.env, **_SETTINGS}
    address = f"tcp://127.0.0.1:{reserve_port()}"
    options = ("run", "--scheduler", address, *_SHARDS)
    async with AsyncExitStack() as stack:
        scheduler = await stack.enter_async_context(dask_scheduler(address, env))
        workers = []
        for number in range(_WORKERS):
            own = data_dir / f"machine-{number}"
            own.mkdir(mode=0o700)
            place = data_dir if is_shared else other_machine(data_dir, own)
            worker = dask_worker(address, env, place, "--no-nanny")
            process = await stack.enter_async_context(worker)
            workers.append(psutil.Process(process.pid))
        command = await stack.enter_async_context(start_cli(env, *options, prefix=NEW_INTERPRETER))
        yield _Run(command, scheduler, workers)


async def _disturb(
    chaos_round: ChaosRound, run: _Run, fault: Fault, generator: random.Random
) -> None:
    if fault is Fault.WORKER_KILLED:
        await until(lambda: run.has_ended or bool(run.workers()))
        if workers := run.workers():
            generator.choice(workers).kill()
    elif fault is Fault.COMMAND_KILLED:
        if not run.has_ended:
            run.command.process.kill()
    elif fault is Fault.SCHEDULER_KILLED:
        assert run.scheduler is not None
        run.scheduler.kill()
    else:
        await _freeze(chaos_round, run, fault, generator)


async def _freeze(
    chaos_round: ChaosRound, run: _Run, fault: Fault, generator: random.Random
) -> None:
    """Freeze a worker until its shard has begun elsewhere; then it wakes."""
    await until(lambda: run.has_ended or bool(run.shards()))
    shards = run.shards()
    if not shards:
        return
    shard = generator.choice(shards)
    worker, name = shard.parent(), shard.environ()["ROGO_SHARD"]
    assert worker is not None
    frozen = [worker] if fault is Fault.WORKER_FROZEN else [worker, shard]
    with _stopped(frozen):
        before = run.begun(name)
        if fault is Fault.LOCAL_FROZEN:  # its nanny kills it
            await until(lambda: run.has_ended or not _is_alive(worker))
            return
        if fault is Fault.FROZEN_WITHOUT_SESSIONS:
            await _end_sessions(chaos_round, name)
        await until(lambda: run.has_ended or run.begun(name) > before)
        await asyncio.sleep(generator.uniform(0.0, _AWAKE_S))


@contextlib.contextmanager
def _stopped(processes: Sequence[psutil.Process]) -> Iterator[None]:
    try:
        for each in processes:
            _signal(each, signal.SIGSTOP)
        yield
    finally:
        for each in processes:
            _signal(each, signal.SIGCONT)


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


async def _end_sessions(chaos_round: ChaosRound, shard: str) -> None:
    """The server ends the sessions of a client that is gone, as after a network failure."""
    connection = await asyncpg.connect(chaos_round.stack.postgres.dsn(chaos_round.workspace.target))
    try:
        await end_sessions(
            connection,
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            f"AND application_name LIKE 'rogo_async shard {shard} of %'",
        )
    finally:
        await connection.close()


async def _left_behind(chaos_round: ChaosRound, run: _Run) -> Findings:
    """Wait for the shards and the workers of this machine to end; those of a scheduler stay."""
    findings = Findings()
    stay = {each.pid for each in run.of_scheduler}
    if run.scheduler is not None:
        stay.add(run.scheduler.pid)
    until_s = asyncio.get_running_loop().time() + _CLOSE_S
    while left := [p for p in processes_of(chaos_round.workspace.data_dir) if p.pid not in stay]:
        if asyncio.get_running_loop().time() > until_s:
            findings.misjudged.append(f"processes stay: {left}")
            for each in left:
                _signal(each, signal.SIGKILL)
            break
        await asyncio.sleep(0.1)
    return findings


async def _judged(chaos_round: ChaosRound, fault: Fault, result: CliResult) -> Findings:
    """The findings about the run, and after the next one."""
    expected = chaos_round.expected_code
    findings = Findings()
    allowed = {expected, _ENDS_THE_RUN.get(fault, expected)}
    if fault is Fault.WORKER_KILLED and not result.events("migration begins"):
        allowed.add(2)  # it was starting
    if result.code not in allowed:
        findings.misjudged.append(f"the run ended with {result.code}: {result.output}")
    if result.events("internal error"):
        findings.misjudged.append(result.output)
    findings.add(await _check_summary(chaos_round, result))
    if result.code == expected:
        findings.add(await chaos_round.check())
    findings.add(await chaos_round.recover())
    return findings


async def _check_summary(chaos_round: ChaosRound, result: CliResult) -> Findings:
    """The summary of a run that was collected must add up."""
    findings = Findings()
    path = chaos_round.workspace.data_dir / SUMMARY
    if not path.exists():
        if result.code == chaos_round.expected_code:
            findings.misjudged.append(f"there is no {SUMMARY}")
        return findings
    told = json.loads(await asyncio.to_thread(path.read_text, "utf-8"))
    parts = {name: told[name] for name in _PARTS}
    if not sum(parts.values()) == told["rows_total"] == chaos_round.expected.rows:
        findings.misjudged.append(f"{parts} do not add up to {chaos_round.expected.rows}")
    written = await count_submissions(chaos_round)
    if told["migrated"] > written:
        findings.lost.append(f"{told['migrated']} migrated, and {written} in the target")
    return findings
