"""Checks, results and dependencies: a check is skipped if a check that it needs failed."""

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

_BEFORE_REMEDY: Final = re.compile(r"\. (?=[A-Z])")
log = structlog.get_logger()


class CheckStatus(StrEnum):
    """How a check ended. The values are stable."""

    OK = "ok"
    WARNING = "warning"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check. ``unreachable``: a server did not answer."""

    status: CheckStatus
    message: str
    remedy: str = ""
    unreachable: bool = False


def ok(message: str) -> CheckResult:
    """The check passed."""
    return CheckResult(CheckStatus.OK, message)


def warning(message: str, remedy: str) -> CheckResult:
    """A run would work, but the operator should know."""
    return CheckResult(CheckStatus.WARNING, message, remedy)


def fail(message: str, remedy: str) -> CheckResult:
    """A run would fail, or give wrong results."""
    return CheckResult(CheckStatus.FAIL, message, remedy)


@dataclass(frozen=True, slots=True)
class Check:
    """A check that runs when all checks in ``needs`` (by name) have passed.

    ``run`` may raise SetupError, RowError and DependencyError; the check fails then.
    ``default_remedy`` is shown for errors whose text contains no remedy.
    """

    name: str
    run: Callable[[], Awaitable[CheckResult]]
    needs: tuple[str, ...] = ()
    default_remedy: str = "Check the server's own log, then repeat the check"


class SkipCheck(Exception):
    """Raised by a check that cannot run because another check, ``needed``, did not pass."""

    def __init__(self, needed: str) -> None:
        super().__init__(needed)
        self.needed = needed


def in_thread(run: Callable[[], CheckResult]) -> Callable[[], Awaitable[CheckResult]]:
    """Run a check that uses the disk in a thread, so that the other checks continue."""
    return lambda: asyncio.to_thread(run)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """The result of a named check. Names are stable: operators' own tools search for them."""

    name: str
    result: CheckResult

    @property
    def subject(self) -> str:
        """The part of the name before the first dot, such as ``target``."""
        return self.name.partition(".")[0]


@dataclass(slots=True)
class CheckReport:
    """Runs checks and collects their results by name."""

    has_internal_error: bool = False
    """Whether a check ended with an internal error."""
    _lines: dict[str, ReportLine] = field(default_factory=dict)
    _skip_causes: dict[str, str] = field(default_factory=dict)

    async def run(self, checks: Sequence[Check]) -> None:
        """Run the checks of one server in order.

        After the first one without an answer the others are skipped: each would wait as long.
        """
        unreachable: str | None = None
        for check in checks:
            cause = next((name for name in check.needs if not self.passed(name)), unreachable)
            if cause is not None:
                self.skip(check.name, cause)
                continue
            try:
                result = await self._result(check)
            except SkipCheck as skip:
                self.skip(check.name, skip.needed)
                continue
            if result.unreachable:
                unreachable = check.name
            self.add(check.name, result)

    def add(self, name: str, result: CheckResult) -> None:
        """Add a result."""
        self._lines[name] = ReportLine(name, result)

    def skip(self, name: str, cause: str) -> None:
        """Report ``name`` as skipped because of ``cause``, or of the root cause of ``cause``."""
        self._skip_causes[name] = root_cause = self._skip_causes.get(cause, cause)
        message = f"{name.partition('.')[2]} skipped: needs {root_cause}"
        self.add(name, CheckResult(CheckStatus.SKIPPED, message))

    def passed(self, name: str) -> bool:
        """Whether a check ended with ok or a warning."""
        return self._lines[name].result.status in {CheckStatus.OK, CheckStatus.WARNING}

    def has_warning(self, name: str) -> bool:
        """Whether a check ended with a warning."""
        return self._lines[name].result.status is CheckStatus.WARNING

    def total(self) -> int:
        """The number of checks with a result."""
        return len(self._lines)

    def count(self, status: CheckStatus) -> int:
        """The number of checks with this status."""
        return sum(line.result.status is status for line in self._lines.values())

    def lines_of(self, *subjects: str) -> list[ReportLine]:
        """The lines of some subjects, in the order in which the checks ended."""
        return [line for line in self._lines.values() if line.subject in subjects]

    def exit_code(self, *, settings_valid: bool) -> ExitCode:
        """70 for an internal error, else 2 for invalid settings, else 3, 1 or 0."""
        if self.has_internal_error:
            return ExitCode.INTERNAL
        if not settings_valid:
            return ExitCode.SETUP
        if any(line.result.unreachable for line in self._lines.values()):
            return ExitCode.STOPPED_EARLY
        return ExitCode.SOME_FAILED if self.count(CheckStatus.FAIL) else ExitCode.DONE

    async def _result(self, check: Check) -> CheckResult:
        try:
            return await check.run()
        except SkipCheck:
            raise
        except (SetupError, RowError, DependencyError) as error:
            return result_of_error(error, check.default_remedy)
        except OSError as error:
            return fail(
                f"system error ({error.strerror or type(error).__name__})", check.default_remedy
            )
        except Exception as error:  # noqa: BLE001 - the other checks continue
            log.critical("internal error", check=check.name, **error_facts(error))
            self.has_internal_error = True
            return fail("internal error in this check", "See the log, and report it")


def result_of_error(
    error: SetupError | RowError | DependencyError, default_remedy: str
) -> CheckResult:
    """A failed result with the text of an exception, and its remedy if the text has one."""
    if isinstance(error, SetupError):
        text = "; ".join(error.problems)
    else:
        text = error.reason if isinstance(error, DependencyError) else error.message
    message, remedy = split_remedy(text)
    unreachable = isinstance(error, TransientError | AmbiguousError)
    return CheckResult(CheckStatus.FAIL, message, remedy or default_remedy, unreachable)


def split_remedy(text: str) -> tuple[str, str]:
    """Split a text such as ``No such file. Copy it here`` into problem and remedy."""
    message, *rest = _BEFORE_REMEDY.split(text, maxsplit=1)
    return message, rest[0] if rest else ""
