"""``sweep``: blobs of this tool and this target that nothing refers to (SPEC §5, §6.4, §6.7).

A crash between storing a file and inserting its row leaves one behind. Both locks are held, and
nothing is deleted while a session of a run is connected: a run that lost its lock while it was
stalled may still be about to write.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rogo_async.blobs import Inventory
from rogo_async.control import Control
from rogo_async.datadir import DataDir, new_run_id
from rogo_async.errors import Dependency
from rogo_async.guard import Ending, guarded
from rogo_async.interrupt import drained_by_signals
from rogo_async.ledger import AppendFile
from rogo_async.measure import Measurements
from rogo_async.opening import Opening
from rogo_async.orphans import Orphan, Orphans, wait_for_runs
from rogo_async.rules.files import size_text
from rogo_async.settings import Settings
from rogo_async.target import References

_COLUMNS: Final = ("Attempt ID", "Submission ID", "Run ID", "Blob Name", "Bytes", "Last Modified")


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
        inventory = Inventory(account, await opening.session(), opening.gate(Dependency.STORE))
        orphans = Orphans(self.settings, account, inventory, references, self._control)
        if self.delete:
            await wait_for_runs(references, self._control, "sweep")
        oldest = await inventory.now() - self.min_age
        data.make_runs()
        report = AppendFile(data.runs / f"{new_run_id()}.orphans.csv")
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        async for page in orphans.pages():
            self._found.blobs += page.blobs
            self._found.others += page.others
            await self._take(self._old_enough(page.orphans, oldest), orphans, report)

    def _old_enough(self, orphans: Sequence[Orphan], oldest: datetime) -> list[Orphan]:
        old = [each for each in orphans if each.blob.modified <= oldest]
        self._found.young += len(orphans) - len(old)
        return old

    async def _take(self, found: Sequence[Orphan], orphans: Orphans, report: AppendFile) -> None:
        """List orphans, on disk first, and delete them where that is wanted."""
        if not found:
            return
        await report.append([_line(each) for each in found])
        for each in found:
            self.say(each.text())
            self._found.orphans += 1
            self._found.orphan_bytes += each.blob.size_bytes
        if self.delete:
            deleted, changed = await orphans.delete(found)
            self._found.deleted += deleted
            self._found.changed += changed

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
            text += f"; {found.changed:,} have changed meanwhile or are kept by a lease, a snapshot"
            text += " or a policy"
        for detail in self._control.reasons.values():
            text += f"; stopped: {detail}"
        return Ending(code, text)


def _line(orphan: Orphan) -> tuple[object, ...]:
    return (
        orphan.owner.attempt,
        orphan.owner.submission_id,
        orphan.run_id,
        orphan.blob.name,
        orphan.blob.size_bytes,
        orphan.blob.modified.isoformat(timespec="seconds"),
    )
