"""The two stages of a run: mutmut with the nearest tests, then further tests for survivors."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import IO, Final

import click

from rogo_async.demo.servers.process import die_with_parent
from tests.mutants.packages import Equivalent
from tests.mutants.plugin import STACK_FILE
from tests.mutants.results import (
    FurtherResults,
    Result,
    count,
    forget_interrupted,
    forget_survivors,
    survivors,
)
from tests.mutants.workspace import Workspace

# A job that a shell starts in the background ignores SIGINT until it sets a handler.
_MUTMUT: Final = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from mutmut.__main__ import cli; cli()"
)
_STOP_S: Final = 60.0
_TIMEOUT_FACTOR: Final = 8
_TIMEOUT_EXTRA_S: Final = 60.0
_REPORT_EVERY_S: Final = 60.0


class Run:
    """Tests the mutants of one package until all are tested or the time is over."""

    def __init__(
        self,
        workspace: Workspace,
        equivalents: Sequence[Equivalent],
        minutes: float,
        processes: int,
        *,
        report: Callable[[str], None],
    ) -> None:
        self._workspace = workspace
        self._package = workspace.package
        self._equivalents = equivalents
        self._deadline = time.monotonic() + minutes * 60
        self._processes = processes
        self._report = report

    def work(self) -> None:
        """Raises ClickException when tests fail without a mutant."""
        with self._workspace.locked() as lock:
            self._workspace.refresh()
            self._forget_results_of_other_tests()
            with self._servers(lock) as self._environment:
                self._first(lock)
                self._then(lock)

    @contextlib.contextmanager
    def _servers(self, lock: int) -> Iterator[dict[str, str]]:
        """Run the servers that the tests use; their environment."""
        if not self._package.servers:
            yield dict(os.environ)
            return
        described = self._workspace.servers
        described.unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.mutants.servers", str(described)]
        servers = subprocess.Popen(
            die_with_parent(command, signal.SIGTERM),
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[lock],
        )
        try:
            while not described.exists():
                if servers.poll() is not None:
                    raise click.ClickException("the servers do not start")
                time.sleep(0.1)
            yield {**os.environ, STACK_FILE: str(described)}
        finally:
            servers.communicate()

    def _forget_results_of_other_tests(self) -> None:
        digest = self._workspace.digest(self._package.first)
        stored = self._workspace.log.with_name("tests.digest")
        if not stored.exists() or stored.read_text() != digest:
            forget_survivors(self._workspace)
            stored.write_text(digest)
        forget_interrupted(self._workspace)

    def _first(self, lock: int) -> None:
        command = [self._workspace.python, "-c", _MUTMUT, "run"]
        command += ["--max-children", str(self._processes)]
        mutmut = subprocess.Popen(
            die_with_parent(list(map(str, command)), signal.SIGTERM),
            cwd=self._workspace.tree,
            env=self._environment,
            stdout=subprocess.PIPE,  # a test limits the size of files, so no file
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=[lock],
        )
        logging = Thread(target=self._log, args=[mutmut.stdout])
        logging.start()
        try:
            self._wait(mutmut)
        finally:
            _end(mutmut)
            logging.join()
        if mutmut.returncode and self._left() > 0:
            last = self._workspace.log.read_text(errors="replace")[-2000:]
            raise click.ClickException(f"mutmut failed ({self._workspace.log}):\n{last}")

    def _log(self, output: IO[bytes]) -> None:
        with output, self._workspace.log.open("wb") as log:
            shutil.copyfileobj(output, log)

    def _wait(self, mutmut: subprocess.Popen[bytes]) -> None:
        while mutmut.poll() is None and self._left() > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                mutmut.wait(min(_REPORT_EVERY_S, self._left()))
            self._say_counts()

    def _then(self, lock: int) -> None:
        tests = self._package.then
        results = FurtherResults(self._workspace)
        results.begin(self._workspace.digest(tests))
        left = [
            survivor
            for survivor in survivors(self._workspace, self._equivalents)
            if survivor.result is Result.SURVIVED and results.killed(survivor.mutant) is None
        ]
        if not tests or not left or self._left() <= 0:
            return
        self._report(f"{len(left)} survivors for the further tests")
        started = time.monotonic()
        if self._fails(lock, self._left()):
            raise click.ClickException(f"the further tests fail ({self._workspace.log})")
        timeout_s = (time.monotonic() - started) * _TIMEOUT_FACTOR + _TIMEOUT_EXTRA_S
        for survivor in left:
            if self._left() <= 0:
                return
            module = Path(survivor.mutant.module)
            with self._workspace.activated(module, survivor.name):
                killed = self._fails(lock, timeout_s)
            results.record(survivor.mutant, killed=killed)
            self._report(f"{'killed' if killed else 'survived'}: {survivor.mutant}")

    def _fails(self, lock: int, timeout_s: float) -> bool:
        """Whether the further tests fail or do not end in time."""
        command = [self._workspace.python, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "tests.mutants.plugin", *self._package.then]
        with self._workspace.log.open("w") as log:
            pytest = subprocess.Popen(
                die_with_parent(list(map(str, command)), signal.SIGTERM),
                cwd=self._workspace.tree,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock],
            )
            try:
                return pytest.wait(timeout_s) != 0
            except subprocess.TimeoutExpired:
                return True
            finally:
                _end(pytest)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _say_counts(self) -> None:
        found = count(self._workspace, self._equivalents)
        counts = ", ".join(f"{result} {found[result]}" for result in Result)
        self._report(f"{self._package.name}: {counts}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started. It may stop its own processes first."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
