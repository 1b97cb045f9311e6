"""One rollback: find the submissions, ask, delete the rows, delete the blobs.

Rows are deleted first, one transaction per submission, and a blob only when no row refers to it. A
rollback that is interrupted leaves at most orphans; when it is repeated it deletes them. It holds
both locks and waits until no session of a run is connected.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from rogo_async.commands.orphans import Orphan, OrphanFinder
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
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.journal import Journal, Journals, journal_path
from rogo_async.destination.postgres.malpractice_rules import RuleRestorer
from rogo_async.destination.postgres.migrated_attempts import export_migrated
from rogo_async.destination.postgres.reference_data import read_reference_data
from rogo_async.destination.postgres.rollback import (
    MigratedSubmission,
    RemovalResult,
    SubmissionRemover,
)
from rogo_async.destination.postgres.rule_restoration import RemovalSkipped
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.progress import log_lines, shown
from rogo_async.rules.identity import launch_id

_COLUMNS: Final = ("Attempt ID", "Launch ID", "Submission ID", "Outcome", "Reason", "Blob Name")
_BATCH: Final = 200
log = structlog.get_logger()


@dataclass(slots=True)
class RollbackCounts:
    """The counts of a rollback so far."""

    total: int = 0
    removed: int = 0
    kept: int = 0
    files: int = 0
    """Files of the selected submissions."""
    blobs_deleted: int = 0
    blobs_kept: int = 0
    """Blobs that were written again during the rollback, or that the store protects."""
    declined: bool = False


class Rollback(Command):
    """One rollback. ``say`` prints a line, ``ask`` asks the operator to confirm."""

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        say: Callable[[str], object],
        ask: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._id = new_run_id()
        super().__init__(settings, lock_name=f"rollback {self._id}")
        self._selection = selection
        self._say = say
        self._ask = ask
        self._counts = RollbackCounts()
        self._kept_attempts: set[int] = set()
        """Attempts that keep some rows, and so their blobs."""
        self._lines: list[tuple[object, ...]] = []
        self._started_at: datetime | None = None
        """By the clock of the blob store."""

    async def work(self, stack: AsyncExitStack) -> None:
        """Find, ask, delete, and rebuild migrated.csv."""
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async rollback"
        )
        await factory.lock()
        connections = await factory.connections()
        remover = await self._remover(factory, connections)
        finder = await OrphanFinder.open(factory, connections, self.stop_signal)
        await finder.wait_for_runs("roll back")
        self._started_at = await finder.inventory.now()
        submissions = await factory.with_retry(lambda: self._find_submissions(remover))
        self._counts.total = len(submissions)
        blobs = 0 if submissions else await self._count_blobs(finder)
        if submissions or blobs:
            question = await self._question(remover, submissions, blobs)
            if not await self._is_confirmed(question):
                self._counts.declined = True
                return
            await self._delete(submissions, remover, finder, stack)
        elif not self._selection.is_known(self.data):
            raise SetupError(
                f"--run: unknown {self._selection.text()}: no row in the target, no blob in the "
                f"container and no file in {self.data.runs}"
            )
        await self._rebuild_migrated(factory, connections)

    def result(self) -> CommandResult:
        """Report what was deleted; what was kept counts as failed."""
        counts, stopped = self._counts, bool(self.stop_signal.reasons)
        if counts.declined:
            text = "cancelled; nothing was deleted"
        elif not counts.total and not counts.blobs_deleted and not stopped:
            text = f"{self._selection.text()}: nothing to roll back"
        else:
            text = (
                f"{counts.removed:,} of {counts.total:,} submissions rolled back, "
                f"{counts.blobs_deleted:,} blobs deleted, {counts.kept:,} submissions kept"
            )
        notes = []
        if counts.blobs_kept:
            notes.append(f"{counts.blobs_kept:,} blobs kept: written again meanwhile, or protected")
        missing = counts.files - counts.blobs_deleted - counts.blobs_kept
        if missing > 0 and counts.removed == counts.total and not stopped:
            notes.append(f"{missing:,} files had no blob in the container")
        if counts.removed or counts.kept or counts.blobs_deleted:
            notes.append(f"see {self.data.runs / self._id}.rollback.csv")
        failed = counts.kept + counts.blobs_kept + counts.declined
        return self.result_of(failed, text, *notes)

    async def _remover(
        self, factory: ServiceFactory, connections: Connections
    ) -> SubmissionRemover:
        user_id = self.settings.rogo_migration_user_id
        reference = await factory.with_retry(lambda: read_reference_data(connections, user_id))
        own = Journal(journal_path(self.data.runs, self._id))
        journals = await asyncio.to_thread(Journals.read, self.data.runs, own)
        restorer = RuleRestorer(journals, self.settings.rogo_instance_id, reference.applied_by)
        breaker = factory.breaker(Dependency.TARGET, connections.probe)
        remover = SubmissionRemover(connections, breaker, restorer)
        await remover.prepare()
        return remover

    async def _find_submissions(self, remover: SubmissionRemover) -> list[MigratedSubmission]:
        """The selected submissions, and the selected records of attempts without a submission."""
        found = [s async for s in remover.migrated_submissions() if self._selection.includes(s)]
        complete = {s.attempt for s in found if s.submission_id is not None}
        return [s for s in found if s.submission_id is not None or s.attempt not in complete]

    async def _count_blobs(self, finder: OrphanFinder) -> int:
        count = 0
        async for page in finder.pages(self._selection.prefixes()):
            count += len(self._selected(page.orphans))
        return count

    async def _question(
        self, remover: SubmissionRemover, submissions: Sequence[MigratedSubmission], blobs: int
    ) -> str:
        if not submissions:
            return f"Delete {blobs:,} orphaned blobs of {self._selection.text()}?"
        ids = [s.submission_id for s in submissions if s.submission_id is not None]
        files, rules = await remover.count_files_and_rules(ids)
        self._counts.files = files
        return (
            f"Delete {len(submissions):,} submissions, {files:,} files and {rules:,} malpractice "
            f"rules of {self._selection.text()}?"
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

    async def _delete(
        self,
        submissions: Sequence[MigratedSubmission],
        remover: SubmissionRemover,
        finder: OrphanFinder,
        stack: AsyncExitStack,
    ) -> None:
        selection = self._selection.text()
        log.info("rollback begins", submissions=len(submissions), selection=selection)
        self.data.make_runs()
        report = AppendFile(self.data.runs / f"{self._id}.rollback.csv")
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        await self._delete_submissions(submissions, remover, report)
        await self._delete_blobs(finder, report)

    async def _delete_submissions(
        self,
        submissions: Sequence[MigratedSubmission],
        remover: SubmissionRemover,
        report: AppendFile,
    ) -> None:
        async with shown(log_lines(self._progress, self.settings.rogo_progress_interval)):
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
        async for page in finder.pages(self._selection.prefixes()):
            if selected := self._selected(page.orphans):
                await report.append(
                    (each.owner.attempt, "", each.owner.submission_id, "blob", "", each.blob.name)
                    for each in selected
                )
                deleted, kept = await finder.delete(selected)
                self._counts.blobs_deleted += deleted
                self._counts.blobs_kept += kept
        self.stop_signal.raise_if_stopping()

    def _selected(self, orphans: Sequence[Orphan]) -> list[Orphan]:
        started_at = self._started_at
        return [
            each
            for each in orphans
            if self._selection.includes_blob(each)
            and each.owner.attempt not in self._kept_attempts
            # A newer blob belongs to a run that began after this rollback lost its lock.
            and (started_at is None or each.blob.modified <= started_at)
        ]

    async def _rebuild_migrated(self, factory: ServiceFactory, connections: Connections) -> None:
        try:
            await factory.with_retry(
                lambda: self.data.rebuild_migrated(lambda sink: export_migrated(connections, sink))
            )
        except SetupError as error:  # rows are deleted already: not an error of the set-up
            text = f"migrated.csv could not be rebuilt: {error}"
            self.stop_signal.stop(StopReason.OUTAGE, text)

    def _progress(self) -> dict[str, object]:
        counts = self._counts
        done = counts.removed + counts.kept
        return {"done": done, "total": counts.total, "left": counts.kept}
