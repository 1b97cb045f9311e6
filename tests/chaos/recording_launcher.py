"""Runs the command and records its connections and the files that it opens for writing.

``python recording_launcher.py RECORD PYTHON -m rogo_async ARGS``: the arguments after
RECORD are the command line that this replaces. Each line of RECORD is a JSON list: kind and object.
"""

import json
import os
import sys
from typing import Any, Final

WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES: Final = frozenset(
    {"os.mkdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.remove", "os.chmod"}
)


def record_to(path: str) -> None:
    """Record from now on, with an audit hook that sees the whole process."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            note("connect", list(args[1]) if isinstance(args[1], tuple) else str(args[1]))
        elif event == "socket.getaddrinfo":
            note("resolve", str(args[0]))
        elif event == "open" and isinstance(args[2], int) and args[2] & WRITING:
            note("write", str(args[0]))
        elif event in CHANGES:
            note("write", os.fsdecode(args[0]) if not isinstance(args[0], int) else args[0])
        elif event in {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"}:
            note("child", [str(arg) for arg in args[:2]])

    def note(kind: str, what: object) -> None:
        os.write(descriptor, json.dumps([kind, what]).encode() + b"\n")

    sys.addaudithook(hook)


if __name__ == "__main__":
    record, _, dash_m, module, *rest = sys.argv[1:]
    assert (dash_m, module) == ("-m", "rogo_async")
    sys.argv = ["rogo_async", *rest]
    from rogo_async.commands.main import main

    record_to(record)
    main()
