"""Shared by all commands: options, settings, logs, the summary line and the exit code."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
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
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory  [default: ROGO_DATA_DIR, or here].",
)


def attempt_option(help_text: str) -> Callable[..., Any]:
    """The option that names attempts; it may be repeated."""
    return click.option(
        "--attempt",
        "attempts",
        metavar="ID",
        type=click.IntRange(1, SQL_INT_MAX),
        multiple=True,
        help=help_text,
    )


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select rows: ``limit``, ``attempts`` and ``input_file``."""
    for option in (
        click.option(
            "--input",
            "input_file",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Read this file instead, for example a failed-rows file.",
        ),
        attempt_option("Only this attempt; repeatable."),
        click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(min=1),
            help="Only the newest N rows.",
        ),
    ):
        command = option(command)
    return command


def log_level_options(verbose_help: str) -> list[click.Option]:
    """The options of every command that set the log level."""
    return [
        click.Option(
            [*spellings, "level"],
            flag_value=level,
            type=int,
            expose_value=False,
            callback=_set_level,
            help=text,
        )
        for spellings, level, text in (
            (("-v", "--verbose"), logging.DEBUG, verbose_help),
            (("-q", "--quiet"), logging.WARNING, "Log warnings and errors only; no progress."),
        )
    ]


def _set_level(context: click.Context, _option: click.Parameter, level: int | None) -> None:
    if level is not None:
        context.meta[_LEVEL] = level


def run_and_exit(
    work: Work,
    data_dir: Path | None,
    overrides: Mapping[str, object] | None = None,
    load: Callable[..., Settings] = load_settings,
) -> NoReturn:
    """Run a command, print its summary line and end the process with its exit code.

    ``work`` receives the settings, and a console if stderr is a terminal. ``overrides`` are
    settings from the command line; ``load`` reads the others.
    """
    given = dict(overrides or {})
    if data_dir is not None:
        given["rogo_data_dir"] = data_dir
    level = click.get_current_context().meta.get(_LEVEL, logging.INFO)
    try:
        result = _run(work, load(**given), level)
    except SetupError as error:
        exit_with(ExitCode.SETUP, *error.problems, to_stderr=True)
    except LockHeld as error:
        exit_with(ExitCode.LOCKED, str(error), to_stderr=True)
    except KeyboardInterrupt:
        exit_with(ExitCode.INTERRUPTED, "interrupted before the work began", to_stderr=True)
    except Exception as error:  # noqa: BLE001 - the last resort
        structlog.get_logger().critical("internal error", **error_facts(error))
        exit_with(ExitCode.INTERNAL, "internal error, see the log", to_stderr=True)
    exit_with(result.exit_code, result.summary_line, to_stderr=False)


def exit_with(code: int, *lines: str, to_stderr: bool) -> NoReturn:
    """Print lines and end the process. Does not wait for threads that hang in a driver call."""
    # A full disk under the output must not change the exit code.
    with contextlib.suppress(OSError):
        for text in lines:
            click.echo(f"rogo_async: {text}", err=to_stderr)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def _run(work: Work, settings: Settings, level: int) -> CommandResult:
    is_watched = _open_logs(settings, level)
    terminal = Console(stderr=True) if is_watched and level < logging.WARNING else None
    gc.freeze()  # objects that exist now live until the end: the garbage collector can skip them
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work(settings, terminal))


def _open_logs(settings: Settings, level: int) -> bool:
    """Configure the logs. Returns whether stderr is a terminal. Raises SetupError."""
    style = format_for(sys.stderr, settings.rogo_log_format)
    on_terminal = sys.stderr.isatty() and style == "console"
    colors = on_terminal and not os.environ.get("NO_COLOR")
    path = settings.rogo_log_file
    file = None if path is None else LogFile(path, settings.rogo_log_max_bytes)
    configure(style, colors=colors, level=level, file=file)
    return on_terminal


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of uvloop where it is installed, otherwise asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 - not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
