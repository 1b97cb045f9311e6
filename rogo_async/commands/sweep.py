"""``sweep``: what a crash has left in the container (specification §5)."""

import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import click

from rogo_async.commands.orphans import Orphan, Orphans, wait_for_runs
from rogo_async.commands.runner import data_dir_option, operate
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.errors import Dependency
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.destination.blobs.inventory import Inventory
from rogo_async.destination.postgres.blob_references import BlobReferences
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.rules.files import size_text

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


class Sweep(Command):
    """One sweep. ``say`` prints a line."""

    def __init__(
        self, settings: Settings, say: Callable[[str], object], min_age: timedelta, *, delete: bool
    ) -> None:
        super().__init__(settings, lock_name="sweep")
        self.say = say
        self.min_age = min_age
        self.delete = delete
        self._found = Found()

    async def work(self, stack: AsyncExitStack) -> None:
        """List the orphans, and delete them where that is wanted."""
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async sweep"
        )
        await factory.lock()
        connections = await factory.connections()
        references = BlobReferences(
            connections, factory.breaker(Dependency.TARGET, connections.probe)
        )
        account = await factory.account()
        inventory = Inventory(
            account, await factory.http(), factory.breaker(Dependency.STORE, account.check)
        )
        orphans = Orphans(self.settings, account, inventory, references, self.stop_signal)
        if self.delete:
            await wait_for_runs(references, self.stop_signal, "sweep")
        oldest = await inventory.now() - self.min_age
        self.data.make_runs()
        report = AppendFile(self.data.runs / f"{new_run_id()}.orphans.csv")
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

    def result(self) -> CommandResult:
        """Count what was found and deleted."""
        found = self._found
        left = found.orphans - found.deleted
        counts = (
            f"{found.orphans:,} orphans ({size_text(found.orphan_bytes)}) among {found.blobs:,} "
            f"blobs, {found.deleted:,} deleted, {found.young:,} too young, "
            f"{found.others:,} not of this tool and target"
        )
        notes = []
        if found.orphans and not self.delete:
            notes.append("nothing was deleted, --delete does that")
        if found.changed:
            notes.append(
                f"{found.changed:,} have changed meanwhile or are kept by a lease, a snapshot or "
                "a policy"
            )
        return self.result_of(left, counts, *notes)


def _line(orphan: Orphan) -> tuple[object, ...]:
    return (
        orphan.owner.attempt,
        orphan.owner.submission_id,
        orphan.run_id,
        orphan.blob.name,
        orphan.blob.size_bytes,
        orphan.blob.modified.isoformat(timespec="seconds"),
    )


_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE: Final = re.compile(r"(\d{1,6})([smhd]?)")


class Age(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """A length of time such as ``30m``, ``24h`` or ``7d``; ``0`` is any age."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The length of time; fails with what would be right."""
        match = _AGE.fullmatch(str(value))
        if match is None or (int(match[1]) and not match[2]):
            self.fail(f"{value!r} is not of the form 90s, 30m, 24h, 7d or 0", param, ctx)
        return timedelta(**{_UNITS[match[2] or "s"]: int(match[1])})


@click.command()
@click.option("--delete", is_flag=True, help="Delete what is found; without it, it is only listed.")
@click.option(
    "--min-age",
    type=Age(),
    default="24h",
    show_default=True,
    help="Leave younger blobs alone: 90s, 30m, 24h, 7d; 0 for none.",
)
@data_dir_option
def sweep(min_age: timedelta, data_dir: Path | None, *, delete: bool) -> None:
    """Find blobs of this tool that no row of the target refers to.

    They are listed here and, with their names, in runs/. Exit code 1 says that some are left.
    """
    operate(
        lambda settings, _: Sweep(settings, click.echo, min_age, delete=delete).execute(), data_dir
    )
