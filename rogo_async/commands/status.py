"""``status``: figures of the target, the latest migrations and the last runs (specification §5)."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import orjson

from rogo_async.commands.runner import data_dir_option, operate
from rogo_async.common.command import CommandResult
from rogo_async.common.errors import DependencyError, SystemicError
from rogo_async.common.settings import Settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.destination.postgres.connections import Connections, ConnectOptions
from rogo_async.destination.postgres.status import TargetStatus, read_target_status
from rogo_async.rules.identity import submission_id

_LATEST: Final = 10
_RUNS: Final = 10
_COUNTS: Final = ("migrated", "failed", "skipped", "not_reached")


@dataclass(slots=True)
class Status:
    """One look; ``execute`` is called once. ``say`` prints a line of text, or the JSON."""

    settings: Settings
    say: Callable[[str], object]
    as_json: bool

    async def execute(self) -> CommandResult:
        """Look and print."""
        path = self.settings.rogo_data_dir
        code, away, state = ExitCode.DONE, None, None
        try:
            state = await self._target()
        except SystemicError as fault:
            code, away = ExitCode.SETUP, f"the target refuses: {fault.reason}"
        except DependencyError as fault:
            code, away = ExitCode.STOPPED_EARLY, f"the target cannot be reached: {fault.reason}"
        runs, unreadable = _runs(path)
        if self.as_json:
            facts = {
                "target": None if state is None else _facts(state, runs),
                "target_problem": away,
                "runs": runs[:_RUNS],
                "data_dir_problem": unreadable,
            }
            self.say(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        else:
            for line in _lines(state, runs):
                self.say(line)
        problems = [each for each in (away, unreadable) if each is not None]
        text = "; ".join(problems) or "target and data directory were read"
        return CommandResult(code, f"{text}; exit {int(code)}")

    async def _target(self) -> TargetStatus:
        options = ConnectOptions(
            self.settings.target_dsn, self.settings.target_ssl, name="rogo_async status"
        )
        async with AsyncExitStack() as stack:
            connections = await Connections.open(options, 1)
            stack.push_async_callback(connections.aclose)
            return await read_target_status(connections, self.settings.rogo_instance_id, _LATEST)


def _runs(data_dir: Path) -> tuple[list[dict[str, Any]], str | None]:
    """The summaries of the runs that are kept, the newest first, and what could not be read."""
    try:
        paths = sorted((data_dir / "runs").iterdir(), reverse=True) if data_dir.is_dir() else None
    except FileNotFoundError:
        paths = []
    except OSError as error:
        return [], f"{data_dir}: its runs cannot be read ({error.strerror})"
    if paths is None:
        return [], f"{data_dir}: there is no such directory"
    runs, broken = [], 0
    for path in paths:
        if path.suffix == ".json":
            try:
                runs.append(_run(orjson.loads(path.read_bytes())))
            except (OSError, ValueError, KeyError, TypeError):
                broken += 1
    return runs, f"{broken} summaries in {data_dir} cannot be read" if broken else None


def _run(summary: dict[str, Any]) -> dict[str, Any]:
    began, ended = (datetime.fromisoformat(summary[n]) for n in ("started_at", "finished_at"))
    return {
        "run_id": summary["run_id"],
        "started_at": summary["started_at"],
        "minutes": round((ended - began).total_seconds() / 60, 1),
        "exit_code": summary["exit_code"],
        **{name: summary[name] for name in _COUNTS},
        "stopped_by": summary["stopped_by"],
    }


def _latest(state: TargetStatus, runs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for each in state.latest:
        wrote = [
            run["run_id"]
            for run in runs
            if submission_id(run["run_id"], each.attempt) == each.submission_id
        ]
        at = None if each.written_at is None else each.written_at.astimezone(UTC).isoformat()
        yield {"attempt": each.attempt, "written_at": at, "run_id": wrote[0] if wrote else None}


def _facts(state: TargetStatus, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    holder = state.holder
    return {
        "submissions": state.submissions,
        "submissions_of_another_tool": state.of_another_tool,
        "files": state.files,
        "malpractice_rules": state.malpractice_rules,
        "lock": None
        if holder is None
        else {"holder": holder.name, "since": holder.since and holder.since.isoformat()},
        "latest": [*_latest(state, runs)],
    }


def _lines(state: TargetStatus | None, runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    if state is not None:
        yield (
            f"target: {state.submissions:,} submissions of this tool with {state.files:,} files "
            f"and {state.malpractice_rules:,} malpractice rules; {state.of_another_tool:,} "
            "submissions of an earlier tool"
        )
        yield _lock_line(state)
        if state.latest:
            yield "latest migrations:"
        for each in _latest(state, runs):
            at = (each["written_at"] or "at a time unknown")[:19].replace("T", " ")
            yield f"  {at}  attempt {each['attempt']}  run {each['run_id'] or 'not kept here'}"
    yield "latest runs:" if runs else "no run is kept in the data directory"
    for run in runs[:_RUNS]:
        counts = ", ".join(f"{run[name]:,} {name.replace('_', ' ')}" for name in _COUNTS)
        stopped = "".join(f"; stopped: {text}" for text in run["stopped_by"].values())
        yield (
            f"  {run['run_id']}  began {run['started_at'][:19].replace('T', ' ')}, "
            f"{run['minutes']} min, exit {run['exit_code']}: {counts}{stopped}"
        )


def _lock_line(state: TargetStatus) -> str:
    if state.holder is None:
        return "no run works on the target at the moment"
    name = state.holder.name or "a session"
    since = state.holder.since
    when = f"{since:%Y-%m-%d %H:%M:%S} UTC" if since else "a time that is not visible here"
    return f"{name} has held the lock since {when}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as JSON on the standard output.")
@data_dir_option
def status(data_dir: Path | None, *, as_json: bool) -> None:
    """Say what stands in the target, what was migrated last and how the last runs ended.

    Takes no lock, changes nothing and may run beside a migration.
    """
    output = sys.stdout

    def say(text: str) -> None:
        click.echo(text, file=output)
        output.flush()

    # With --json the closing line goes to the standard error, so that the JSON stands alone.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        operate(lambda settings, _: Status(settings, say, as_json).execute(), data_dir)
