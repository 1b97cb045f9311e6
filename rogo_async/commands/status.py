"""``status``: counts of the target, latest migrations, latest runs (specification §5)."""

import asyncio
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console

from rogo_async.commands.completion import read_completion
from rogo_async.commands.runner import data_dir_option, run_and_exit
from rogo_async.commands.watch import watch_run
from rogo_async.common.command import CommandResult
from rogo_async.common.errors import DependencyError, InputChanged, SetupError, SystemicError
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.common.streams import wrapped
from rogo_async.common.text import encodable
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.connector import ConnectOptions
from rogo_async.destination.postgres.status import TargetStatus, read_target_status
from rogo_async.reporting.progress import Stages
from rogo_async.reporting.run_history import RunHistory
from rogo_async.reporting.summary import RunSummary
from rogo_async.rules.identity import submission_id

_LATEST: Final = 10
_WATCH_S: Final = 2.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@click.option(
    "--watch",
    "watch_s",
    metavar="[SECONDS]",
    type=click.FloatRange(min=0.1, max=3600),
    is_flag=False,
    flag_value=_WATCH_S,
    help="First follow the run under way to its end.",
)
@data_dir_option
def status(data_dir: Path | None, watch_s: float | None, *, as_json: bool) -> None:
    """Show what was migrated, the latest runs and any run in progress.

    Takes no lock, changes nothing and may run during a migration.
    """
    if as_json and watch_s is not None:
        raise click.UsageError("--watch and --json cannot be combined")
    output = sys.stdout

    def say(text: str) -> None:
        click.echo(wrapped(text, output), file=output)
        output.flush()

    async def work(settings: Settings, terminal: Console | None) -> CommandResult:
        if watch_s is not None:
            stopped = await watch_run(settings.rogo_data_dir, watch_s, output, say)
            if stopped is not None:
                return stopped
        stages = Stages(terminal, settings.rogo_progress_interval)
        return await show_status(settings, stages, say, as_json=as_json)

    # With --json the summary line goes to stderr, so that stdout contains JSON only.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        run_and_exit(work, data_dir)


async def show_status(
    settings: Settings, stages: Stages, say: Callable[[str], object], *, as_json: bool
) -> CommandResult:
    """Print the status with ``say``, line by line or as one JSON object."""
    code, target_problem, state = ExitCode.DONE, None, None
    try:
        state = await _read_target(settings, stages)
    except SystemicError as error:
        code, target_problem = ExitCode.SETUP, f"target: {error.reason}"
    except DependencyError as error:
        code, target_problem = ExitCode.STOPPED_EARLY, f"target unreachable: {error.reason}"
    completion, input_problem = None, None
    if state is not None:
        try:
            completion = await read_completion(settings, state.existing, stages)
        except (SetupError, InputChanged, OSError, ValueError, csv.Error) as error:
            input_problem = f"the input is not counted: {_reason(error)}"
    history = await asyncio.to_thread(RunHistory.read, settings.rogo_data_dir)
    if as_json:
        facts = {
            "target": None if state is None else _target_facts(state, history.runs),
            "target_problem": target_problem,
            "input": None if completion is None else completion.facts(),
            "input_problem": input_problem,
            **history.facts(),
            "data_dir_problem": history.problem,
        }
        say(encodable(json.dumps(facts, ensure_ascii=False, indent=2)))
    else:
        for line in (
            *(() if state is None else _target_lines(state, history.runs)),
            *history.lines(),
            *([input_problem] if input_problem else completion.lines() if completion else ()),
        ):
            say(line)
    problems = [each for each in (target_problem, history.problem) if each is not None]
    return CommandResult(code, "; ".join([*problems, f"exit {int(code)}"]))


def _reason(error: Exception) -> str:
    """Without the text of any cell."""
    if isinstance(error, SetupError):
        return "; ".join(error.problems)
    if isinstance(error, InputChanged):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return "a failed-rows file cannot be read. Move it out of the data directory"


async def _read_target(settings: Settings, stages: Stages) -> TargetStatus:
    options = ConnectOptions.of(settings.target_url, "rogo_async status")
    async with stages.stage("reading the target", "rows") as stage:
        connections = await Connections.open(options, 1)
        async with contextlib.aclosing(connections):
            return await read_target_status(
                connections, settings.rogo_instance_id, _LATEST, stage.add
            )


def _target_facts(state: TargetStatus, runs: Sequence[RunSummary]) -> dict[str, Any]:
    holder = state.holder
    return {
        "submissions": state.submissions,
        "submissions_of_another_tool": state.of_another_tool,
        "files": state.files,
        "malpractice_rules": state.malpractice_rules,
        "lock": None
        if holder is None
        else {"holder": holder.name, "since": holder.since and holder.since.isoformat()},
        "latest": list(_latest(state, runs)),
    }


def _latest(state: TargetStatus, runs: Sequence[RunSummary]) -> Iterator[dict[str, Any]]:
    for each in state.latest:
        of = (r.run_id for r in runs if submission_id(r.run_id, each.attempt) == each.submission_id)
        at = None if each.written_at is None else each.written_at.astimezone(UTC).isoformat()
        yield {"attempt": each.attempt, "written_at": at, "run_id": next(of, None)}


def _target_lines(state: TargetStatus, runs: Sequence[RunSummary]) -> Iterator[str]:
    yield (
        f"target: {state.submissions:,} submissions migrated by this tool "
        f"({state.files:,} files, {state.malpractice_rules:,} malpractice rules), "
        f"{state.of_another_tool:,} by another tool"
    )
    yield _lock_line(state)
    if state.latest:
        yield "latest migrations:"
    for each in _latest(state, runs):
        at = (each["written_at"] or "time unknown")[:19].replace("T", " ")
        run_id = each["run_id"] or "unknown (no files in this data directory)"
        yield f"  {at}  attempt {each['attempt']}  run {run_id}"


def _lock_line(state: TargetStatus) -> str:
    if state.holder is None:
        return "no run in progress"
    since = state.holder.since
    when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start time not visible)"
    return f"in progress: {state.holder.name or 'an unnamed session'} {when}"
