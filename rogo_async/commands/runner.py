"""Shared by all commands: options, settings, logs, the summary line and the exit code."""

import asyncio
import functools
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import click
import structlog
from rich.console import Console

from rogo_async.common.command import CommandResult
from rogo_async.common.errors import FailureCode, LockHeld, RowError, SetupError
from rogo_async.common.logging import LogFile, configure, error_facts, format_for
from rogo_async.common.settings import Settings, load_settings
from rogo_async.common.shutdown import ExitCode, end_on_signal
from rogo_async.common.streams import can_move_cursor, print_lines
from rogo_async.pipeline.selection import Selection
from rogo_async.rules.identity import parse_attempt_id

_LEVEL: Final = "rogo_async.log_level"
_ENV_FILE: Final = "rogo_async.env_file"
Work = Callable[[Settings, Console | None], Coroutine[Any, Any, CommandResult]]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended.

    ``lines`` is the summary line if it ``has_result``, otherwise says what went wrong. ``given``
    are the settings from the command line.
    """

    given: Mapping[str, object]
    code: ExitCode
    lines: Sequence[str]
    has_result: bool


def ignore(_: Ending) -> None:
    """For a command that keeps no record of its starts."""


async def notify_no_one(_: Ending) -> None:
    """For a command without receivers."""


data_dir_option = click.option(
    "--data-dir",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Data directory  [default: ROGO_DATA_DIR, or here].",
)


class AttemptId(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """An Attempt ID (rule 1)."""

    name = "attempt"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """The attempt; fails with the reason."""
        try:
            return parse_attempt_id(str(value))
        except RowError as error:
            self.fail(error.message, param, ctx)


def attempt_option(help_text: str) -> Callable[..., Any]:
    """The option that names attempts; it may be repeated."""
    return click.option(
        "--attempt",
        "attempts",
        metavar="ID",
        type=AttemptId(),
        multiple=True,
        help=help_text,
    )


def selection_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select rows; the command receives them as ``selection``."""

    @functools.wraps(command)
    def with_selection(
        limit: int | None,
        attempts: tuple[int, ...],
        input_file: Path | None,
        units: tuple[str, ...],
        assessments: tuple[str, ...],
        codes: tuple[str, ...],
        **others: Any,
    ) -> Any:
        selection = Selection(limit, attempts, input_file, units, assessments, codes)
        return command(selection=selection, **others)

    result: Callable[..., Any] = with_selection
    for option in (
        click.option(
            "--input",
            "input_file",
            metavar="FILE",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Read this file instead, for example a failed-rows file.",
        ),
        click.option(
            "--code",
            "codes",
            metavar="CODE",
            type=click.Choice([code.value for code in FailureCode]),
            multiple=True,
            help="Only attempts that failed so; repeatable.",
        ),
        click.option(
            "--assessment",
            "assessments",
            metavar="ID",
            multiple=True,
            help="Only this Assessment ID; repeatable.",
        ),
        click.option(
            "--unit",
            "units",
            metavar="CODE",
            multiple=True,
            help="Only this Unit Code; repeatable.",
        ),
        attempt_option("Only this attempt; repeatable."),
        click.option(
            "--limit",
            metavar="N",
            type=click.IntRange(min=1),
            help="Only the newest N rows (of those selected).",
        ),
    ):
        result = option(result)
    return result


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


def env_file_option() -> click.Option:
    """The option of every command with settings that names another file than ``.env``."""
    return click.Option(
        ["--env-file"],
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        expose_value=False,
        callback=_set_env_file,
        help="Read settings from FILE, not from .env.",
    )


