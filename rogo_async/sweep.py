"""``sweep``: blobs of this tool and this target that nothing refers to (SPEC §5, §6.4, §6.7).

A crash between storing a file and inserting its row leaves one behind. It is told by its name
and its metadata; what another tool or another target has stored is never touched. Both locks are
held, and nothing is deleted while a session of a run is connected: a run that lost its lock while
it was stalled may still be about to write.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from rogo_async.blobs import MIGRATED_FROM, Inventory, Listed
from rogo_async.control import Control
from rogo_async.datadir import DataDir, new_run_id
from rogo_async.errors import Dependency, LockHeld, RunStopped
from rogo_async.guard import Ending, guarded
from rogo_async.interrupt import drained_by_signals
from rogo_async.ledger import AppendFile
from rogo_async.measure import Measurements
from rogo_async.opening import Opening, target_digest
from rogo_async.rules.files import FOLDERS, BlobOwner, owner_of_blob, size_text
from rogo_async.settings import Settings
from rogo_async.target import References

SESSIONS_S: Final = 45.0
"""How long to wait for the sessions of a run to end: longer than a run takes to give up."""

_POLL_S: Final = 1.0
_DELETING: Final = 16
_COLUMNS: Final = ("Attempt ID", "Submission ID", "Run ID", "Blob Name", "Bytes", "Last Modified")
log = structlog.get_logger()


@dataclass(slots=True)
class Found:
    """What a sweep has counted so far."""

    blobs: int = 0
    others: int = 0
    """Blobs under the prefixes that are not of this tool and this target."""
    young: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    deleted: int = 0
    changed: int = 0
    """Orphans that were written anew after they were listed: left alone."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A blob that no row refers to."""

    blob: Listed
    owner: BlobOwner

    def text(self) -> str:
        """A line for the terminal, without the file's name: that may be a person's."""
        return (
            f"attempt {self.owner.attempt}  submission {self.owner.submission_id}  "
            f"file {self.owner.order}  {size_text(self.blob.size_bytes)}  "
            f"{self.blob.modified:%Y-%m-%d %H:%M}  run {self.blob.metadata.get('runid', '?')}"
        )


@dataclass(slots=True)
class Sweep:
    """One sweep; ``execute`` is called once. ``say`` prints a line."""

    settings: Settings
    say: Callable[[str], object]
    delete: bool
    min_age: timedelta
    _control: Control = field(default_factory=Control)
    _found: Found = field(default_factory=Found)

    async def execute(self) -> Ending:
        """Sweep. Raises SetupError and LockHeld, after which nothing has been deleted."""
        data = DataDir(self.settings.rogo_data_dir)
        async with AsyncExitStack() as stack:
            stack.enter_context(drained_by_signals(self._control))
            data.lock("sweep")
            stack.callback(data.unlock)
            limit_s = self.settings.rogo_outage_limit
            await guarded(lambda: self._work(data, stack), self._control, limit_s, data.path)
        return self._ending()

    async def _work(self, data: DataDir, stack: AsyncExitStack) -> None:
        opening = Opening(
            self.settings, self._control, Measurements(), stack, name="rogo_async sweep"
        )
        await opening.lock()
        connections = await opening.connections()
        references = References(connections, opening.gate(Dependency.TARGET))
        account = await opening.account()
        inventory = Inventory(account, await opening.http(), opening.gate(Dependency.STORE))
        if self.delete:
            await self._wait_for_runs(references)
        oldest = await inventory.now() - self.min_age
        data.make_runs()
        report = AppendFile(data.runs / f"{new_run_id()}.orphans.csv")
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        for folder in FOLDERS.values():
            async for page in inventory.pages(f"{folder}/rogo_"):
                self._control.check()
                ours = list(self._ours(page))
                kept = await references.of(
                    [each.blob.name for each in ours],
                    [f"{account.container_url}/{each.blob.name}" for each in ours],
                )
                orphans = [each for each in ours if each.blob.name not in kept]
                await self._take(self._old_enough(orphans, oldest), inventory, report)

    async def _wait_for_runs(self, references: References) -> None:
        until = asyncio.get_running_loop().time() + SESSIONS_S
        while since := await references.run_since():
            if asyncio.get_running_loop().time() > until:
                raise LockHeld(
                    "a run without the lock is still connected to the target, since "
                    f"{since:%Y-%m-%d %H:%M:%S} UTC, and may be about to write. End it, or its "
                    "sessions (pg_terminate_backend), and sweep again"
                )
            log.info("waiting for the sessions of a run to end")
            await self._control.sleep(_POLL_S)

    def _ours(self, page: Sequence[Listed]) -> Iterator[Orphan]:
        digest = target_digest(self.settings.target_dsn)
        for blob in page:
            self._found.blobs += 1
            owner = owner_of_blob(blob.name)
            if owner is None or not _is_ours(blob, owner, digest):
                self._found.others += 1
            else:
                yield Orphan(blob, owner)

    def _old_enough(self, orphans: Sequence[Orphan], oldest: datetime) -> list[Orphan]:
        old = [each for each in orphans if each.blob.modified <= oldest]
        self._found.young += len(orphans) - len(old)
        return old

    async def _take(
        self, orphans: Sequence[Orphan], inventory: Inventory, report: AppendFile
    ) -> None:
        """List orphans, on disk first, and delete them where that is wanted."""
        if not orphans:
            return
        await report.append([_line(each) for each in orphans])
        for each in orphans:
            self.say(each.text())
            self._found.orphans += 1
            self._found.orphan_bytes += each.blob.size_bytes
        if self.delete:
            waiting = iter(orphans)
            async with asyncio.TaskGroup() as group:
                for number in range(_DELETING):
                    group.create_task(self._delete(waiting, inventory), name=f"deleting-{number}")

    async def _delete(self, waiting: Iterator[Orphan], inventory: Inventory) -> None:
        for orphan in waiting:
            if self._control.stopping:
                return
            try:
                gone = await inventory.delete(orphan.blob)
            except RunStopped:
                return
            self._found.deleted += gone
            self._found.changed += not gone

    def _ending(self) -> Ending:
        found = self._found
        left = found.orphans - found.deleted
        code = self._control.exit_code(left)
        text = (
            f"{found.orphans:,} orphans ({size_text(found.orphan_bytes)}) among {found.blobs:,} "
            f"blobs, {found.deleted:,} deleted, {found.young:,} too young, "
            f"{found.others:,} not of this tool and target; exit {int(code)}"
        )
        if found.orphans and not self.delete:
            text += "; nothing was deleted, --delete does that"
        if found.changed:
            text += f"; {found.changed:,} have changed meanwhile and were left alone"
        for detail in self._control.reasons.values():
            text += f"; stopped: {detail}"
        return Ending(code, text)


def _is_ours(blob: Listed, owner: BlobOwner, digest: str) -> bool:
    return (
        blob.metadata.get("migratedfrom") == MIGRATED_FROM
        and blob.metadata.get("target") == digest
        and blob.metadata.get("attemptid") == str(owner.attempt)
    )


def _line(orphan: Orphan) -> tuple[object, ...]:
    return (
        orphan.owner.attempt,
        orphan.owner.submission_id,
        orphan.blob.metadata.get("runid", ""),
        orphan.blob.name,
        orphan.blob.size_bytes,
        orphan.blob.modified.isoformat(timespec="seconds"),
    )
