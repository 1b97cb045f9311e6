"""Commands that are forked from a process in which the package is already imported.

Importing it takes a second of CPU time, and the tests run more than a thousand commands. All else
is as in a new interpreter: environment, working directory, standard streams, signals, exit code.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from functools import partial
from multiprocessing.reduction import DupFd
from typing import Any, Final

from aiohttp import connector

# Each worker of pytest has one server, which ends with it.
_FORKING: Final = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(["rogo_async.commands.main", "uvloop", "tests.support.preloaded"])


class _Descriptor:
    """A file descriptor that the child receives as a number of its own."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.number),)


def _received(duplicate: Any) -> int:
    number: int = duplicate.detach()
    return number


class ForkedCommand:
    """A command as a process, with the attributes of asyncio's Process that tests use."""

    def __init__(
        self, args: tuple[str, ...], environment: dict[str, str], umask: int, limit: int
    ) -> None:
        self._args = args
        self._environment = environment
        self._umask = umask
        self.stdout, self.stderr = (asyncio.StreamReader(limit) for _ in range(2))

    async def start(self) -> None:
        """Start the command."""
        loop = asyncio.get_running_loop()
        outputs = []
        for reader in (self.stdout, self.stderr):
            mine, of_command = os.pipe()
            outputs.append(of_command)
            await loop.connect_read_pipe(
                partial(asyncio.StreamReaderProtocol, reader), os.fdopen(mine, "rb")
            )
        self._process = _FORKING.Process(
            target=_execute,
            args=(self._args, self._environment, self._umask, *map(_Descriptor, outputs)),
            name="rogo_async",
        )
        self._process.start()
        for number in outputs:
            os.close(number)
        self._ended = loop.create_future()
        loop.add_reader(self._process.sentinel, self._on_end)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    async def wait(self) -> int:
        """Wait until it exits, and return its exit code."""
        await asyncio.shield(self._ended)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it if it still runs."""
        self.send_signal(signal.SIGKILL)

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._ended.set_result(None)


def _execute(
    args: tuple[str, ...], environment: dict[str, str], umask: int, stdout: int, stderr: int
) -> None:
    """Become the command, in the forked process."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(
        2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    if umask >= 0:
        os.umask(umask)
    if any(name.startswith("SSL_CERT_") for name in environment):
        # As at the import of aiohttp. azure-identity requests tokens with this context.
        connector._SSL_CONTEXT_VERIFIED = connector._make_ssl_context(verified=True)
    if "ROGO_DATA_DIR" in environment:
        os.chdir(environment["ROGO_DATA_DIR"])
    sys.argv = ["rogo_async", *args]
    from rogo_async.__main__ import run

    run("rogo_async")
