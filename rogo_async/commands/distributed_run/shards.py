"""Runs the shards of a distributed run on their workers (specification §7). Imports Dask."""

import asyncio
import secrets
import time
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from rich.console import Console

from rogo_async.commands.collect.shards import result_in
from rogo_async.commands.distributed_run.options import Workers, options_of, shards_for
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import DataDir, shards_of
from rogo_async.common.errors import InputChanged, LockHeld, SetupError
from rogo_async.common.files import write_private
from rogo_async.common.settings import Settings
from rogo_async.common.shard import Shard
from rogo_async.common.shutdown import ExitCode, StopReason
from rogo_async.common.text import plural
from rogo_async.distributed import cluster
from rogo_async.distributed.facts import Place, digests_of, facts_of
from rogo_async.distributed.progress import ShardsProgress
from rogo_async.distributed.results import unpack
from rogo_async.distributed.shard_runner import SchedulerLost, ShardRunner
from rogo_async.distributed.worker import ShardEnd, ShardPlan
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.pipeline.unreached_shards import record_unreached
from rogo_async.reporting.live import LIVE, published
from rogo_async.reporting.merged_summary import reasons_of
from rogo_async.reporting.progress import Stages, log_lines, shown
from rogo_async.reporting.run_display import show_run
from rogo_async.reporting.summary import RunSummary
from rogo_async.sources.submissions_csv import SubmissionsFile

_MARKER: Final = ".rogo_async.token-"
"""A file by which workers find out whether they share the data directory."""

_SAMPLE_S: Final = 1.0
log = structlog.get_logger()


class Shards(Command):
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
            await self._run(client, plan, len(file))
        await self._finish(plan, file)

    def _place(self) -> Place:
        selection, token = self._selection, f"{_MARKER}{secrets.token_hex(8)}"
        for old in self.data.path.glob(f"{_MARKER}*"):
            old.unlink()  # of a run that was killed
        settings: dict[str, Any] = {"rogo_refresh": self.settings.rogo_refresh}
        if self._workers.local is not None:
            settings["rogo_data_dir"] = str(self.data.path.absolute())
            if self._workers.env_file is not None:
                settings["_env_file"] = str(self._workers.env_file.absolute())
        write_private(self.data.path / token, b"")
        path = None if selection.input is None else str(selection.input)
        return Place(token, settings, path, with_failed_rows=bool(selection.codes))

    def _plan(self, place: Place, count: int) -> ShardPlan:
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

    async def _run(self, client: Any, plan: ShardPlan, rows: int) -> None:
        progress = ShardsProgress(plan.run_id, rows, plan.count)
        silence_s = self.settings.rogo_outage_limit
        runner = ShardRunner(client, plan, progress, self.stop_signal, silence_s)
        interval_s = self.settings.rogo_progress_interval
        live_file = self.data.path / LIVE
        try:
            async with (
                shown(self._show(progress)),
                published(live_file, progress.state, interval_s),
            ):
                ends = await runner.run()
        except SchedulerLost as lost:
            remedy = (
                f"; or wait until the shards under way have ended, run the others with ROGO_RUN_ID="
                f"{plan.run_id} ROGO_SHARD=i/{plan.count}, then: collect --run {plan.run_id}"
            )
            text = f"{lost}. Run again to continue{remedy if lost.has_begun else ''}"
            self.stop_signal.stop(StopReason.OUTAGE, text)
            return
        self._ends = {Shard(index, plan.count): end for index, end in enumerate(ends)}

    async def _show(self, progress: ShardsProgress) -> None:
        if self._terminal is not None:
            await show_run(progress.lines, self._terminal)
            return
        sampling = asyncio.create_task(_sample(progress), name="progress-rate")
        try:
            await log_lines(progress.facts, self.settings.rogo_progress_interval)
        finally:
            sampling.cancel()

    async def _finish(self, plan: ShardPlan, file: SubmissionsFile) -> None:
        """Put the results into the data directory, and count the rows that were not processed."""
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

    def _stop_if_late(self, plan: ShardPlan) -> None:
        """Stop for the time window if only that has kept shards from being begun."""
        codes = {end.exit_code for end in self._ends.values()}
        is_late = plan.ends_at is not None and plan.ends_at <= datetime.now(UTC)
        if is_late and None in codes <= {None, 0, 1, 5}:
            self.stop_signal.stop(
                StopReason.WINDOW,
                "the time window ended before all shards had begun (ROGO_MAX_DURATION, --until)",
            )

    def _stop_for(self, shard: Shard, end: ShardEnd) -> None:
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


def _changed(file: SubmissionsFile, missing: Collection[Shard]) -> str:
    names = ", ".join(map(str, missing))
    return (
        f"{file.path} changed during the run, so the rows of shard {names}, without a result, "
        "cannot be counted, and nothing was collected. Wait until its export has finished, then "
        "run again: what was migrated is skipped"
    )


async def _sample(progress: ShardsProgress) -> None:
    while True:
        progress.sample(time.monotonic())
        await asyncio.sleep(_SAMPLE_S)
