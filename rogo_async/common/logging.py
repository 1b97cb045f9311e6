"""Logs on the standard error: text on a terminal, otherwise one JSON object per line.

An optional log file has the same lines as JSON. A line that cannot be written, because the disk
is full or a pipe is closed, is dropped and never stops a run.
"""

import contextlib
import errno
import io
import json
import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import structlog

from rogo_async.common.console_log import ConsoleLines
from rogo_async.common.errors import SetupError

KEPT_LOG_FILES: Final = 5
_TEMPORARY: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})

Style = Literal["console", "json"]
Event = MutableMapping[str, Any]


class _Stderr:
    """The current ``sys.stderr``, which a live display may replace."""

    def write(self, text: str) -> int:
        """Write the text; drop it on an error."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


class LogFile(RotatingFileHandler):
    """A file of JSON lines, readable by its owner only, rotated to ``name.1`` and so on.

    Raises SetupError if the file cannot be written, except if only the disk is full.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._warned = False
        super().__init__(
            path, maxBytes=max_bytes, backupCount=KEPT_LOG_FILES, encoding="utf-8", delay=True
        )
        try:
            self.stream = self._open()
        except OSError as error:
            if error.errno not in _TEMPORARY:
                raise SetupError(
                    f"ROGO_LOG_FILE: {path} cannot be written ({error.strerror})"
                ) from None

    def write(self, text: str) -> None:
        """Append a line."""
        self.handle(logging.makeLogRecord({"msg": text}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging calls it
        """Log once that lines are dropped."""
        if not self._warned:
            self._warned = True
            error = sys.exc_info()[1]
            structlog.get_logger().warning(
                "cannot write the log file; continuing without it",
                reason=getattr(error, "strerror", None) or type(error).__name__,
            )

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        file = os.fdopen(os.open(self.baseFilename, flags, 0o600), "ab")
        return io.TextIOWrapper(file, self.encoding, "backslashreplace", line_buffering=True)


def format_for(stream: Any, chosen: Style | None) -> Style:
    """The chosen format; by default console on a terminal, otherwise JSON."""
    return chosen or ("console" if stream.isatty() else "json")


def configure(
    style: Style, *, colors: bool, level: int = logging.INFO, file: LogFile | None = None
) -> None:
    """Set up structlog for the process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if file is not None:
        shared.append(_CopyToFile(file))
    last: list[Any] = (
        [ConsoleLines(colors=colors)]
        if style == "console"
        else [structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # _Stderr has all that structlog uses of a text file.
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_LibraryHandler()], force=True)
    logging.captureWarnings(capture=True)


class _CopyToFile:
    """A processor that also writes each event to the log file."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        self._file.write(_json(event))
        return event


class _LibraryHandler(logging.Handler):
    """Logs warnings of libraries without their arguments, which may be personal data."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the message template and the name of the logger."""
        structlog.get_logger().warning(
            "warning from a library", source=record.name, text=str(record.msg).partition("\n")[0]
        )


def _json(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except (TypeError, ValueError):
        # For example a path that is not UTF-8, an integer over 64 bits or a key that is not text.
        return json.dumps(event, default=str)


def error_facts(error: BaseException) -> dict[str, object]:
    """Type and traceback of an exception for the log (invariant 8).

    Without the text of the exception, which may quote a row.
    """
    return {"error": type(error).__name__, "traceback": _traceback(error)}


def _traceback(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            frames += f"{type(each).__name__}:\n{_traceback(each)}"
    return frames
