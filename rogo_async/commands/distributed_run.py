"""``run --workers`` and ``run --scheduler``: one run in many processes (specification §7).

It looks like a run in one process: one progress display, one lock, the same files at the end.
"""

import asyncio
import secrets
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from rich.console import Console

from rogo_async.commands.collect.flow import Collect
from rogo_async.commands.collect.shards import result_in
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import DataDir, new_run_id, shards_of
from rogo_async.common.errors import InputChanged, LockHeld, SetupError
from rogo_async.common.files import write_private
from rogo_async.common.settings import Settings
from rogo_async.common.shard import Shard
from rogo_async.common.shutdown import ExitCode, StopReason
from rogo_async.common.text import plural
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.unreached_shards import record_unreached
from rogo_async.reporting.live import LIVE, published
from rogo_async.reporting.merged_summary import reasons_of
from rogo_async.reporting.progress import Stages, log_lines, shown
from rogo_async.reporting.run_display import show_run
from rogo_async.reporting.starts import Starts
from rogo_async.reporting.summary import RunSummary
from rogo_async.sources.submissions_csv import SubmissionsFile

if TYPE_CHECKING:
    from rogo_async.distributed.facts import Place
    from rogo_async.distributed.progress import ShardsProgress
    from rogo_async.distributed.worker import ShardEnd, ShardPlan

SHARDS_PER_WORKER: Final = 4
"""More shards than workers: a fast worker does more of them, and less is repeated after a loss."""

_SAMPLE_S: Final = 1.0
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Workers:
    """Where the shards run: ``local`` processes on this machine, or the workers of a scheduler.

    ``env_file`` is read by local processes, as by this one.
    """

    local: int | None
    scheduler: str | None
    shards: int | None
    env_file: Path | None = None


class DistributedRun:
    """A run whose shards are processed by workers; ``execute`` is called once."""

    def __init__(
        self, settings: Settings, selection: Selection, terminal: Console | None, workers: Workers
    ) -> None:
        _require_dask()
        _refuse(settings, workers)
        self._settings = settings
        if selection.input is not None:  # the same for all processes
            selection = replace(selection, input=selection.input.absolute())
        self._selection = selection
        self._terminal = terminal
        self._workers = workers

    async def execute(self) -> CommandResult:
        """Run once and return the summary. Raises SetupError and LockHeld, without a summary."""
        data, run_id = DataDir(self._settings.rogo_data_dir), new_run_id()
        structlog.contextvars.bind_contextvars(run_id=run_id)
        starts = Starts(data.runs)
        if not data.is_used:
            return await self._execute(data, run_id, starts)
        try:
            await asyncio.to_thread(starts.began, run_id)
            result = await self._execute(data, run_id, starts)
        except Exception as error:
            await asyncio.to_thread(starts.failed, run_id, error)
            raise
        await asyncio.to_thread(starts.ended, run_id, result.exit_code, [result.summary_line])
        return result

    async def _execute(self, data: DataDir, run_id: str, starts: Starts) -> CommandResult:
        data.lock(f"run {run_id}")
        try:
            shards = _Shards(self._settings, self._selection, self._terminal, self._workers, run_id)
            shards.stop_signal.on_abort = lambda code, text: starts.ended(run_id, code, [text])
            result = await shards.execute()
            if not shards.can_be_collected:
                return result
            return await Collect(self._settings, run_id, (), self._terminal, None).execute()
        finally:
            data.unlock()


def _require_dask() -> None:
    if find_spec("distributed") is None:
        raise SetupError(
            "--workers, --scheduler: Dask is not installed: pip install '.[distributed]' in the "
            "source directory, or run without these options"
        )


def _refuse(settings: Settings, workers: Workers) -> None:
    """Raises SetupError for settings that do not go with a distributed run."""
    if settings.rogo_shard is not None or settings.rogo_run_id is not None:
        raise SetupError(
            "ROGO_SHARD, ROGO_RUN_ID: a worker sets them. Unset them, or run without --workers "
            "and --scheduler"
        )
    if workers.local and (settings.rogo_metrics_file or settings.rogo_metrics_port):
        raise SetupError(
            "ROGO_METRICS_FILE, ROGO_METRICS_PORT: the processes of --workers would share them. "
            "Unset them: run_summary.json has the figures of the whole run"
        )


