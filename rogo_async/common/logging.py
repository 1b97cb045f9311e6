"""Logs on the standard error: readable on a terminal, elsewhere a JSON object a line.

A log file, if there is one, has the same lines as JSON. No log line is worth a row: what cannot be
written, because the disk is full or the reader of a pipe has gone, is lost and nothing else is.
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

from rogo_async.common.errors import (
    SetupError,
)

KEPT_LOG_FILES: Final = 5
_PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})

Style = Literal["console", "json"]
Event = MutableMapping[str, Any]


class _Stderr:
    """The standard error of the moment: a live display may stand in for it."""

    def write(self, text: str) -> int:
        """Write through, or lose the text."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush through."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


class LogFile(RotatingFileHandler):
    """A file of JSON lines for its owner alone; full, it becomes ``name.1``, and so on.

    Raises SetupError when it certainly cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._warned = False
        super().__init__(
            path, maxBytes=max_bytes, backupCount=KEPT_LOG_FILES, encoding="utf-8", delay=True
        )
        try:
            self.stream = self._open()
        except OSError as error:
            if error.errno not in _PASSING:
                raise SetupError(
                    f"ROGO_LOG_FILE: {path} cannot be written ({error.strerror})"
                ) from None

    def write(self, text: str) -> None:
        """Add a line."""
        self.handle(logging.makeLogRecord({"msg": text}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802
        """Say once that lines get lost."""
        if not self._warned:
            self._warned = True
            error = sys.exc_info()[1]
            structlog.get_logger().warning(
                "the log file cannot be written; the run goes on without",
                reason=getattr(error, "strerror", None) or type(error).__name__,
            )

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        file = os.fdopen(os.open(self.baseFilename, flags, 0o600), "ab")
        return io.TextIOWrapper(file, self.encoding, "backslashreplace", line_buffering=True)


def format_for(stream: Any, chosen: Style | None) -> Style:
    """The chosen format, else console on a terminal and JSON elsewhere."""
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
        shared.append(_Copy(file))
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=colors)]
        if style == "console"
        else [structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Library()], force=True)
    logging.captureWarnings(capture=True)


class _Copy:
    """Puts each event into the log file on its way to the standard error."""

    def __init__(self, file: LogFile) -> None:
        self._file = file

    def __call__(self, _logger: object, _method: str, event: Event) -> Event:
        self._file.write(_json(event))
        return event


class _Library(logging.Handler):
    """Warnings of libraries, without the values they are filled with: these may be anyone's."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the bare template and where it comes from."""
        structlog.get_logger().warning(
            "a library warns", source=record.name, text=str(record.msg).partition("\n")[0]
        )


def _json(event: Any, **_: Any) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except (TypeError, ValueError):
        # A path that is no UTF-8, a number beyond 64 bits, a key that is no text.
        return json.dumps(event, default=str)


def error_facts(error: BaseException) -> dict[str, object]:
    """Type and traceback of an exception for the log, without its text: that may quote a row."""
    return {"error": type(error).__name__, "traceback": _places(error)}


def _places(error: BaseException) -> str:
    places = "".join(traceback.format_tb(error.__traceback__))
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            places += f"{type(each).__name__}:\n{_places(each)}"
    return places
