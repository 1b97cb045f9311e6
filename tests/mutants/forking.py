"""Commands of the tests as forks of pytest's process, which has the mutant.

The server from which commands are otherwise forked would import the code without the mutant.
"""

import functools
import multiprocessing
import os
import stat
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from mutmut.state import state

from tests.support import forked_command


class CalledFunctions:
    """A plugin of pytest: the functions that commands call count as called by the test.

    mutmut asks only this process which of the functions that it changes a test calls.
    """

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=".called-", dir=Path.cwd()))

    def write(self) -> None:
        """Called in a command at its end."""
        if names := state()._stats:
            (self._directory / str(os.getpid())).write_bytes("\n".join(names).encode())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Add the functions before mutmut reads them."""
        for file in self._directory.iterdir():
            state()._stats.update(file.read_bytes().decode().split("\n"))
            file.unlink()


@functools.cache
def fork_commands() -> CalledFunctions:
    """Let ``start_cli`` fork this process, in which mutmut calls pytest several times."""
    called = CalledFunctions()
    execute, leave = forked_command._execute, os._exit

    def write_and_leave(status: int) -> NoReturn:
        called.write()
        leave(status)

    def execute_here(*arguments: Any) -> None:
        state()._stats.clear()
        os._exit = write_and_leave
        # The other ends of these connections must not stay open through this process. Their numbers
        # stay in use, since objects of pytest's process still refer to them.
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in list(_sockets()):
            os.dup2(nothing, number)
        warnings.simplefilter("ignore")
        args, environment, *others = (getattr(each, "number", each) for each in arguments)
        # A mutant that is taken for an outage would wait a quarter of an hour for its end.
        execute(args, {"ROGO_OUTAGE_LIMIT": "10", **environment}, *others)

    def reap_and_end(command: forked_command.ForkedCommand) -> None:
        command._process.join()  # its pipe closes shortly before it has ended
        end(command)

    end = forked_command.ForkedCommand._on_end
    forked_command.ForkedCommand._on_end = reap_and_end  # type: ignore[assignment,method-assign]
    vars(forked_command)["_FORKING"] = multiprocessing.get_context("fork")
    vars(forked_command)["_execute"] = execute_here
    return called


def _sockets() -> Iterator[int]:
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                yield int(entry.name)
        except OSError:  # the directory itself, which is closed by now
            continue
