"""What a check found, and what needs what: a check whose ground is not there is left out."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

from rogo_async.common.errors import (
    AmbiguousError,
    DependencyError,
    RowError,
    SetupError,
    TransientError,
)
from rogo_async.common.logging import error_facts
from rogo_async.common.shutdown import ExitCode

_REMEDY: Final = re.compile(r"\. (?=[A-Z])")
log = structlog.get_logger()


class State(StrEnum):
    """How a check ended. The values are stable."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one look gave. ``away`` says that a server did not answer."""

    state: State
    what: str
    remedy: str = ""
    away: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report. ``name`` is stable: what operators' own tools search for."""

    name: str
    state: State
    what: str
    remedy: str

    @property
    def subject(self) -> str:
        """The first word of the name."""
        return self.name.partition(".")[0]


def ok(what: str) -> Verdict:
    """All is well."""
    return Verdict(State.OK, what)


def warning(what: str, remedy: str) -> Verdict:
    """A run would work, and yet somebody should know."""
    return Verdict(State.WARNING, what, remedy)


def fail(what: str, remedy: str) -> Verdict:
    """A run would not work, or not rightly."""
    return Verdict(State.FAIL, what, remedy)


def in_thread(look: Callable[[], Verdict]) -> Callable[[], Awaitable[Verdict]]:
    """A look that waits for a disk, made where it holds nobody up."""
    return lambda: asyncio.to_thread(look)


class Needs(Exception):
    """A look that turns out to need what another check found wanting."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Check:
    """A look at one thing, once all that it ``needs`` (names of other checks) stands.

    ``look`` may raise SetupError, RowError and DependencyFaults: they are findings too. ``advice``
    is the remedy where what it raises holds none.
    """

    name: str
    look: Callable[[], Awaitable[Verdict]]
    needs: tuple[str, ...] = ()
    advice: str = "See that the server is well, and check again"


@dataclass(slots=True)
class Findings:
    """All findings so far, by name."""

    faulty: bool = False
    """Whether a check ended in internal error."""
    _found: dict[str, Finding] = field(default_factory=dict)
    _grounds: dict[str, str] = field(default_factory=dict)
    _away: set[str] = field(default_factory=set)

    def add(self, name: str, verdict: Verdict) -> None:
        """Take a verdict in."""
        if verdict.away:
            self._away.add(name)
        self._add(Finding(name, verdict.state, verdict.what, verdict.remedy))

    def skip(self, name: str, on: str) -> None:
        """Note that ``name`` was left out because of ``on``, or of the cause of that."""
        self._grounds[name] = ground = self._grounds.get(on, on)
        what = f"{name.partition('.')[2]} was not looked at: it needs {ground}"
        self._add(Finding(name, State.SKIPPED, what, ""))

    def stands(self, name: str) -> bool:
        """Whether a check that has been made found nothing wrong."""
        return self._found[name].state in {State.OK, State.WARNING}

    def is_warned_of(self, name: str) -> bool:
        """Whether a check that has been made gave a warning."""
        return self._found[name].state is State.WARNING

    def count(self, state: State) -> int:
        """How many ended so."""
        return sum(finding.state is state for finding in self._found.values())

    def of(self, *subjects: str) -> list[Finding]:
        """Those of some subjects, in the order in which they came."""
        return [finding for finding in self._found.values() if finding.subject in subjects]

    def exit_code(self, *, settings_readable: bool) -> ExitCode:
        """70, then 2 for settings that no command can begin with, 3, 1, 0."""
        if self.faulty:
            return ExitCode.INTERNAL
        if not settings_readable:
            return ExitCode.SETUP
        if self._away:
            return ExitCode.STOPPED_EARLY
        return ExitCode.SOME_FAILED if self.count(State.FAIL) else ExitCode.DONE

    async def carry_out(self, checks: Sequence[Check]) -> None:
        """Make the checks of one server, in their order. After one that it did not answer, the
        rest are left out: each would wait as long.
        """
        silent: str | None = None
        for check in checks:
            blocked = next((n for n in check.needs if not self.stands(n)), silent)
            if blocked is not None:
                self.skip(check.name, blocked)
                continue
            try:
                verdict = await self._look(check)
            except Needs as needed:
                self.skip(check.name, needed.name)
                continue
            if verdict.away:
                silent = check.name
            self.add(check.name, verdict)

    async def _look(self, check: Check) -> Verdict:
        try:
            return await check.look()
        except Needs:
            raise
        except (SetupError, RowError, DependencyError) as fault:
            return verdict_of(fault, check.advice)
        except OSError as error:
            return fail(
                f"the system refuses ({error.strerror or type(error).__name__})", check.advice
            )
        except Exception as error:  # noqa: BLE001 - the other checks go on
            log.critical("internal error", check=check.name, **error_facts(error))
            self.faulty = True
            return fail("this check has a fault of its own", "See the log, and report it")

    def _add(self, finding: Finding) -> None:
        self._found[finding.name] = finding


def verdict_of(fault: SetupError | RowError | DependencyError, advice: str) -> Verdict:
    """What an exception tells, with its own remedy if it holds one."""
    away = isinstance(fault, TransientError | AmbiguousError)
    if isinstance(fault, SetupError):
        text = "; ".join(fault.problems)
    else:
        text = fault.reason if isinstance(fault, DependencyError) else fault.message
    what, remedy = told(text)
    return Verdict(State.FAIL, what, remedy or advice, away)


def told(text: str) -> tuple[str, str]:
    """What is wrong and what to do, of a text such as ``No such file. Put it there``."""
    what, *rest = _REMEDY.split(text, maxsplit=1)
    return what, rest[0] if rest else ""
