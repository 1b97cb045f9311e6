"""The life of a rollback: open, look, ask, take the rows out, then the blobs.

Rows go first, a submission in one transaction, and blobs when no row refers to them any more: one
that is interrupted leaves orphans at worst, and the next one of the same run or attempts finds
and deletes them. Both locks are held, and no session of a run may be connected.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from rogo_async.commands.orphans import Orphan, Orphans, wait_for_runs
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
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.postgres.blob_references import BlobReferences
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
_AT_ONCE: Final = 200
log = structlog.get_logger()


@dataclass(slots=True)
class Figures:
    """What a rollback has counted so far."""

    total: int = 0
    out: int = 0
    files: int = 0
    """Files that the submissions had, all of them together."""
    left: int = 0
    blobs: int = 0
    blobs_left: int = 0
    """Blobs that were written anew while it worked."""
    declined: bool = False
    spared: set[int] = field(default_factory=set)
    """Attempts of which something stands that must keep its blobs."""

    @property
    def done(self) -> int:
        """Submissions that were come to."""
        return self.out + self.left


class Rollback(Command):
    """One rollback. ``say`` prints a line, ``ask`` asks for a yes."""

    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        say: Callable[[str], object],
        ask: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._id = new_run_id()
        super().__init__(settings, lock_name=f"rollback {self._id}")
        self.selection = selection
        self.say = say
        self.ask = ask
        self._figures = Figures()
        self._lines: list[tuple[object, ...]] = []
        self._began: datetime | None = None
        """By the store's clock."""

    async def work(self, stack: AsyncExitStack) -> None:
        """Look, ask, delete rows and blobs, and rebuild migrated.csv."""
        data = self.data
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async rollback"
        )
        await factory.lock()
        connections = await factory.connections()
        references = BlobReferences(
            connections, factory.breaker(Dependency.TARGET, connections.probe)
        )
        removal = await self._removal(factory, connections)
        account = await factory.account()
        inventory = Inventory(
            account, await factory.http(), factory.breaker(Dependency.STORE, account.check)
        )
        orphans = Orphans(self.settings, account, inventory, references, self.stop_signal)
        await wait_for_runs(references, self.stop_signal, "roll back")
        self._began = await inventory.now()
        traces = await factory.with_retry(lambda: self._look(removal))
        self._figures.total = len(traces)
        blobs = 0 if traces else await self._count_blobs(orphans)
        if not traces and not blobs and not self.selection.is_known(data):
            raise SetupError(
                f"--run: nothing of {self.selection.text()} stands in the target or the container, "
                f"and {data.runs} has no file of it"
            )
        if traces or blobs:
            if not await self._agreed(await self._question(removal, traces, blobs)):
                self._figures.declined = True
                return
            log.info("rollback begins", submissions=len(traces), selection=self.selection.text())
            data.make_runs()
            report = AppendFile(data.runs / f"{self._id}.rollback.csv")
            await report.open(_COLUMNS)
            stack.push_async_callback(report.close)
            await self._take_all_out(traces, removal, report)
            await self._delete_blobs(orphans, report)
        try:
            await factory.with_retry(
                lambda: data.rebuild_migrated(lambda sink: export_migrated(connections, sink))
            )
        except SetupError as error:  # too late for that: rows are gone
            text = f"migrated.csv could not be made anew: {error}"
            self.stop_signal.stop(StopReason.OUTAGE, text)

    async def _removal(
        self, factory: ServiceFactory, connections: Connections
    ) -> SubmissionRemover:
        user = self.settings.rogo_migration_user_id
        reference = await factory.with_retry(lambda: read_reference_data(connections, user))
        own = Journal(journal_path(self.data.runs, self._id))
        journals = await asyncio.to_thread(Journals.read, self.data.runs, own)
        instance = self.settings.rogo_instance_id
        enforcements = RuleRestorer(journals, instance, reference.applied_by)
        removal = SubmissionRemover(
            connections, factory.breaker(Dependency.TARGET, connections.probe), enforcements
        )
        await removal.prepare()
        return removal

    async def _look(self, removal: SubmissionRemover) -> list[MigratedSubmission]:
        found = [
            trace async for trace in removal.migrated_submissions() if self.selection.wants(trace)
        ]
        whole = {trace.attempt for trace in found if trace.submission_id is not None}
        return [t for t in found if t.submission_id is not None or t.attempt not in whole]

    async def _count_blobs(self, orphans: Orphans) -> int:
        count = 0
        async for page in orphans.pages(self.selection.prefixes()):
            count += len(self._meant(page.orphans))
        return count

    async def _question(
        self, removal: SubmissionRemover, traces: Sequence[MigratedSubmission], blobs: int
    ) -> str:
        what = f"{blobs:,} blobs that no row refers to"
        if traces:
            ids = [trace.submission_id for trace in traces if trace.submission_id is not None]
            files, rules = await removal.count_files_and_rules(ids)
            self._figures.files = files
            what = (
                f"{len(traces):,} submissions with {files:,} files and {rules:,} malpractice rules"
            )
        return f"Delete {what}, all of {self.selection.text()}?"

    async def _agreed(self, question: str) -> bool:
        asking = asyncio.ensure_future(self.ask(question))
        stopped = asyncio.create_task(self.stop_signal.wait(), name="asking-stopped")
        try:
            await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self.stop_signal.raise_if_stopping()
            return await asking
        finally:
            asking.cancel()
            stopped.cancel()

    async def _take_all_out(
        self, traces: Sequence[MigratedSubmission], removal: SubmissionRemover, report: AppendFile
    ) -> None:
        async with shown(log_lines(self._progress, self.settings.rogo_progress_interval)):
            for start in range(0, len(traces), _AT_ONCE):
                waiting = iter(traces[start : start + _AT_ONCE])
                try:
                    async with asyncio.TaskGroup() as group:
                        for number in range(self.settings.pg_pool_size):
                            name = f"taking-{number}"
                            group.create_task(self._consume(waiting, removal), name=name)
                finally:
                    lines, self._lines = self._lines, []
                    await report.append(lines)
                self.stop_signal.raise_if_stopping()

    async def _consume(
        self, waiting: Iterator[MigratedSubmission], removal: SubmissionRemover
    ) -> None:
        for trace in waiting:
            if self.stop_signal.stopping:
                return
            try:
                await self._take_out(trace, removal)
            except RunStopped:
                return
            except DataDirFull as full:
                self.stop_signal.stop(StopReason.DISK, str(full))
                return

    async def _take_out(self, trace: MigratedSubmission, removal: SubmissionRemover) -> None:
        if trace.launch_id != launch_id(trace.attempt, self.settings.rogo_instance_id):
            self._leave(trace, "assignment_submissions: its launch id is not of this tool")
            return
        try:
            taken = await removal.remove(trace)
        except RemovalSkipped as reason:
            self._leave(trace, str(reason))
        except DependencyError as fault:
            self.stop_signal.unresolved += 1
            self._figures.spared.add(trace.attempt)
            log.error("outcome unknown", attempt=trace.attempt, reason=str(fault))
            self._note(trace, "unknown", str(fault))
        else:
            self._figures.out += 1
            self._note(trace, "rolled_back" if taken is RemovalResult.REMOVED else "gone")

    def _leave(self, trace: MigratedSubmission, reason: str) -> None:
        self._figures.left += 1
        self._figures.spared.add(trace.attempt)
        self.say(f"attempt {trace.attempt}  left alone: {reason}")
        self._note(trace, "left_alone", reason)

    def _note(self, trace: MigratedSubmission, outcome: str, reason: str = "") -> None:
        names = trace.attempt, trace.launch_id, trace.submission_id or ""
        self._lines.append((*names, outcome, reason, ""))

    async def _delete_blobs(self, orphans: Orphans, report: AppendFile) -> None:
        async for page in orphans.pages(self.selection.prefixes()):
            meant = self._meant(page.orphans)
            if meant:
                await report.append(
                    (each.owner.attempt, "", each.owner.submission_id, "blob", "", each.blob.name)
                    for each in meant
                )
                deleted, changed = await orphans.delete(meant)
                self._figures.blobs += deleted
                self._figures.blobs_left += changed
        self.stop_signal.raise_if_stopping()

    def _meant(self, found: Sequence[Orphan]) -> list[Orphan]:
        spared, began = self._figures.spared, self._began
        return [
            each
            for each in found
            if self.selection.wants_blob(each)
            and each.owner.attempt not in spared
            # What is younger is a run's that began when this lost its lock.
            and (began is None or each.blob.modified <= began)
        ]

    def _progress(self) -> dict[str, object]:
        figures = self._figures
        return {"done": figures.done, "total": figures.total, "left": figures.left}

    def result(self) -> CommandResult:
        """Count what was deleted and what was left alone."""
        figures, stopped = self._figures, bool(self.stop_signal.reasons)
        if figures.declined:
            counts = "nothing was rolled back, it was not agreed to"
        elif not figures.total and not figures.blobs and not stopped:
            counts = f"there is nothing of {self.selection.text()} to roll back"
        else:
            counts = (
                f"{figures.out:,} of {figures.total:,} submissions rolled back, "
                f"{figures.blobs:,} blobs deleted, {figures.left:,} submissions left alone"
            )
        notes = []
        if figures.blobs_left:
            notes.append(f"{figures.blobs_left:,} blobs have changed meanwhile and were left alone")
        missing = figures.files - figures.blobs - figures.blobs_left
        if missing > 0 and figures.out == figures.total and not stopped:
            notes.append(f"{missing:,} files have no blob of this tool and target in the container")
        if figures.done or figures.blobs:
            notes.append(f"see {self.data.runs / self._id}.rollback.csv")
        failed = figures.left + figures.blobs_left + figures.declined
        return self.result_of(failed, counts, *notes)
