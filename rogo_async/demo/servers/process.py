"""Child processes that stop with their parent and run with few permissions."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from rogo_async.common.errors import SetupError
from rogo_async.demo.servers.ports import is_free

KILL_TIMEOUT_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.02


class ServerStartError(SetupError):
    """A server cannot start, stop or run. The message is one line: the problem and the remedy."""


def is_root() -> bool:
    return os.geteuid() == 0


def nobody() -> pwd.struct_passwd:
    """The account for programs that refuse to run as root."""
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ServerStartError(
            "PostgreSQL cannot run as root and there is no user nobody: run as an ordinary user"
        ) from None


def as_nobody(command: Sequence[str]) -> list[str]:
    """For root, the command as run by the user ``nobody``; otherwise the unchanged command.

    Apply it after ``die_with_parent``: the kernel resets that when a process changes its user.
    """
    if not is_root():
        return list(command)
    if shutil.which("setpriv") is None:
        raise ServerStartError(
            "setpriv is missing, so root cannot run a process as user nobody: "
            "apt-get install util-linux, or run as an ordinary user"
        )
    account = nobody()
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [*drop, *command]


def die_with_parent(command: Sequence[str], stop_signal: signal.Signals) -> list[str]:
    """The command, stopped by the kernel with ``stop_signal`` when this process ends or is killed.

    Without setpriv (not on Linux) the unchanged command.
    """
    if shutil.which("setpriv") is None:
        return list(command)
    return ["setpriv", "--pdeathsig", stop_signal.name.removeprefix("SIG"), *command]


def require_free_port(port: int) -> None:
    """Raises ServerStartError when the port is in use."""
    if not is_free(port):
        raise ServerStartError(
            f"port {port} is in use: stop the process that uses it, or use another directory"
        )


class ServerProcess:
    """A server as a child process, in its own session so that Ctrl-C does not reach it.

    ``stop`` sends each signal of ``stop_signals``, with its timeout in seconds, then SIGKILL.
    """

    def __init__(
        self, name: str, log_path: Path, stop_signals: Sequence[tuple[signal.Signals, float]]
    ) -> None:
        self.name = name
        self._log_path = log_path
        self._stop_signals = stop_signals
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Raises ServerStartError when the server is not running."""
        if self._process is None or self._process.returncode is not None:
            raise ServerStartError(f"{self.name} is not running: start it first")
        return self._process.pid

    async def start(
        self,
        command: Sequence[str],
        *,
        ready: Callable[[], Awaitable[bool]],
        timeout_s: float,
        cwd: Path,
        env: Mapping[str, str],
    ) -> None:
        """Starts the server and waits until ``ready`` returns true.

        Raises ServerStartError when it exits or is not ready in time; then it is not running.
        """
        with _private_log(self._log_path) as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(timeout_s):
                await self._wait_until_ready(ready, self._process)
        except TimeoutError:
            await self.stop()
            raise ServerStartError(
                f"{self.name} was not ready after {timeout_s:g} s: see {self._log_path}"
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def _wait_until_ready(
        self, ready: Callable[[], Awaitable[bool]], process: asyncio.subprocess.Process
    ) -> None:
        while not await ready():
            if process.returncode is not None:
                raise ServerStartError(
                    f"{self.name} exited with code {process.returncode} at start: "
                    f"{self._last_log_line()}"
                )
            await asyncio.sleep(POLL_INTERVAL_S)

    def _last_log_line(self) -> str:
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").split("\n")
        messages = [line.strip() for line in lines if line.strip()]
        return f"{messages[-1] if messages else 'no output'} (log: {self._log_path})"

    async def stop(self) -> None:
        """Stops the server if it is running; kills it if that takes too long."""
        process, self._process = self._process, None
        if process is None:
            return
        for stop_signal, timeout_s in (*self._stop_signals, (signal.SIGKILL, KILL_TIMEOUT_S)):
            if process.returncode is not None:
                return
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), timeout_s)
                return
        raise ServerStartError(
            f"{self.name} (process {process.pid}) cannot be stopped: restart the machine"
        )


@contextlib.asynccontextmanager
async def _killed_at_exit(
    process: asyncio.subprocess.Process,
) -> AsyncIterator[asyncio.subprocess.Process]:
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def run_command(
    command: Sequence[str], *, timeout_s: float, cwd: Path, env: Mapping[str, str]
) -> tuple[int, str]:
    """Runs a command; returns its exit code and its output.

    After ``timeout_s`` it is killed with its children, and ServerStartError is raised.
    """
    started = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    async with _killed_at_exit(started) as process:
        try:
            output, _ = await asyncio.wait_for(process.communicate(), timeout_s)
        except TimeoutError:
            raise ServerStartError(
                f"{command[0]} took more than {timeout_s:g} s: try again"
            ) from None
        return await process.wait(), output.decode("utf-8", errors="replace")


def _private_log(path: Path) -> IO[bytes]:
    """Opens a server's log for appending, readable by the owner only: it may contain data."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def write_private(path: Path, content: bytes) -> None:
    """Writes a file atomically, readable by the owner only."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    unfinished.replace(path)
