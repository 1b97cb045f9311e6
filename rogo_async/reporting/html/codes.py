"""The meaning and the remedy of each code, read from the tables in docs/codes.md.

``codes.md`` beside this module is a link to that file; an installed package has a copy. Text in
backquotes is a name, which the page sets in a fixed-width font.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

_ROW: Final = re.compile(r"^\| *((?:`\w+`(?:, )?)+) *\|(.*)\|$", re.MULTILINE)


class Advice(NamedTuple):
    """The meaning of a code and its remedy, which is empty for skipped rows."""

    meaning: str
    remedy: str = ""


@cache
def advice() -> Mapping[str, Advice]:
    """The advice by code."""
    text = (files(__package__) / "codes.md").read_text(encoding="utf-8")
    found: dict[str, Advice] = {}
    for codes, rest in _ROW.findall(text):
        cells = [cell.strip() for cell in rest.split("|")]
        for code in re.findall(r"`(\w+)`", codes):
            found[code] = Advice(cells[0], cells[-1] if len(cells) > 1 else "")
    return found
