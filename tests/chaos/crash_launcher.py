"""Runs the command with one function replaced by one that raises, and quotes its arguments.

``python crash_launcher.py MODULE:NAME PYTHON -m rogo_async ARGS``: the arguments
after the first are the command line that this replaces.
"""

import sys
from importlib import import_module
from typing import Any, NoReturn


def fail(*args: Any, **named: Any) -> NoReturn:
    raise ValueError(f"{args!r} {named!r}")


if __name__ == "__main__":
    where, _, dash_m, package, *rest = sys.argv[1:]
    assert (dash_m, package) == ("-m", "rogo_async")
    sys.argv = ["rogo_async", *rest]
    from rogo_async.commands.main import main

    module, _, name = where.partition(":")
    owner = import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    assert callable(getattr(owner, last))
    setattr(owner, last, fail)
    main()
