"""Logs on the standard error: readable on a terminal, elsewhere a JSON object a line (SPEC §4)."""

import logging
import sys
from typing import Any, Final, Literal

import orjson
import structlog

LEVEL_INFO: Final = 20

Style = Literal["console", "json"]


class _Stderr:
    """The standard error of the moment: a live display may stand in for it."""

    def write(self, text: str) -> int:
        """Write through."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush through."""
        sys.stderr.flush()


def format_for(stream: Any, chosen: Style | None) -> Style:
    """The chosen format, else console on a terminal and JSON elsewhere."""
    return chosen or ("console" if stream.isatty() else "json")


def configure(style: Style, *, colors: bool) -> None:
    """Set up structlog for the process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(colors=colors)]
        if style == "console"
        else [structlog.processors.JSONRenderer(serializer=_json)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVEL_INFO),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Library()], force=True)
    logging.captureWarnings(capture=True)


class _Library(logging.Handler):
    """Warnings of libraries, without the values they are filled with: these may be anyone's."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the bare template and where it comes from."""
        structlog.get_logger().warning(
            "a library warns", source=record.name, text=str(record.msg).partition("\n")[0]
        )


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
