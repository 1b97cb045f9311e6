"""``sweep``: what a crash has left in the container (SPEC §5)."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from rogo_async.commands.frame import data_dir_option, operate
from rogo_async.sweep import Sweep

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE: Final = re.compile(r"(\d{1,6})([smhd]?)")


class Age(click.ParamType):  # type: ignore[type-arg] # not generic in every version of click
    """A length of time such as ``30m``, ``24h`` or ``7d``; ``0`` is any age."""

    name = "age"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        """The length of time; fails with what would be right."""
        match = _AGE.fullmatch(str(value))
        if match is None or (int(match[1]) and not match[2]):
            self.fail(f"{value!r} is not of the form 90s, 30m, 24h, 7d or 0", param, ctx)
        return timedelta(**{_UNITS[match[2] or "s"]: int(match[1])})


@click.command()
@click.option("--delete", is_flag=True, help="Delete what is found; without it, it is only listed.")
@click.option(
    "--min-age",
    type=Age(),
    default="24h",
    show_default=True,
    help="Leave younger blobs alone: 90s, 30m, 24h, 7d; 0 for none.",
)
@data_dir_option
def sweep(min_age: timedelta, data_dir: Path | None, *, delete: bool) -> None:
    """Find blobs of this tool that no row of the target refers to.

    They are listed here and, with their names, in runs/. Exit code 1 says that some are left.
    """
    operate(lambda settings, _: Sweep(settings, click.echo, delete, min_age).execute(), data_dir)
