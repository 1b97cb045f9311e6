"""What the commands have in common: settings, logs, one line at the end, an exit code."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import structlog
from rich.console import Console

from rogo_async.common.command import CommandResult
from rogo_async.common.errors import LockHeld, SetupError
from rogo_async.common.logging import LogFile, configure, error_facts, format_for
from rogo_async.common.settings import Settings, load_settings
from rogo_async.common.shutdown import ExitCode
from rogo_async.rules.identity import SQL_INT_MAX

_LEVEL: Final = "rogo_async.log_level"
Work = Callable[[Settings, Console | None], Coroutine[Any, Any, CommandResult]]

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the CSV files are read and written [default: ROGO_DATA_DIR, else here].",
)


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select rows: ``limit``, ``attempts`` and ``input_file``."""
    for option in (
        click.option(
            "--input",
            "input_file",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Read this file instead of submission_files.csv; a failed-rows file works.",
        ),
        click.option(
            "--attempt",
            "attempts",
            type=click.IntRange(1, SQL_INT_MAX),
            multiple=True,
            help="Only the rows of this attempt; may be given several times.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=1), help="Only the newest N rows of the file."
        ),
    ):
        command = option(command)
    return command


def common_options() -> list[click.Option]:
    """The options of every command: how much of it is seen."""
    return [
        click.Option(
            ["-v", "--verbose", "level"],
            flag_value=logging.DEBUG,
            type=int,
            expose_value=False,
            callback=_set_level,
            help="Log more: a line for each submission with its outcome and durations.",
        ),
        click.Option(
            ["-q", "--quiet", "level"],
            flag_value=logging.WARNING,
            type=int,
            expose_value=False,
            callback=_set_level,
            help="Log warnings and worse alone; show no progress.",
        ),
    ]


def _set_level(context: click.Context, _option: click.Parameter, level: int | None) -> None:
    if level is not None:
        context.meta[_LEVEL] = level


def operate(
    work: Work,
    data_dir: Path | None,
    overrides: Mapping[str, object] | None = None,
    load: Callable[..., Settings] = load_settings,
) -> NoReturn:
    """Run a command's work and leave the process.

    ``work`` is given the settings, and a console when a person watches. ``overrides`` are settings
    that the command line gives; ``load`` reads the others.
    """
    given = dict(overrides or {})
    if data_dir is not None:
        given["rogo_data_dir"] = data_dir
    level = click.get_current_context().meta.get(_LEVEL, logging.INFO)
    _leave(_attempt(work, lambda: load(**given), level))


@dataclass(frozen=True, slots=True)
class _Failed:
    code: ExitCode
    lines: tuple[str, ...]


def _attempt(work: Work, load: Callable[[], Settings], level: int) -> CommandResult | _Failed:
    try:
        settings = load()
        is_watched = _open_logs(settings, level)
        terminal = Console(stderr=True) if is_watched and level < logging.WARNING else None
        gc.freeze()  # what is loaded by now lives as long as the process: not to be looked through
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work(settings, terminal))
    except SetupError as error:
        return _Failed(ExitCode.SETUP, error.problems)
    except LockHeld as error:
        return _Failed(ExitCode.LOCKED, (str(error),))
    except KeyboardInterrupt:
        return _Failed(ExitCode.INTERRUPTED, ("interrupted before the work began",))
    except Exception as error:  # noqa: BLE001 - the last resort: what is left is ours
        structlog.get_logger().critical("internal error", **error_facts(error))
        return _Failed(ExitCode.INTERNAL, ("internal error, see the log",))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where it is installed, else asyncio's (docs/performance.md)."""
    try:
        import uvloop  # noqa: PLC0415 - there are platforms without it
    except ImportError:
        return None
    return uvloop.new_event_loop


def _open_logs(settings: Settings, level: int) -> bool:
    """Set the logs up, and tell whether a person watches. Raises SetupError."""
    style = format_for(sys.stderr, settings.rogo_log_format)
    on_terminal = sys.stderr.isatty() and style == "console"
    colors = on_terminal and not os.environ.get("NO_COLOR")
    path = settings.rogo_log_file
    file = None if path is None else LogFile(path, settings.rogo_log_max_bytes)
    configure(style, colors=colors, level=level, file=file)
    return on_terminal


def _leave(result: CommandResult | _Failed) -> NoReturn:
    """Say how it ended and leave; threads that hang in a dead driver call hold nobody up."""
    lines: tuple[str, ...]
    if isinstance(result, CommandResult):
        code, lines, to_stderr = result.exit_code, (result.summary_line,), False
    else:
        code, lines, to_stderr = result.code, result.lines, True
    # The exit code says how it ended also where the disk under the output is full.
    with contextlib.suppress(OSError):
        for text in lines:
            click.echo(f"rogo_async: {text}", err=to_stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)
