"""``check``: whether a run would find everything as it needs it (SPEC §5)."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any, Final

import click
import orjson
import structlog

from rogo_async import logs
from rogo_async.check import Checkup, Finding, State
from rogo_async.commands.frame import data_dir_option
from rogo_async.control import ExitCode
from rogo_async.guard import without_values

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
        style = logs.format_for(sys.stderr, checkup.settings.rogo_log_format)
        logs.configure(style, colors=sys.stderr.isatty() and _colourful())
        ending = asyncio.run(checkup.execute())
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort: what is left is ours
        structlog.get_logger().critical("a fault of this tool", **without_values(error))
        click.echo("rogo_async: a fault of this tool, see the log", err=True)
        code = ExitCode.INTERNAL
    else:
        code = ending.exit_code
        if as_json:
            click.echo(_as_json(found))
        else:
            click.echo(f"rogo_async: {ending.headline}")
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