class _Shards(Command):
    """Runs the shards. The caller holds the lock of the data directory."""

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        terminal: Console | None,
        workers: Workers,
        run_id: str,
    ) -> None:
        super().__init__(settings)
        self._selection = selection
        self._terminal = terminal
        self._workers = workers
        self._run_id = run_id
        self._began_at = datetime.now(UTC)
        self._ends: dict[Shard, ShardEnd] = {}
        self._counts: str | None = None
        self._inputs: dict[str, str] = {}
        self.can_be_collected = False
        """Whether every shard has left its files."""

    async def work(self, stack: AsyncExitStack) -> None:
        """Check the workers, run all shards on them, and count the rows that none processed."""
        from rogo_async.distributed import cluster  # noqa: PLC0415 - imports Dask

        stages = Stages(self._terminal, self.settings.rogo_progress_interval)
        file, _ = await open_selection(self._selection, self.data.path, stack, stages)
        place = await asyncio.to_thread(self._place)
        stack.callback((self.data.path / place.token).unlink, missing_ok=True)
        workers = self._workers
        async with AsyncExitStack() as clients:
            if workers.local is not None:
                count = workers.local
                client = await clients.enter_async_context(cluster.local_cluster(count))
            else:
                client = await clients.enter_async_context(
                    cluster.remote_cluster(workers.scheduler or "")
                )
                count = len(await cluster.workers_of(client))
            shards = shards_for(workers, count)
            plan = await asyncio.to_thread(self._plan, place, shards)
            limit_s = self.settings.rogo_outage_limit
            await cluster.check_workers(client, place, plan.facts, limit_s)
            self.stop_signal.raise_if_stopping()
            log.info("migration begins", rows=len(file), shards=plan.count, workers=count)
            await self._run(cluster, client, plan, len(file))
        await self._finish(plan, file)

    def _place(self) -> "Place":
        from rogo_async.distributed.facts import Place  # noqa: PLC0415 - see above

        selection, token = self._selection, f".rogo_async.{secrets.token_hex(8)}"
        settings: dict[str, Any] = {"rogo_refresh": self.settings.rogo_refresh}
        if self._workers.local is not None:
            settings["rogo_data_dir"] = str(self.data.path.absolute())
            if self._workers.env_file is not None:
                settings["_env_file"] = str(self._workers.env_file.absolute())
        write_private(self.data.path / token, b"")
        path = None if selection.input is None else str(selection.input)
        return Place(token, settings, path, with_failed_rows=bool(selection.codes))

    def _plan(self, place: "Place", count: int) -> "ShardPlan":
        from rogo_async.distributed.facts import digests_of, facts_of  # noqa: PLC0415 - see above
        from rogo_async.distributed.worker import ShardPlan  # noqa: PLC0415 - see above

        settings, local = self.settings, place.settings
        environment = {"ROGO_REFRESH": str(settings.rogo_refresh).lower()}
        options = options_of(self._selection)
        if "rogo_data_dir" in local:
            environment["ROGO_DATA_DIR"] = local["rogo_data_dir"]
        if "_env_file" in local:
            options += ["--env-file", local["_env_file"]]
        ends_at = None
        if settings.rogo_max_duration is not None:
            ends_at = self._began_at + timedelta(seconds=settings.rogo_max_duration)
        facts, self._inputs = facts_of(settings, place), digests_of(settings, place)
        return ShardPlan(self._run_id, count, place, facts, options, environment, ends_at)

    async def _run(self, cluster: Any, client: Any, plan: "ShardPlan", rows: int) -> None:
        from rogo_async.distributed.progress import ShardsProgress  # noqa: PLC0415 - see above

        progress = ShardsProgress(plan.run_id, rows, plan.count)
        silence_s = self.settings.rogo_outage_limit
        runner = cluster.ShardRunner(client, plan, progress, self.stop_signal, silence_s)
        interval_s = self.settings.rogo_progress_interval
        live_file = self.data.path / LIVE
        try:
            async with (
                shown(self._show(progress)),
                published(live_file, progress.state, interval_s),
            ):
                ends = await runner.run()
        except cluster.SchedulerLost as lost:
            remedy = (
                f"; or wait until the shards under way have ended, run the others with ROGO_RUN_ID="
                f"{plan.run_id} ROGO_SHARD=i/{plan.count}, then: collect --run {plan.run_id}"
            )
            text = f"{lost}. Run again to continue{remedy if lost.has_begun else ''}"
            self.stop_signal.stop(StopReason.OUTAGE, text)
            return
        self._ends = {Shard(index, plan.count): end for index, end in enumerate(ends)}

    async def _show(self, progress: "ShardsProgress") -> None:
        if self._terminal is not None:
            await show_run(progress.lines, self._terminal)
            return
        sampling = asyncio.create_task(_sample(progress), name="progress-rate")
        try:
            await log_lines(progress.facts, self.settings.rogo_progress_interval)
        finally:
            sampling.cancel()

    async def _finish(self, plan: "ShardPlan", file: SubmissionsFile) -> None:
        """Put the results into the data directory, and count the rows that were not processed."""
        from rogo_async.distributed.results import unpack  # noqa: PLC0415 - see above

        ends = self._ends
        if not ends:
            return
        missing = {shard: end for shard, end in ends.items() if end.counts is None}
        if len(missing) == len(ends):
            self._raise_refusal()
        for shard, end in missing.items():
            self._stop_for(shard, end)
        self._stop_if_late(plan)
        directory = shards_of(self.data.path, plan.run_id)
        for shard, end in ends.items():
            if end.files is not None:
                await asyncio.to_thread(unpack, end.files, directory / shard.directory)
        left = (result_in(DataDir(directory / each.directory), plan.run_id) for each in ends)
        results = await asyncio.to_thread(lambda: [each for each in left if each is not None])
        if not any(each.has_begun for each in results):
            self._stop_before_migration([each.summary for each in results])
            return
        if missing and not self.stop_signal.reasons:
            self.stop_signal.stop(
                StopReason.OUTAGE,
                "not begun, since another shard had ended early. Run again to continue",
            )
        if missing:
            try:
                await record_unreached(
                    self.settings,
                    self._selection,
                    plan.run_id,
                    self._began_at,
                    missing,
                    file,
                    self._inputs,
                    self.stop_signal,
                )
            except InputChanged:
                self.stop_signal.stop(StopReason.INPUT_CHANGED, _changed(file, missing))
                return
        self.can_be_collected = True

    def _raise_refusal(self) -> None:
        """No shard has a summary: raise what they have in common."""
        codes = {end.exit_code for end in self._ends.values()}
        messages = list(dict.fromkeys(m for end in self._ends.values() for m in end.messages))
        if ExitCode.SETUP in codes:
            raise SetupError(*messages)
        if ExitCode.LOCKED in codes:
            raise LockHeld("; ".join(messages))

    def _stop_before_migration(self, summaries: Sequence[RunSummary]) -> None:
        """Stop for what ended all shards so early that there is nothing to collect."""
        for reason, text in reasons_of(summaries).items():
            self.stop_signal.stop(StopReason(reason), text)
        if not self.stop_signal.reasons:
            self.stop_signal.stop(StopReason.OUTAGE, "see the logs of the workers, and run again")
        self._counts = "no shard has begun its migration"

    def _stop_if_late(self, plan: "ShardPlan") -> None:
        """Stop for the time window if only that has kept shards from being begun."""
        codes = {end.exit_code for end in self._ends.values()}
        is_late = plan.ends_at is not None and plan.ends_at <= datetime.now(UTC)
        if is_late and None in codes <= {None, 0, 1, 5}:
            self.stop_signal.stop(
                StopReason.WINDOW,
                "the time window ended before all shards had begun (ROGO_MAX_DURATION, --until)",
            )

    def _stop_for(self, shard: Shard, end: "ShardEnd") -> None:
        """Stop for a shard without a summary. Those that were not begun have another reason."""
        if end.exit_code is not None:
            is_fault = end.exit_code == ExitCode.INTERNAL
            detail = "; ".join(end.messages) or f"exit {end.exit_code}"
            self.stop_signal.stop(
                StopReason.FAULT if is_fault else StopReason.OUTAGE,
                f"shard {shard} left no result: {detail}. Run again to continue",
            )

    def result(self) -> CommandResult:
        """What is known if nothing can be collected."""
        ended = sum(end.counts is not None for end in self._ends.values())
        counts = self._counts or f"{plural(ended, 'shard')} ended"
        return self.result_of(0, f"run {self._run_id}: {counts}")


