"""``check``: whether a run would find everything as it needs it (specification §5)."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import click
import orjson
import structlog

from rogo_async.commands.check.blob_store import StoreChecks
from rogo_async.commands.check.data_dir import Directory, machine_checks
from rogo_async.commands.check.postgres import Target
from rogo_async.commands.check.results import Finding, Findings, State
from rogo_async.commands.check.settings import Configuration
from rogo_async.commands.check.source_files import SourceChecks
from rogo_async.commands.check.warehouse import WarehouseChecks
from rogo_async.commands.runner import data_dir_option
from rogo_async.common.command import CommandResult
from rogo_async.common.logging import configure, error_facts, format_for
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode, StopSignal, handle_signals


class Checkup:
    """One check of everything; ``execute`` is called once. ``say`` is given each finding."""

    def __init__(self, configuration: Configuration, say: Callable[[Finding], object]) -> None:
        self._configuration = configuration
        self._say = say
        self._stop_signal = StopSignal()
        self.findings = Findings()

    @classmethod
    def of(cls, overrides: Mapping[str, Any], say: Callable[[Finding], object]) -> "Checkup":
        """A check of the settings that stand in the environment and in ``.env``."""
        return cls(Configuration.read(overrides), say)

    @property
    def settings(self) -> Settings:
        """The settings, as far as they can be used."""
        return self._configuration.settings

    async def execute(self) -> CommandResult:
        """Look, changing nothing that stays. A signal ends it, after what it wrote is gone."""
        with handle_signals(self._stop_signal):
            looking = asyncio.create_task(self._look(), name="checkup")
            stopped = asyncio.create_task(self._stop_signal.wait(), name="checkup-stopped")
            await asyncio.wait({looking, stopped}, return_when=asyncio.FIRST_COMPLETED)
            looking.cancel()
            stopped.cancel()
            (result, _) = await asyncio.gather(looking, stopped, return_exceptions=True)
            if isinstance(result, Exception):
                raise result
        return self._ending()

    async def _look(self) -> None:
        configuration, findings = self._configuration, self.findings
        settings = configuration.settings
        configuration.report(findings)
        self._tell("settings")
        directory = Directory(settings.rogo_data_dir)
        async with asyncio.TaskGroup() as group:

            def begin(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
                return group.create_task(work, name=f"checking-{name}")

            machine = begin(findings.carry_out(machine_checks(settings)), "machine")
            files = begin(findings.carry_out(directory.checks()), "directory")
            target = begin(Target(settings, findings).execute(), "target")
            warehouse = begin(WarehouseChecks(settings, findings).execute(), "warehouse")
            store = begin(StoreChecks(settings, findings).execute(), "store")
            sources = begin(SourceChecks(settings, findings, directory).execute(files), "sources")
            for task, *subjects in (
                (machine, "machine"),
                (files, "directory", "inputs"),
                (target, "target"),
                (warehouse, "warehouse"),
                (store, "store"),
                (store, "clock"),
                (sources, "source"),
            ):
                await task
                self._tell(*subjects)

    def _tell(self, *subjects: str) -> None:
        for finding in self.findings.of(*subjects):
            self._say(finding)

    def _ending(self) -> CommandResult:
        findings = self.findings
        warned = findings.count(State.WARNING)
        text = (
            f"{findings.count(State.OK)} ok, {warned} {'warning' if warned == 1 else 'warnings'}, "
            f"{findings.count(State.FAIL)} red, {findings.count(State.SKIPPED)} left out"
        )
        if self._stop_signal.reasons:
            return CommandResult(
                self._stop_signal.exit_code(0), f"{text}; interrupted before the end"
            )
        code = findings.exit_code(settings_readable=not self._configuration.problems)
        return CommandResult(code, f"{text}; exit {int(code)}")


_LOOKS: Final[dict[State, tuple[str, dict[str, Any]]]] = {
    State.OK: ("ok", {"fg": "green"}),
    State.WARNING: ("warn", {"fg": "yellow"}),
    State.FAIL: ("FAIL", {"fg": "red", "bold": True}),
    State.SKIPPED: ("skip", {"dim": True}),
}


@click.command()
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON array of {name, state, what, remedy}."
)
@data_dir_option
def check(data_dir: Path | None, *, as_json: bool) -> None:
    """Look whether a run would find everything as it needs it, and say what to do where not.

    Settings, data directory, servers, permissions, tables, clocks. Nothing that it writes stays:
    rows are rolled back and its one blob is deleted. Exit code 1 says that something is wrong,
    2 that a setting is, 3 that a server stayed away.
    """
    overrides: dict[str, Any] = {} if data_dir is None else {"rogo_data_dir": data_dir}
    found: list[Finding] = []
    code: int
    try:
        checkup = Checkup.of(overrides, found.append if as_json else _print)
        style = format_for(sys.stderr, checkup.settings.rogo_log_format)
        configure(style, colors=sys.stderr.isatty() and _colourful())
        ending = asyncio.run(checkup.execute())
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: what is left is ours
        structlog.get_logger().critical("internal error", **error_facts(error))
        click.echo("rogo_async: internal error, see the log", err=True)
        code = ExitCode.INTERNAL
    else:
        code = ending.exit_code
        if as_json:
            click.echo(_as_json(found))
        else:
            click.echo(f"rogo_async: {ending.summary_line}")
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that hang in a dead driver call hold nobody up.
    os._exit(code)


def _print(finding: Finding) -> None:
    word, style = _LOOKS[finding.state]
    text = f"{finding.subject}: {finding.what}"
    if finding.remedy:
        text += f". {finding.remedy}"
    if sys.stdout.isatty() and _colourful():
        word, text = (
            click.style(f"{word:<4}", **style),
            click.style(text, dim=True) if finding.state is State.SKIPPED else text,
        )
    click.echo(f"{word:<4} {text}", color=True)


def _colourful() -> bool:
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _as_json(found: list[Finding]) -> str:
    rows = [
        {"name": each.name, "state": each.state, "what": each.what, "remedy": each.remedy}
        for each in found
    ]
    return orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode()
