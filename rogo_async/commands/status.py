"""``status``: counts of the target, latest migrations, latest runs (specification §5)."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import click
import orjson

from rogo_async.commands.runner import data_dir_option, run_and_exit
from rogo_async.common.command import CommandResult
from rogo_async.common.errors import DependencyError, SystemicError
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.destination.postgres.connections import Connections, ConnectOptions
from rogo_async.destination.postgres.status import TargetStatus, read_target_status
from rogo_async.reporting.summary import RunSummary, read_summary, summary_files
from rogo_async.rules.identity import submission_id

_LATEST: Final = 10
_RUNS: Final = 10


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
@data_dir_option
def status(data_dir: Path | None, *, as_json: bool) -> None:
    """Show what was migrated, the latest runs and any run in progress.

    Takes no lock, changes nothing and may run during a migration.
    """
    output = sys.stdout

    def say(text: str) -> None:
        click.echo(text, file=output)
        output.flush()

    # With --json the summary line goes to stderr, so that stdout contains JSON only.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        run_and_exit(lambda settings, _: show_status(settings, say, as_json=as_json), data_dir)


async def show_status(
    settings: Settings, say: Callable[[str], object], *, as_json: bool
) -> CommandResult:
    """Print the status with ``say``, line by line or as one JSON object."""
    code, target_problem, state = ExitCode.DONE, None, None
    try:
        state = await _read_target(settings)
    except SystemicError as error:
        code, target_problem = ExitCode.SETUP, f"target: {error.reason}"
    except DependencyError as error:
        code, target_problem = ExitCode.STOPPED_EARLY, f"target unreachable: {error.reason}"
    runs, data_dir_problem = _read_runs(settings.rogo_data_dir)
    if as_json:
        facts = {
            "target": None if state is None else _target_facts(state, runs),
            "target_problem": target_problem,
            "runs": [_run_facts(run) for run in runs[:_RUNS]],
            "data_dir_problem": data_dir_problem,
        }
        say(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        for line in _lines(state, runs):
            say(line)
    problems = [each for each in (target_problem, data_dir_problem) if each is not None]
    return CommandResult(code, "; ".join([*problems, f"exit {int(code)}"]))


async def _read_target(settings: Settings) -> TargetStatus:
    options = ConnectOptions(settings.target_dsn, settings.target_ssl, name="rogo_async status")
    connections = await Connections.open(options, 1)
    async with contextlib.aclosing(connections):
        return await read_target_status(connections, settings.rogo_instance_id, _LATEST)


def _read_runs(data_dir: Path) -> tuple[list[RunSummary], str | None]:
    """The summaries in the data directory, newest first, and a text for unreadable ones."""
    if not data_dir.is_dir():
        return [], f"{data_dir}: no such directory"
    try:
        files = summary_files(data_dir / "runs")
    except OSError as error:
        return [], f"{data_dir}: its runs cannot be read ({error.strerror})"
    runs, unreadable = [], 0
    for file in files:
        try:
            runs.append(read_summary(file))
        except (OSError, ValueError):
            unreadable += 1
    return runs, f"{unreadable} unreadable summaries in {data_dir}/runs" if unreadable else None


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


def _run_facts(run: RunSummary) -> dict[str, Any]:
    shown = run.model_dump(mode="json")
    return {
        "run_id": run.run_id,
        "started_at": shown["started_at"],
        "minutes": round(run.duration_s / 60, 1),
        "exit_code": run.exit_code,
        **{name: shown[name] for name in ("migrated", "failed", "skipped", "not_reached")},
        "stopped_by": run.stopped_by,
    }


def _lines(state: TargetStatus | None, runs: Sequence[RunSummary]) -> Iterator[str]:
    if state is not None:
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
    yield "latest runs:" if runs else "no runs in the data directory"
    for run in runs[:_RUNS]:
        stopped = "".join(f"; stopped: {detail}" for detail in run.stopped_by.values())
        yield (
            f"  {run.run_id}  started {run.started_at:%Y-%m-%d %H:%M:%S}, "
            f"{run.duration_s / 60:.1f} min, exit {run.exit_code}: {run.migrated:,} migrated, "
            f"{run.failed:,} failed, {run.skipped:,} skipped, {run.not_reached:,} not processed"
            f"{stopped}"
        )


def _lock_line(state: TargetStatus) -> str:
    if state.holder is None:
        return "no run in progress"
    since = state.holder.since
    when = f"since {since:%Y-%m-%d %H:%M:%S} UTC" if since else "(start time not visible)"
    return f"in progress: {state.holder.name or 'an unnamed session'} {when}"
