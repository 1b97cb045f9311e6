"""Log lines for people: short, and wrapped at the width of the terminal."""

import os
import textwrap
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Final

import click

_STDERR: Final = 2
_USUAL_WIDTH: Final = 80
_LEVEL_STYLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "debug": {"fg": "blue"},
    "info": {"fg": "green"},
    "warning": {"fg": "yellow"},
    "error": {"fg": "red", "bold": True},
    "critical": {"fg": "red", "bold": True},
}
_INDENT: Final = "    "


class ConsoleLines:
    """A structlog renderer: ``01:15:02Z [info] run ended  exit_code=1  migrated=417``.

    The run id is shown once, since all lines of a process have the same. Without a terminal a line
    has its date and is not wrapped. Times are UTC.
    """

    def __init__(self, *, colors: bool) -> None:
        self._colors = colors
        self._run_id: object = None

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        """Return the text of one event."""
        width = terminal_width()
        fields = dict(event)
        timestamp = str(fields.pop("timestamp", ""))
        time = timestamp[11 if width else 0 : 19] + "Z"
        level, text = str(fields.pop("level", "")), _printable(str(fields.pop("event", "")))
        traceback = fields.pop("traceback", None)
        run_id = fields.get("run_id")
        if run_id is not None and run_id == self._run_id:
            del fields["run_id"]
        self._run_id = run_id or self._run_id
        start = f"{time} [{level}] "
        first, *others = _wrapped(f"{start}{text}", width)
        shown_level = self._styled(level, **_LEVEL_STYLES.get(level, {}))
        lines = [f"{time} [{shown_level}] {self._styled(first[len(start) :], bold=True)}"]
        lines += [self._styled(each, bold=True) for each in others]
        lines = self._with_fields(lines, len(others[-1] if others else first), fields, width)
        if traceback is not None:
            lines += [_printable(each) for each in str(traceback).splitlines()]
        return "\n".join(lines)

    def _with_fields(
        self, lines: list[str], used: int, fields: Mapping[str, Any], width: int | None
    ) -> list[str]:
        """Append each field to the last line; to a new line if it does not fit."""
        for key, value in fields.items():
            if (text := readable(value)) is None:
                continue
            plain = f"{key}={text}"
            if width is None or used + 2 + len(plain) <= width:
                lines[-1] += f"  {self._field(key, plain)}"
                used += 2 + len(plain)
                continue
            first, *others = _wrapped(f"{_INDENT}{plain}", width)
            lines += [_INDENT + self._field(key, first[len(_INDENT) :]), *others]
            used = len(lines[-1] if others else first)
        return lines

    def _field(self, key: str, plain: str) -> str:
        return self._styled(key, fg="cyan") + plain[len(key) :]

    def _styled(self, text: str, **style: Any) -> str:
        return click.style(text, **style) if self._colors and text else text


def readable(value: object) -> str | None:
    """The text of a field; None for nothing, and for an empty collection.

    A mapping becomes ``(email_missing 2, report_missing 1)``.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        items = [f"{_printable(str(k))} {readable(v) or '-'}" for k, v in value.items()]
        return f"({', '.join(items)})" if items else None
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return f"({', '.join(readable(each) or '-' for each in value)})" if value else None
    text = str(value)
    return text if text.isprintable() and text and not set(text) & set(" '\"=") else repr(text)


def terminal_width() -> int | None:
    """The columns of the terminal on standard error, or None if it is none."""
    try:
        return os.get_terminal_size(_STDERR).columns or _USUAL_WIDTH
    except OSError:
        return None


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None:
        return [text]
    return textwrap.wrap(
        text,
        max(width, 2 * len(_INDENT)),
        subsequent_indent=_INDENT,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
