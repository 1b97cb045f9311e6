"""The ``check`` command: check that everything a run needs is in place (specification §5)."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import click
import orjson
from rich.console import Console

from rogo_async.commands.check.blob_store import BlobStoreChecks
from rogo_async.commands.check.copies import CopyChecks
from rogo_async.commands.check.data_dir import DataDirChecks, machine_checks
from rogo_async.commands.check.postgres import TargetChecks
from rogo_async.commands.check.results import CheckReport, CheckStatus, ReportLine
from rogo_async.commands.check.settings import PartialSettings
from rogo_async.commands.check.source_files import SourceChecks
from rogo_async.commands.check.warehouse import WarehouseChecks
from rogo_async.commands.runner import data_dir_option, is_quiet, run_and_exit
from rogo_async.common.command import CommandResult
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import StopSignal, handle_signals
from rogo_async.common.streams import wrapped
from rogo_async.common.text import plural
from rogo_async.reporting.progress import Stages

_STATUS_STYLES: Final[dict[CheckStatus, tuple[str, dict[str, Any]]]] = {
    CheckStatus.OK: ("ok", {"fg": "green"}),
    CheckStatus.WARNING: ("warn", {"fg": "yellow"}),
    CheckStatus.FAIL: ("FAIL", {"fg": "red", "bold": True}),
    CheckStatus.SKIPPED: ("skip", {"dim": True}),
}


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON array of {name, state, what, remedy}."
)
@data_dir_option
def check(data_dir: Path | None, *, as_json: bool) -> None:
    """Check that everything a run needs is in place.

    Checks settings, data directory, servers, permissions, tables and clocks, and says how to fix
    a failure. Leaves nothing behind: test rows are rolled back and the test blob is deleted. Exit
    code 1: a check failed; 2: a setting is invalid; 3: a server did not answer.
    """
    stdout = sys.stdout
    lines: list[ReportLine] = []
    quiet = is_quiet() and not as_json

    def show(line: ReportLine) -> None:
        lines.append(line)
        if not as_json and not (quiet and line.result.status is CheckStatus.OK):
            _print(line)

    runner = CheckRunner(show)

    async def work(settings: Settings, terminal: Console | None) -> CommandResult:
        result = await runner.execute(Stages(terminal, settings.rogo_progress_interval))
        if as_json:
            click.echo(_as_json(lines), file=stdout)
        elif not quiet:
            _repeat(lines)
        return result

    # With --json the summary line goes to stderr, so that stdout contains JSON only.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        run_and_exit(work, data_dir, load=runner.load)


class CheckRunner:
    """Runs all checks once: call ``load``, then ``execute``. ``show`` receives each line."""

    def __init__(self, show: Callable[[ReportLine], object]) -> None:
        self._show = show
        self._stop_signal = StopSignal()
        self._report = CheckReport()
        self._partial: PartialSettings

    def load(self, **overrides: Any) -> Settings:
        """Read the settings; invalid ones are replaced by placeholders and reported later."""
        self._partial = PartialSettings.read(overrides)
        # A check leaves no files behind, so it writes no log file.
        return self._partial.settings.model_copy(update={"rogo_log_file": None})

    async def execute(self, stages: Stages) -> CommandResult:
        """Run the checks. A signal cancels them; the test blob is still deleted."""
        with handle_signals(self._stop_signal):
            checks = asyncio.create_task(self._run_checks(), name="checks")
            stopped = asyncio.create_task(self._stop_signal.wait(), name="checks-stopped")
            async with stages.stage("checking", "checks", count=self._report.total):
                await asyncio.wait({checks, stopped}, return_when=asyncio.FIRST_COMPLETED)
            checks.cancel()
            stopped.cancel()
            (result, _) = await asyncio.gather(checks, stopped, return_exceptions=True)
            if isinstance(result, Exception):
                raise result
        return self._result()

    async def _run_checks(self) -> None:
        """Run the groups of checks in parallel; show their lines in a fixed order."""
        report, settings = self._report, self._partial.settings
        self._partial.add_to(report)
        self._show_lines("settings")
        data_dir = DataDirChecks(settings.rogo_data_dir)
        async with asyncio.TaskGroup() as group:

            def start(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return group.create_task(work, name=f"check-{name}")

            machine = start(report.run(machine_checks(settings)), "machine")
            files = start(report.run(data_dir.checks()), "directory")
            target = start(TargetChecks(settings, report).execute(), "target")
            warehouse = start(WarehouseChecks(settings, report).execute(), "warehouse")
            store = start(BlobStoreChecks(settings, report).execute(), "store")
            sources = start(SourceChecks(settings, report, data_dir).execute(files), "sources")
            copies = CopyChecks(settings, report, data_dir)
            copy = start(copies.execute(store, sources), "copy")
            for task, *subjects in (
                (machine, "machine"),
                (files, "directory", "inputs"),
                (target, "target"),
                (warehouse, "warehouse"),
                (store, "store"),
                (store, "clock"),
                (sources, "source"),
                (copy, "copy"),
            ):
                await task
                self._show_lines(*subjects)

    def _show_lines(self, *subjects: str) -> None:
        for line in self._report.lines_of(*subjects):
            self._show(line)

    def _result(self) -> CommandResult:
        count = self._report.count
        warnings = count(CheckStatus.WARNING)
        counts = (
            f"{count(CheckStatus.OK)} ok, {plural(warnings, 'warning')}, "
            f"{count(CheckStatus.FAIL)} failed, {count(CheckStatus.SKIPPED)} skipped"
        )
        if self._stop_signal.reasons:
            return CommandResult(self._stop_signal.exit_code(0), f"{counts}; interrupted")
        code = self._report.exit_code(settings_valid=not self._partial.problems)
        return CommandResult(code, f"{counts}; exit {int(code)}")


def _repeat(lines: list[ReportLine]) -> None:
    """Print the red and yellow lines again: the first may have left the screen."""
    wanted = {CheckStatus.WARNING, CheckStatus.FAIL}
    if found := [line for line in lines if line.result.status in wanted]:
        click.echo(f"\nNot ok ({len(found)} of {len(lines)}):")
        for line in found:
            _print(line)


def _print(line: ReportLine) -> None:
    result = line.result
    word, style = _STATUS_STYLES[result.status]
    text = f"{line.subject}: {result.message}"
    if result.remedy:
        text += f". {result.remedy}"
    word, text = f"{word:<4}", wrapped(f"{word:<4} {text}", sys.stdout, indent=5)[5:]
    if sys.stdout.isatty() and _is_colored():
        word = click.style(word, **style)
        if result.status is CheckStatus.SKIPPED:
            text = click.style(text, dim=True)
    click.echo(f"{word} {text}", color=True)


def _is_colored() -> bool:
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _as_json(lines: list[ReportLine]) -> str:
    rows = [
        {
            "name": line.name,
            "state": line.result.status,
            "what": line.result.message,
            "remedy": line.result.remedy,
        }
        for line in lines
    ]
    return orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode()
