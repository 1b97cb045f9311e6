"""The ``sweep`` command: finds blobs that a crash left in the container (specification §5)."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

import click
from rich.console import Console

from rogo_async.commands.json_output import FactsCommand, json_option, run_command_and_exit
from rogo_async.commands.orphans import Orphan, OrphanFinder
from rogo_async.commands.runner import data_dir_option
from rogo_async.common.call_stats import CallStats
from rogo_async.common.command import CommandResult
from rogo_async.common.data_dir import new_run_id
from rogo_async.common.durations import parse_duration
from rogo_async.common.files import AppendFile
from rogo_async.common.settings import Settings
from rogo_async.common.text import plural, size_shown
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.progress import Stages

_COLUMNS: Final = ("Attempt ID", "Submission ID", "Run ID", "Blob Name", "Bytes", "Last Modified")


class Duration(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """A duration such as ``30m``, ``24h`` or ``7d``; a ``0`` needs no unit."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The duration; fails with the expected form."""
        text = str(value)
        try:
            seconds = parse_duration(text)
        except ValueError:
            seconds = None
        # A number alone could mean hours: blobs are deleted by it, so the unit is required.
        if seconds is None or (seconds and text.strip()[-1].isdigit()):
            self.fail(f"{value!r} is not of the form 90s, 30m, 24h, 7d or 0", param, ctx)
        return timedelta(seconds=seconds)


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
@json_option
@data_dir_option
def sweep(min_age: timedelta, data_dir: Path | None, *, delete: bool, as_json: bool) -> None:
    """Find blobs left by a crash; --delete removes them.

    An orphan is a blob of this tool that no row of the target refers to. The orphans are listed
    on the terminal and, with their names, in runs/. Exit code 1: some orphans remain.
    """
    run_command_and_exit(
        # With --json, click.echo writes these lines to standard error, as the summary line.
        lambda settings, terminal: Sweep(settings, terminal, click.echo, min_age, delete=delete),
        data_dir,
        as_json=as_json,
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
    handled: int = 0
    """Deleted or kept so far, also within a page."""


class Sweep(FactsCommand):
    """One sweep. ``say`` prints a line."""

    def __init__(
        self,
        settings: Settings,
        terminal: Console | None,
        say: Callable[[str], object],
        min_age: timedelta,
        *,
        delete: bool,
    ) -> None:
        super().__init__(settings, lock_name="sweep")
        self._stages = Stages(terminal, settings.rogo_progress_interval)
        self._say = say
        self._min_age = min_age
        self._delete = delete
        self._counts = SweepCounts()
        self._file: Path | None = None

    async def work(self, stack: AsyncExitStack) -> None:
        """List the orphans page by page; with ``--delete``, delete them."""
        factory = ServiceFactory(
            self.settings, self.stop_signal, CallStats(), stack, name="rogo_async sweep"
        )
        lock = await factory.lock()
        connections = await factory.connections()
        finder = await OrphanFinder.open(factory, lock, connections, self.stop_signal)
        if self._delete:
            await finder.wait_for_runs("sweep")
        newest = await finder.inventory.now() - self._min_age
        self.data.make_runs()
        self._file = self.data.runs / f"{new_run_id()}.orphans.csv"
        report = AppendFile(self._file)
        await report.open(_COLUMNS)
        stack.push_async_callback(report.close)
        async with self._stages.stage(
            "sweeping", "blobs", count=lambda: self._counts.blobs, facts=self._facts
        ):
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
            deleted, kept = await finder.delete(orphans, self._count_handled)
            counts.deleted += deleted
            counts.kept += kept

    def _count_handled(self, count: int) -> None:
        self._counts.handled += count

    def _facts(self) -> dict[str, object]:
        return {"orphans": self._counts.orphans, "handled": self._counts.handled}

    def result(self) -> CommandResult:
        """Report the orphans; those that remain count as failures."""
        counts = self._counts
        text = (
            f"{plural(counts.orphans, 'orphan')} ({size_shown(counts.orphan_bytes)}) among "
            f"{plural(counts.blobs, 'blob')}, {counts.deleted:,} deleted, "
            f"{counts.newer:,} newer than --min-age, "
            f"{plural(counts.others, 'blob')} of other tools or targets"
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

    def facts(self) -> dict[str, object]:
        """The counts, for ``--json``."""
        counts = self._counts
        return {
            "blobs": counts.blobs,
            "of_other_tools_or_targets": counts.others,
            "newer_than_min_age": counts.newer,
            "orphans": counts.orphans,
            "orphan_bytes": counts.orphan_bytes,
            "deleted": counts.deleted,
            "kept": counts.kept,
            "file": None if self._file is None else str(self._file),
        }


def _line(orphan: Orphan) -> tuple[object, ...]:
    return (
        orphan.owner.attempt,
        orphan.owner.submission_id,
        orphan.run_id,
        orphan.blob.name,
        orphan.blob.size_bytes,
        orphan.blob.modified.isoformat(timespec="seconds"),
    )
