"""Logs on the standard error: readable on a terminal, one JSON object a line elsewhere (SPEC §4)."""

import sys
from typing import Any, Final, Literal

import orjson
import structlog

LEVEL_INFO: Final = 20


class _Stderr:
    """The standard error of the moment: a live display may stand in for it."""

    def write(self, text: str) -> int:
        """Write through."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Flush through."""
        sys.stderr.flush()


def format_for(
    stream: Any, chosen: Literal["console", "json"] | None
) -> Literal["console", "json"]:
    """The chosen format, else console on a terminal and JSON elsewhere."""
    return chosen or ("console" if stream.isatty() else "json")


def configure(style: Literal["console", "json"], colors: bool = False) -> None:
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


def _json(event: Any, **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
