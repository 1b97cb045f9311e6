"""One rollback: find the submissions, ask, delete the rows, delete the blobs.

Rows are deleted first, one transaction per submission, and a blob only when no row refers to it. A
rollback that is interrupted leaves at most orphans; when it is repeated it deletes them. It holds
both locks and waits until no session of a run is connected.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

import structlog
from rich.console import Console

from rogo_async.commands.orphans import Orphan, OrphanFinder
from rogo_async.commands.rollback.counts import RollbackCounts
from rogo_async.commands.rollback.refreshes import RefreshRollback
from rogo_async.commands.rollback.selection import Selection
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import (
    DataDirFull,
    Dependency,
    DependencyError,
    RunStopped,
    SetupError,
)
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopReason
from rogo_async.common.text import plural
from rogo_async.destination.blobs.credentials import Destination
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.destination.postgres.malpractice_rules import RuleRestorer
from rogo_async.destination.postgres.reference_data import read_reference_data
from rogo_async.destination.postgres.refresh_rollback import Refreshes, RefreshReverter
from rogo_async.destination.postgres.rollback import (
    MigratedSubmission,
    RemovalResult,
    SubmissionRemover,
)
from rogo_async.destination.postgres.rule_restoration import RemovalSkipped
from rogo_async.pipeline.migrated_csv import rebuild_migrated_csv
from rogo_async.pipeline.services import LockedTarget, ServiceFactory
from rogo_async.reporting.progress import Stage, Stages
from rogo_async.rules.identity import launch_id

_COLUMNS: Final = ("Attempt ID", "Launch ID", "Submission ID", "Outcome", "Reason", "Blob Name")
_BATCH: Final = 200
log = structlog.get_logger()


class Rollback(Command):
    """One rollback. ``say`` prints a line, ``ask`` asks the operator to confirm."""

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        terminal: Console | None,
        say: Callable[[str], object],
        ask: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._id = new_run_id()
        super().__init__(settings, lock_name=f"rollback {self._id}")
        self._stages = Stages(terminal, settings.rogo_progress_interval)
        self._selection = selection
        self._say = say
        self._ask = ask
        self._counts = RollbackCounts()
        self._kept_attempts: set[int] = set()
        """Attempts that keep some rows, and so their blobs."""
        self._lines: list[tuple[object, ...]] = []
        self._started_at = datetime.min.replace(tzinfo=UTC)
        """By the clock of the blob store."""

    async def work(self, stack: AsyncExitStack) -> None:
        """Find, ask, delete, and rebuild migrated.csv."""
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async rollback"
        )
        lock = await factory.lock()
        connections = await factory.connections()
        breaker = factory.breaker(Dependency.TARGET, connections.probe)
        own = Journal(journal_path(self.data.runs, self._id))
        not_collected = [each.runs for each in self.data.shards("*")]
        journals = await asyncio.to_thread(Journals.read, self.data.runs, own, *not_collected)
        target = LockedTarget(lock, connections, breaker)
        remover = await self._remover(factory, target, journals)
        finder = await OrphanFinder.open(factory, lock, connections, self.stop_signal)
        await finder.wait_for_runs("roll back")
        self._started_at = await finder.inventory.now()
        submissions = await factory.with_retry(lambda: self._find_submissions(remover))
        self._counts.total = len(submissions)
        refreshes = await asyncio.to_thread(self._selection.refreshes, self.data)
        blobs = 0 if submissions else await self._count_blobs(finder)
        if submissions or blobs or len(refreshes):
            question = await self._question(remover, submissions, blobs, len(refreshes))
            if not await self._is_confirmed(question):
                self._counts.declined = True
                return
            report = await self._open_report(submissions, refreshes, stack)
            reverts = RefreshRollback(
                refreshes,
                self._counts.reverts,
                RefreshReverter(connections, breaker, journals, lock),
                self._stages,
                self.stop_signal,
                self._say,
            )
            await reverts.revert(report)
            await self._delete_submissions(submissions, remover, report)
            await reverts.revert_again(report)
            await self._delete_blobs(finder, report)
        elif not self._selection.is_known(self.data):
            raise SetupError(
                f"--run: unknown {self._selection.text()}: no row in the target, no blob in the "
                f"container and no file in {self.data.runs}"
            )
        await self._rebuild_migrated(factory, connections)

    def result(self) -> CommandResult:
        """Report what was deleted; what was kept counts as failed."""
        counts, stopped = self._counts, bool(self.stop_signal.reasons)
        text = counts.text(self._selection.text(), stopped=stopped)
        notes = counts.notes(stopped=stopped)
        if counts.has_lines:
            notes.append(f"see {self.data.runs / self._id}.rollback.csv")
        return self.result_of(counts.failed, text, *notes)

    async def _remover(
        self, factory: ServiceFactory, target: LockedTarget, journals: Journals
    ) -> SubmissionRemover:
        user_id, connections = self.settings.rogo_migration_user_id, target.connections
        reference = await factory.with_retry(lambda: read_reference_data(connections, user_id))
        restorer = RuleRestorer(journals, self.settings.rogo_instance_id, reference.applied_by)
        remover = SubmissionRemover(connections, target.breaker, restorer, target.lock)
        await remover.prepare()
        return remover

    async def _find_submissions(self, remover: SubmissionRemover) -> list[MigratedSubmission]:
        """The selected submissions, and the selected records of attempts without a submission."""
        found = []
        async with self._stages.stage("finding the submissions", "submissions") as stage:
            async for each in remover.migrated_submissions():
                stage.add(1)
                if self._selection.includes(each):
                    found.append(each)
        complete = {s.attempt for s in found if s.submission_id is not None}
        return [s for s in found if s.submission_id is not None or s.attempt not in complete]

    async def _count_blobs(self, finder: OrphanFinder) -> int:
        count = 0
        async with self._stages.stage("finding blobs", "blobs") as stage:
            async for page in finder.pages(self._selection.prefixes()):
                stage.add(page.blobs)
                count += len(self._selected(page.orphans))
        return count

    async def _question(
        self,
        remover: SubmissionRemover,
        submissions: Sequence[MigratedSubmission],
        blobs: int,
        refreshed: int,
    ) -> str:
        place, selected = self._place(), self._selection.text()
        if refreshed:
            place += f"\nPut the former values of {plural(refreshed, 'submission')} back"
            if not submissions and not blobs:
                return f"{place}?"
            place += "."
        if not submissions:
            return f"{place}\nDelete {plural(blobs, 'orphaned blob')} of {selected}?"
        ids = [s.submission_id for s in submissions if s.submission_id is not None]
        files, rules = await remover.count_files_and_rules(ids)
        self._counts.files = files
        return (
            f"{place}\nDelete {plural(len(submissions), 'submission')}, {plural(files, 'file')} "
            f"and {plural(rules, 'malpractice rule')} of {selected}?"
        )

    def _place(self) -> str:
        """Where rows and blobs are deleted, without credentials."""
        names = self.settings.target_names
        return (
            f"database {names['database']} on {names['host']}, "
            f"container {names['container']} of "
            f"{Destination.of(self.settings).service_url}"
        )

    async def _is_confirmed(self, question: str) -> bool:
        """Ask. Raises RunStopped on a signal, without waiting for the answer."""
        asking = asyncio.ensure_future(self._ask(question))
        stopped = asyncio.create_task(self.stop_signal.wait(), name="asking-stopped")
        try:
            await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self.stop_signal.raise_if_stopping()
            return await asking
        finally:
            asking.cancel()
            stopped.cancel()

    async def _open_report(
        self,
        submissions: Sequence[MigratedSubmission],
        refreshes: Refreshes,
        stack: AsyncExitStack,
    ) -> AppendFile:
        selection = self._selection.text()
        log.info(
            "rollback begins",
            submissions=len(submissions),
            refreshed=len(refreshes),
            selection=selection,
            target=self._place(),
        )
        self.data.make_runs()
        report = AppendFile(self.data.runs / f"{self._id}.rollback.csv")
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        return report

    async def _delete_submissions(
        self,
        submissions: Sequence[MigratedSubmission],
        remover: SubmissionRemover,
        report: AppendFile,
    ) -> None:
        async with self._stages.stage(
            "deleting rows",
            "submissions",
            len(submissions),
            count=lambda: self._counts.removed + self._counts.kept,
            facts=lambda: {"left": self._counts.kept},
        ):
            for start in range(0, len(submissions), _BATCH):
                waiting = iter(submissions[start : start + _BATCH])
                try:
                    async with asyncio.TaskGroup() as group:
                        for number in range(self.settings.pg_pool_size):
                            name = f"remover-{number}"
                            group.create_task(self._consume(waiting, remover), name=name)
                finally:
                    lines, self._lines = self._lines, []
                    await report.append(lines)
                self.stop_signal.raise_if_stopping()

    async def _consume(
        self, waiting: Iterator[MigratedSubmission], remover: SubmissionRemover
    ) -> None:
        for submission in waiting:
            if self.stop_signal.stopping:
                return
            try:
                await self._remove(submission, remover)
            except RunStopped:
                return
            except DataDirFull as full:
                self.stop_signal.stop(StopReason.DISK, str(full))
                return

    async def _remove(self, submission: MigratedSubmission, remover: SubmissionRemover) -> None:
        attempt = submission.attempt
        if submission.launch_id != launch_id(attempt, self.settings.rogo_instance_id):
            self._keep(submission, "assignment_submissions: the launch id is of another tool")
            return
        try:
            removal = await remover.remove(submission)
        except RemovalSkipped as reason:
            self._keep(submission, str(reason))
        except DependencyError as error:
            self.stop_signal.unresolved += 1
            self._kept_attempts.add(attempt)
            log.error("outcome unknown", attempt=attempt, reason=str(error))
            self._note(submission, "unknown", str(error))
        else:
            self._counts.removed += 1
            self._note(submission, "rolled_back" if removal is RemovalResult.REMOVED else "gone")

    def _keep(self, submission: MigratedSubmission, reason: str) -> None:
        self._counts.kept += 1
        self._kept_attempts.add(submission.attempt)
        self._say(f"attempt {submission.attempt}  kept: {reason}")
        self._note(submission, "left_alone", reason)

    def _note(self, submission: MigratedSubmission, outcome: str, reason: str = "") -> None:
        ids = submission.attempt, submission.launch_id, submission.submission_id or ""
        self._lines.append((*ids, outcome, reason, ""))

    async def _delete_blobs(self, finder: OrphanFinder, report: AppendFile) -> None:
        async with self._stages.stage("deleting blobs", "blobs", self._counts.files) as stage:
            await self._delete_pages(finder, report, stage)
        self.stop_signal.raise_if_stopping()

    async def _delete_pages(self, finder: OrphanFinder, report: AppendFile, stage: Stage) -> None:
        async for page in finder.pages(self._selection.prefixes()):
            if selected := self._selected(page.orphans):
                await report.append(
                    (each.owner.attempt, "", each.owner.submission_id, "blob", "", each.blob.name)
                    for each in selected
                )
                deleted, kept = await finder.delete(selected, stage.add)
                self._counts.blobs_deleted += deleted
                self._counts.blobs_kept += kept

    def _selected(self, orphans: Sequence[Orphan]) -> list[Orphan]:
        return [
            each
            for each in orphans
            if self._selection.includes_blob(each)
            and each.owner.attempt not in self._kept_attempts
            # A newer blob belongs to a run that began after this rollback lost its lock.
            and each.blob.modified <= self._started_at
        ]

    async def _rebuild_migrated(self, factory: ServiceFactory, connections: Connections) -> None:
        try:
            await rebuild_migrated_csv(factory, connections, self.data, self._stages)
        except SetupError as error:  # rows are deleted already: not an error of the set-up
            text = f"migrated.csv could not be rebuilt: {error}"
            self.stop_signal.stop(StopReason.OUTAGE, text)
