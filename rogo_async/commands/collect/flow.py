"""One collection: merge what the shards of a run left, as a run in one process leaves it.

Every file is replaced in one step and depends only on what the shards left, so a collection that
was killed, or whose shards were repeated since, is simply done again. The summary comes last of the
files, and files of old runs are deleted after it; migrated.csv is read from the target, as at the
start of a run.
"""

import asyncio
import csv
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import structlog
from rich.console import Console

from rogo_async.commands.collect.files import failed_rows_in_order, merge_journals, merge_timelines
from rogo_async.commands.collect.shards import RunParts, find_parts
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import FAILURES
from rogo_async.common.errors import RunStopped, SetupError
from rogo_async.common.files import write_private_parts
from rogo_async.common.logging import error_facts
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode, StopReason, most_serious
from rogo_async.common.text import plural
from rogo_async.pipeline.known_failures import KnownFailures
from rogo_async.pipeline.migrated_csv import rebuild_migrated_csv
from rogo_async.pipeline.run import read_accepted
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.failed_rows import read_failed_rows
from rogo_async.reporting.failures_csv import write_failures
from rogo_async.reporting.html.timeline import timeline_file
from rogo_async.reporting.merged_summary import merged
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.summary import RunSummary
from rogo_async.sources.accepted_failures import AcceptedFailures

log = structlog.get_logger()


class Collect(Command):
    """One collection; ``execute`` is called once. Its exit code is that of the run.

    With ``lock_name`` it locks the data directory; without, the caller holds that lock.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        directories: Sequence[Path],
        terminal: Console | None,
        lock_name: str | None,
    ) -> None:
        super().__init__(settings, lock_name)
        self._run_id = run_id
        self._directories = directories
        self._stages = Stages(terminal, settings.rogo_progress_interval)
        self.summary: RunSummary | None = None
        """The summary of the run, when it is written."""
        self._failed_file = self.data.failed_rows

    async def work(self, stack: AsyncExitStack) -> None:
        """Check the shards, merge their files, and rebuild migrated.csv."""
        locks = stack.enter_context(ExitStack())
        parts = await asyncio.to_thread(
            find_parts, self._run_id, self.data.path, self._directories, locks
        )
        accepted = await read_accepted(self.data.path)
        self.stop_signal.raise_if_stopping()
        failed_rows = await asyncio.to_thread(failed_rows_in_order, parts.results, locks)
        self.summary = await asyncio.to_thread(self._merge, parts, failed_rows, accepted)
        log.info(
            "shards collected",
            run_id=self._run_id,
            shards=len(parts.results),
            rows_total=self.summary.rows_total,
        )
        await asyncio.to_thread(self._delete_old_runs, self.summary)
        await self._rebuild_migrated(stack)
        if self.settings.rogo_report:
            await asyncio.to_thread(self._write_report)

    def result(self) -> CommandResult:
        """The line and the exit code of the run, unless the collection itself ended early."""
        if self.summary is None:
            return self.result_of(0, f"run {self._run_id}: nothing was collected")
        reasons = self.stop_signal.reasons.values()
        code = most_serious([ExitCode(self.summary.exit_code), self.stop_signal.exit_code(0)])
        shards = plural(len(self.summary.shards), "shard")
        counts = self.summary.model_copy(update={"exit_code": int(code)}).line(self._failed_file)
        notes = ["collect again", *(f"stopped: {each}" for each in reasons)] if reasons else []
        return CommandResult(code, "; ".join([f"run {self._run_id}, {shards}: {counts}", *notes]))

    def _merge(
        self, parts: RunParts, failed_rows: Iterable[bytes], accepted: AcceptedFailures
    ) -> RunSummary:
        """Write all files but migrated.csv. Raises OSError."""
        data, run_id = self.data, self._run_id
        summaries = [each.summary for each in parts.results]
        data.make_runs()
        # What a run in one process would have known at its start.
        known = KnownFailures.read(data.failed_rows_files(before=run_id))
        latest = data.latest_full_run() or ""
        is_latest = summaries[0].selection is None and latest <= run_id
        if not is_latest:
            self._failed_file = data.runs / f"{run_id}.failed.csv"
        elif latest != run_id:
            data.begin_full_run(run_id)
        write_private_parts(self._failed_file, failed_rows)
        merge_journals(data.runs, run_id, parts.journals)
        merge_timelines(timeline_file(data.runs, run_id), parts.results)
        new, accepted_rows = _count_failures(self._failed_file, known, accepted)
        if is_latest:
            self._write_failures(known, accepted)
        summary = merged(summaries, new, accepted_rows)
        data.write_summary(run_id, summary.to_json(), is_full=is_latest)
        return summary

    def _delete_old_runs(self, summary: RunSummary) -> None:
        """Delete the files of old runs, but none that this run needs. Raises OSError.

        The failed rows of the run before are needed to collect again: a run in one process keeps
        them, too.
        """
        data, keep, run_id = self.data, self.settings.rogo_keep_runs, self._run_id
        name = (summary.selection or {}).get("input")
        in_use = None if name is None else Path(name)
        data.delete_old_runs(keep, run_id, in_use, *data.failed_rows_files(before=run_id)[:1])
        data.delete_old_shards(keep, run_id, in_use)

    def _write_failures(self, known: KnownFailures, accepted: AcceptedFailures) -> None:
        try:
            write_failures(
                self._failed_file,
                self.data.path / FAILURES,
                lambda row: known.is_new(row.attempt, row.cells, row.code),
                lambda row: accepted.has(row.attempt, row.code),
            )
        except (OSError, ValueError, csv.Error) as error:
            log.warning("a file cannot be written", file=FAILURES, **error_facts(error))

    async def _rebuild_migrated(self, stack: AsyncExitStack) -> None:
        try:
            factory = ServiceFactory(
                self.settings, self.stop_signal, CallStats(), stack, name="rogo_async collect"
            )
            connections = await factory.connections()
            await rebuild_migrated_csv(factory, connections, self.data, self._stages)
        except SetupError as error:  # the other files are written already
            text = f"migrated.csv could not be rebuilt: {error}"
            self.stop_signal.stop(StopReason.OUTAGE, text)
        except RunStopped:
            log.warning("stopped before migrated.csv was rebuilt")

    def _write_report(self) -> None:
        try:
            from rogo_async.reporting.html.stored import write_report  # noqa: PLC0415 - charts load slowly

            log.info("report written", file=str(write_report(self.data.runs, self._run_id)))
        except Exception as error:  # noqa: BLE001 - a report that fails must not change the result
            log.warning("the report cannot be written", **error_facts(error))


def _count_failures(
    path: Path, known: KnownFailures, accepted: AcceptedFailures
) -> tuple[int, int]:
    """The new and the accepted ones among the failed rows. Raises OSError."""
    new = accepted_rows = 0
    for row in read_failed_rows(path):
        if accepted.has(row.attempt, row.code):
            accepted_rows += 1
        else:
            new += known.is_new(row.attempt, row.cells, row.code)
    return new, accepted_rows
