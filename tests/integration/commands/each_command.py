"""Runs several commands in one interpreter: ``each_command.py RECORD COMMAND…``.

The interpreter starts, and the package is imported, as for one command; then each command is a
forked process. RECORD receives the exit codes as JSON.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from rogo_async.__main__ import run

_main = click.Group.main


def main_of_each(group: click.Group, *args: Any, **named: Any) -> Any:
    """Call ``main`` in a process for each command."""
    record, *commands = sys.argv[1:]
    codes = []
    for command in commands:
        pid = os.fork()
        if not pid:
            sys.argv = ["rogo_async", *command.split()]
            return _main(group, *args, **named)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    Path(record).write_text(json.dumps(codes), encoding="utf-8")
    os._exit(0)


if __name__ == "__main__":
    click.Group.main = main_of_each  # type: ignore[assignment, method-assign]
    run("rogo_async")