def shards_for(workers: Workers, count: int) -> int:
    """The number of shards for ``count`` workers. Raises SetupError if the last one has left."""
    if not count:
        raise SetupError(
            f"--scheduler {workers.scheduler}: its last worker has just left. Start the workers "
            "again, and run again"
        )
    return workers.shards or count * SHARDS_PER_WORKER


def _changed(file: SubmissionsFile, missing: Collection[Shard]) -> str:
    names = ", ".join(map(str, missing))
    return (
        f"{file.path} changed during the run, so the rows of shard {names}, without a result, "
        "cannot be counted, and nothing was collected. Wait until its export has finished, then "
        "run again: what was migrated is skipped"
    )


async def _sample(progress: "ShardsProgress") -> None:
    while True:
        progress.sample(time.monotonic())
        await asyncio.sleep(_SAMPLE_S)


def options_of(selection: Selection) -> list[str]:
    """The options of the command line that give this selection, whose ``input`` is absolute."""
    pairs: list[tuple[str, object]] = []
    if selection.newest is not None:
        pairs.append(("--limit", selection.newest))
    if selection.input is not None:
        pairs.append(("--input", selection.input))
    for name, values in (
        ("--attempt", selection.attempts),
        ("--unit", selection.units),
        ("--assessment", selection.assessments),
        ("--code", selection.codes),
    ):
        pairs += [(name, value) for value in values]
    return [f"{name}={value}" for name, value in pairs]