def _set_env_file(context: click.Context, _option: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.meta[_ENV_FILE] = path


def settings_of_options(data_dir: Path | None, **others: object) -> dict[str, Any]:
    """The settings that the options of the current command give, for ``load_settings``."""
    given = dict(others)
    if data_dir is not None:
        given["rogo_data_dir"] = data_dir
    if (env_file := given_env_file()) is not None:
        given["_env_file"] = env_file
    return given


def given_env_file() -> Path | None:
    """The file of ``--env-file`` of the current command."""
    path: Path | None = click.get_current_context().meta.get(_ENV_FILE)
    return path


def is_quiet() -> bool:
    """Whether the current command has ``--quiet``."""
    return bool(click.get_current_context().meta.get(_LEVEL) == logging.WARNING)


def _set_level(context: click.Context, _option: click.Parameter, level: int | None) -> None:
    if level is not None:
        context.meta[_LEVEL] = level


def run_and_exit(
    work: Work,
    data_dir: Path | None,
    overrides: Mapping[str, object] | None = None,
    load: Callable[..., Settings] = load_settings,
    record: Callable[[Ending], object] = ignore,
    notify: Callable[[Ending], Coroutine[Any, Any, None]] = notify_no_one,
) -> NoReturn:
    """Run a command, print its lines and end the process with its exit code.

    ``work`` receives the settings, and a console if stderr is a terminal. ``overrides`` are
    settings from the command line; ``load`` reads the others. ``record`` is called before the
    lines are printed, ``notify`` after that, in the event loop of ``work``.
    """
    given = settings_of_options(data_dir, **(overrides or {}))
    level = click.get_current_context().meta.get(_LEVEL, logging.INFO)
    # Until the settings are read.
    configure(format_for(sys.stderr, None), colors=False, level=level)
    # Never closed: that would wait for a thread that hangs, such as one of a name resolution.
    runner = asyncio.Runner(loop_factory=_loop_factory())
    ending = _ending_of(lambda: _run(runner, work, load(**given), level), given)
    end_on_signal(ending.code)
    try:
        record(ending)
    except Exception as error:  # noqa: BLE001 - a record must not change the exit code
        structlog.get_logger().warning("the start cannot be recorded", **error_facts(error))
    _print(ending.lines, is_error=not ending.has_result)
    try:
        runner.run(notify(ending))
    except Exception as error:  # noqa: BLE001 - a notification must not change the exit code
        structlog.get_logger().warning("the end cannot be notified", **error_facts(error))
    os._exit(ending.code)


def _ending_of(run: Callable[[], CommandResult], given: Mapping[str, object]) -> Ending:
    code, lines = ExitCode.INTERNAL, ["internal error, see the log"]
    try:
        result = run()
    except SetupError as error:
        code, lines = ExitCode.SETUP, list(error.problems)
    except LockHeld as error:
        code, lines = ExitCode.LOCKED, [str(error)]
    except KeyboardInterrupt:
        code, lines = ExitCode.INTERRUPTED, ["interrupted before the work began"]
    except Exception as error:  # noqa: BLE001 - the last resort
        structlog.get_logger().critical("internal error", **error_facts(error))
    else:
        return Ending(given, result.exit_code, [result.summary_line], has_result=True)
    return Ending(given, code, lines, has_result=False)


def exit_with(code: int, *lines: str, is_error: bool) -> NoReturn:
    """Print lines and end the process. Does not wait for threads that hang in a driver call.

    A result goes to standard output; an error to both standard streams, since cron mails one of
    them and a log file has the other.
    """
    _print(lines, is_error=is_error)
    os._exit(code)


def _print(lines: Sequence[str], *, is_error: bool) -> None:
    print_lines([f"rogo_async: {text}" for text in lines], to_both=is_error)


def _run(runner: asyncio.Runner, work: Work, settings: Settings, level: int) -> CommandResult:
    is_watched = _open_logs(settings, level)
    terminal = Console(stderr=True) if is_watched and level < logging.WARNING else None
    gc.freeze()  # objects that exist now live until the end: the garbage collector can skip them
    return runner.run(work(settings, terminal))


def _open_logs(settings: Settings, level: int) -> bool:
    """Configure the logs. Returns whether stderr can show a bar. Raises SetupError."""
    style = format_for(sys.stderr, settings.rogo_log_format)
    moves_cursor = style == "console" and can_move_cursor(sys.stderr)
    colors = moves_cursor and not os.environ.get("NO_COLOR")
    path = settings.rogo_log_file
    is_stderr = path is not None and _is_standard_error(path)
    file = None if path is None or is_stderr else LogFile(path, settings.rogo_log_max_bytes)
    configure(style, colors=colors, level=level, file=file)
    if is_stderr:
        structlog.get_logger().warning(
            "standard error goes to ROGO_LOG_FILE: its lines are written once, without rotation",
            remedy="redirect standard error to another file, or unset ROGO_LOG_FILE",
        )
    return moves_cursor


def _is_standard_error(path: Path) -> bool:
    """Whether standard error is redirected to this file. Its lines would be there twice."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stderr.fileno()))
    except (OSError, ValueError):
        return False


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of uvloop where it is installed, otherwise asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 - not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop
