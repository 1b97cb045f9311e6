"""Everything that can go wrong, and what each kind of it means for the run.

::

    RogoError
    ├── RowError         permanent: this row fails, with a stable code
    ├── RowSkip          this row is not to be migrated, with a stable code
    ├── SetupError       found wrong at start, and certain: exit 2
    ├── LockHeld         another run owns the target or the data directory: exit 4
    ├── DataDirFull      the data directory cannot be written: exit 3
    ├── InputChanged     an input file changed while it was read: exit 3
    ├── RunStopped       the run is ending; the row in hand is not reached
    └── DependencyError  a server's answer, or its silence
        ├── TransientError   the same call may succeed in a moment: retry with backoff
        ├── AmbiguousError   nobody knows whether it happened: repeat what may be repeated
        └── SystemicError    no row's fault (credentials, a missing table): pause everyone

The table that sorts a server's answer into the last three is ``classify``; the modules that
own a library turn its exceptions into these and nobody above them sees the library's.
"""

import os
import socket
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final


class Dependency(StrEnum):
    """The servers that a run depends on."""

    TARGET = "target"
    WAREHOUSE = "warehouse"
    SOURCE = "source"
    STORE = "store"


class FailureCode(StrEnum):
    """Why a row failed (specification §3). The values are stable: operators search for them."""

    ROW_MALFORMED = "row_malformed"
    ATTEMPT_ID_MISSING = "attempt_id_missing"
    ATTEMPT_ID_INVALID = "attempt_id_invalid"
    TARGET_INCOMPLETE = "target_incomplete"
    MAPPING_MISSING = "mapping_missing"
    VERSION_MISSING = "version_missing"
    SUBMISSION_TEXT_MISSING = "submission_text_missing"
    ATTEMPT_NUMBER_MISSING = "attempt_number_missing"
    EMAIL_MISSING = "email_missing"
    REPORT_MISSING = "report_missing"
    REPORT_AMBIGUOUS = "report_ambiguous"
    REPORT_FIELD_MISSING = "report_field_missing"
    SCORE_FIELD_MISSING = "score_field_missing"
    EXERCISE_INVALID = "exercise_invalid"
    ASSESSMENT_MISSING = "assessment_missing"
    ASSESSMENT_AMBIGUOUS = "assessment_ambiguous"
    SECTION_MISSING = "section_missing"
    SECTION_AMBIGUOUS = "section_ambiguous"
    GRADE_MISSED = "grade_missed"
    MALPRACTICE_LEVEL_MISSING = "malpractice_level_missing"
    FILES_MISSING = "files_missing"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    SOURCE_FILE_MISSING = "source_file_missing"
    SOURCE_FORBIDDEN = "source_forbidden"
    SOURCE_REFUSED = "source_refused"
    FILE_CORRUPT = "file_corrupt"
    TARGET_REFUSED = "target_refused"
    TARGET_CONFLICT = "target_conflict"


class SkipCode(StrEnum):
    """Why a row was skipped (specification §3)."""

    DUPLICATE_ROW = "duplicate_row"
    ALREADY_MIGRATED = "already_migrated"
    VERSION_EXCLUDED = "version_excluded"


class RogoError(Exception):
    """The root of this package's exceptions."""


class RowError(RogoError):
    """A permanent fault of one row.

    ``message`` says what was found. It may quote the row, so it belongs into the failed-rows
    file and never into a log; ``code`` may be logged.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message


class RowSkip(RogoError):
    """The row needs no migration; ``message`` is under the same rule as a RowError's."""

    def __init__(self, code: SkipCode, message: str) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message


class SetupError(RogoError):
    """Settings or set-up found wrong at start. Each problem is one line with its remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class LockHeld(RogoError):
    """Another run holds the lock. The text says which lock and since when."""


class DataDirFull(RogoError):
    """A file of the data directory cannot be written. The text says which and why."""


class InputChanged(RogoError):
    """An input file is no longer the one that the run began with."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} changed while it was read. Let its export finish, then run again")


class RunStopped(RogoError):
    """The run is ending: whoever waits gives up, the row in hand counts as not reached."""


class DependencyError(RogoError):
    """A server did not do what was asked. The text is fit for a log: no values, no secrets."""

    def __init__(self, dependency: Dependency, operation: str, reason: str) -> None:
        super().__init__(f"{dependency.value} {operation}: {reason}")
        self.dependency = dependency
        self.operation = operation
        self.reason = reason


REFUSALS_ARE_SYSTEMIC: Final = 10
"""So many refusals in a row by one host are not the rows' fault (rule 14)."""


@dataclass(slots=True)
class RefusalStreak:
    """Refusals (401, 403) in a row by one host, with no file served between them."""

    count: int = 0
    is_over: bool = False
    """The host has served a file since."""

    @property
    def is_systemic(self) -> bool:
        """Whether the credentials are at fault, not the rows."""
        return self.count >= REFUSALS_ARE_SYSTEMIC


class SourceForbidden(RowError):
    """A source refused access (401, 403). ``streak`` tells whether that is the row's own fault."""

    def __init__(self, origin: str, status: int, streak: RefusalStreak) -> None:
        super().__init__(FailureCode.SOURCE_FORBIDDEN, f"{origin} answered {status}")
        self.origin = origin
        self.streak = streak


INCONCLUSIVE: Final = (SourceForbidden, RunStopped)
"""Errors of a call that do not prove that the server is up."""


class TransientError(DependencyError):
    """The same call may succeed later, at the earliest in ``retry_after_s`` seconds."""

    def __init__(
        self, dependency: Dependency, operation: str, reason: str, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(dependency, operation, reason)
        self.retry_after_s = retry_after_s


class AmbiguousError(DependencyError):
    """The reply was lost. Only repeating an idempotent call can tell what happened."""


class SystemicError(DependencyError):
    """Not the row's fault and not gone in a moment: wrong credentials, a missing table."""


def reason_of(error: BaseException) -> str:
    """Why a connection failed, in words fit for a log: neither addresses nor a server's text."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(getattr(error, "os_error", error), socket.gaierror):
        return "the host's name cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return f"the connection failed ({os.strerror(error.errno)})"
    return f"the connection failed ({type(error).__name__})"
