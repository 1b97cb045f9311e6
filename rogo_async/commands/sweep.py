"""The ``sweep`` command: finds blobs that a crash left in the container (specification §5)."""

import re
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from rogo_async.commands.orphans import Orphan, OrphanFinder
from rogo_async.commands.runner import data_dir_option, run_and_exit
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import Command, CommandResult
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.rules.files import size_text

_COLUMNS: Final = ("Attempt ID", "Submission ID", "Run ID", "Blob Name", "Bytes", "Last Modified")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_DURATION: Final = re.compile(r"(\d{1,6})([smhd]?)")


class Duration(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """A duration such as ``30m``, ``24h`` or ``7d``; a ``0`` needs no unit."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The duration; fails with the expected form."""
        match = _DURATION.fullmatch(str(value))
        if match is None or (int(match[1]) and not match[2]):
            self.fail(f"{value!r} is not of the form 90s, 30m, 24h, 7d or 0", param, ctx)
        return timedelta(**{_UNITS[match[2] or "s"]: int(match[1])})


@click.command()
@click.option("--delete", is_flag=True, help="Delete the orphans; otherwise only list them.")
@click.option(
    "--min-age",
    metavar="AGE",
    type=Duration(),
    default="24h",
    show_default=True,
    help="Keep newer blobs: 90s, 30m, 24h, 7d or 0.",
)
@data_dir_option
def sweep(min_age: timedelta, data_dir: Path | None, *, delete: bool) -> None:
    """Find blobs left by a crash; --delete removes them.

    An orphan is a blob of this tool that no row of the target refers to. The orphans are listed
    on the terminal and, with their names, in runs/. Exit code 1: some orphans remain.
    """
    run_and_exit(
        lambda settings, _: Sweep(settings, click.echo, min_age, delete=delete).execute(), data_dir
    )


@dataclass(slots=True)
class SweepCounts:
    """The counts of a sweep so far."""

    blobs: int = 0
    others: int = 0
    """Blobs of other tools or other targets."""
    newer: int = 0
    orphans: int = 0
    orphan_bytes: int = 0
    deleted: int = 0
    kept: int = 0


class Sweep(Command):
    """One sweep. ``say`` prints a line."""

    def __init__(
        self, settings: Settings, say: Callable[[str], object], min_age: timedelta, *, delete: bool
    ) -> None:
        super().__init__(settings, lock_name="sweep")
        self._say = say
        self._min_age = min_age
        self._delete = delete
        self._counts = SweepCounts()

    async def work(self, stack: AsyncExitStack) -> None:
        """List the orphans page by page; with ``--delete``, delete them."""
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async sweep"
        )
        await factory.lock()
        finder = await OrphanFinder.open(factory, await factory.connections(), self.stop_signal)
        if self._delete:
            await finder.wait_for_runs("sweep")
        newest = await finder.inventory.now() - self._min_age
        self.data.make_runs()
        report = AppendFile(self.data.runs / f"{new_run_id()}.orphans.csv")
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        async for page in finder.pages():
            old = [each for each in page.orphans if each.blob.modified <= newest]
            self._counts.blobs += page.blobs
            self._counts.others += page.others
            self._counts.newer += len(page.orphans) - len(old)
            if old:
                await self._handle(old, finder, report)

    async def _handle(
        self, orphans: Sequence[Orphan], finder: OrphanFinder, report: AppendFile
    ) -> None:
        """Write the orphans to the file before any of them is deleted."""
        counts = self._counts
        await report.append([_line(each) for each in orphans])
        for each in orphans:
            self._say(each.text())
            counts.orphans += 1
            counts.orphan_bytes += each.blob.size_bytes
        if self._delete:
            deleted, kept = await finder.delete(orphans)
            counts.deleted += deleted
            counts.kept += kept

    def result(self) -> CommandResult:
        """Report the orphans; those that remain count as failures."""
        counts = self._counts
        text = (
            f"{counts.orphans:,} orphans ({size_text(counts.orphan_bytes)}) among {counts.blobs:,} "
            f"blobs, {counts.deleted:,} deleted, {counts.newer:,} newer than --min-age, "
            f"{counts.others:,} blobs of other tools or targets"
        )
        notes = []
        if counts.orphans and not self._delete:
            notes.append("nothing was deleted: use --delete")
        if counts.kept:
            notes.append(
                f"{counts.kept:,} kept: written again meanwhile, or protected by a lease, a "
                "snapshot or a policy"
            )
        return self.result_of(counts.orphans - counts.deleted, text, *notes)


def _line(orphan: Orphan) -> tuple[object, ...]:
    return (
        orphan.owner.attempt,
        orphan.owner.submission_id,
        orphan.run_id,
        orphan.blob.name,
        orphan.blob.size_bytes,
        orphan.blob.modified.isoformat(timespec="seconds"),
    )
