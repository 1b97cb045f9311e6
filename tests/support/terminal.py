"""A command on a terminal of its own."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


async def on_terminal(
    env: Mapping[str, str], cwd: Path, *prefix: str, args: Sequence[str] = ()
) -> tuple[asyncio.subprocess.Process, int]:
    """A command in its own session on a new terminal, and the terminal's other end."""
    controller, terminal = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", "--wait", *prefix, sys.executable, "-m", "rogo_async", *args),
        env={"PATH": os.environ["PATH"], **env},
        cwd=cwd,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    return process, controller
