"""Reads ``.env`` so that a value means the same as with Docker and systemd (specification §4)."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dotenv.parser import Binding, parse_stream
from pydantic_settings import DotEnvSettingsSource

from rogo_async.common.errors import SetupError

ENV_FILE: Final = ".env"
_QUOTES: Final = ("'", '"')
_QUOTED: Final = re.compile(r"""(["']).*\1(\s+#.*)?""", re.DOTALL)
"""A value in quotes, with or without a comment after it, as Docker passes it on."""


class EnvFile(DotEnvSettingsSource):
    """The lines ``NAME=value`` of ``.env``.

    python-dotenv alone would replace ``${NAME}`` and skip lines that it cannot read. Raises
    SetupError for such lines.
    """

    def _read_env_file(self, file_path: Path) -> Mapping[str, str | None]:
        with file_path.open(encoding="utf-8-sig") as file:
            lines = list(parse_stream(file))
        problems = [problem for line in lines for problem in _problems(line)]
        if problems:
            raise SetupError(f"{file_path}: {'; '.join(problems)}")
        return {line.key.lower(): line.value for line in lines if line.key and line.value}


def check_value(value: Any, *, is_path: bool) -> Any:
    """A value of a setting without blanks around it, if every reader takes it as it is.

    A path may have any bytes.

    Docker keeps quotes that .env and systemd remove. A value in quotes is refused and not
    unquoted: launch ids are made from the instance id, so it must not change unnoticed. Raises
    ValueError.
    """
    text = ",".join(value) if isinstance(value, tuple) else value
    if not isinstance(text, str):
        return value
    text = text.strip()
    if _QUOTED.fullmatch(text):
        raise ValueError("is in quotes that would be part of the value: write it without quotes")
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("contains a line break or another control character")
    if not is_path and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains bytes that are not UTF-8")
    return text if isinstance(value, str) else value


def _problems(line: Binding) -> Iterator[str]:
    text = line.original.string
    # The parser gives a line the number of the blank lines before it.
    number = line.original.line + text[: len(text) - len(text.lstrip())].count("\n")
    if line.error:
        yield f"line {number} is not NAME=value, or its quotes are wrong"
    elif line.key and line.value is None:
        yield f"line {number} has no value: write {_shown(line.key)}=value, or remove the line"
    elif line.key and line.value is not None and _has_comment(text, line.value):
        yield (
            f"line {number} has a comment after the value of {_shown(line.key)}, which Docker and "
            "systemd take as part of the value: move it to its own line, or put the whole value in "
            "single quotes if the # belongs to it"
        )


def _shown(name: str) -> str:
    """The name of a setting. Other text may be the second half of a secret."""
    return name if name.startswith(("ROGO_", "AZURE_", "DATA_", "DATABASE_")) else "NAME"


def _has_comment(text: str, value: str) -> bool:
    written = text.partition("=")[2].strip()
    return not written.startswith(_QUOTES) and written != value
