"""The exceptions of the package, and their effect on a run.

::

    RogoError
    ├── RowError         permanent error: the row fails, with a stable code
    ├── RowSkip          the row needs no migration and is skipped, with a stable code
    ├── SetupError       invalid configuration, found at start: exit 2
    ├── LockHeld         another run holds the lock of the target or data directory: exit 4
    ├── DataDirFull      the data directory cannot be written: exit 3
    ├── InputChanged     an input file changed while it was read: exit 3
    ├── RunStopped       the run is stopping; the current row is not processed
    └── DependencyError  a server returned an error, or did not answer
        ├── TransientError   the same call may succeed later: retry with backoff
        ├── AmbiguousError   the reply was lost: repeat the call if it is idempotent
        └── SystemicError    affects all rows (credentials, a full disk): pause all calls
            └── RefusedError     the server refuses the statement itself (a missing column)

``error_classes`` assigns the errors of servers to the last three classes. Each module that uses a
client library converts the library's exceptions to these; no other module handles them.
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
    CHANGED_ON_PLATFORM = "changed_on_platform"
    FILES_CHANGED = "files_changed"


class RogoError(Exception):
    """The base of this package's exceptions."""


class RowError(RogoError):
    """A permanent error of one row.

    ``message`` may quote the row: write it to the failed-rows file, never to a log. ``code`` may
    be logged.
    """

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message


class RowSkip(RogoError):
    """The row needs no migration. As in a RowError, ``message`` must not be logged."""

    def __init__(self, code: SkipCode, message: str) -> None:
        super().__init__(code.value)
        self.code = code
        self.message = message


class SetupError(RogoError):
    """Invalid configuration, found at start. Each problem is one line with its remedy."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class LockHeld(RogoError):
    """Another run holds the lock. The text names the lock, its holder and the start time."""


class DataDirFull(RogoError):
    """A file of the data directory cannot be written. The text names the file and the cause."""


class InputChanged(RogoError):
    """An input file changed while it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} changed while it was read. Wait until its export has finished, then run again"
        )


class RunStopped(RogoError):
    """The run is stopping: waits end, and the current row counts as not processed."""


class DependencyError(RogoError):
    """A request to a server failed. The text may be logged: it has no values and no secrets."""

    def __init__(self, dependency: Dependency, operation: str, reason: str) -> None:
        super().__init__(f"{dependency.value} {operation}: {reason}")
        self.dependency = dependency
        self.operation = operation
        self.reason = reason


REFUSALS_ARE_SYSTEMIC: Final = 10
"""This many refusals in a row by one host mean wrong credentials, not bad rows (rule 14)."""


@dataclass(slots=True)
class RefusalStreak:
    """Consecutive refusals of access by one host, with no served file between them."""

    count: int = 0
    is_over: bool = False
    """Whether the host has served a file since."""

    @property
    def is_systemic(self) -> bool:
        """Whether the cause is the credentials, not the rows."""
        return self.count >= REFUSALS_ARE_SYSTEMIC


class SourceForbidden(RowError):
    """A source refused access. ``streak``: is the row wrong, or are the credentials?"""

    def __init__(self, origin: str, text: str, streak: RefusalStreak) -> None:
        super().__init__(FailureCode.SOURCE_FORBIDDEN, text)
        self.origin = origin
        self.streak = streak


class CopyUnanswered(RogoError):
    """A request to copy a blob was not answered, several times, or not sent. Stream the file."""


class BlocksDiscarded(RogoError):
    """The store no longer has the blocks of a file: send all of them again."""


INCONCLUSIVE: Final = (SourceForbidden, CopyUnanswered, RunStopped)
"""Errors of a call that do not prove that the server is up."""


class TransientError(DependencyError):
    """The same call may succeed later, after at least ``retry_after_s`` seconds."""

    def __init__(
        self, dependency: Dependency, operation: str, reason: str, retry_after_s: float = 0.0
    ) -> None:
        super().__init__(dependency, operation, reason)
        self.retry_after_s = retry_after_s


class AmbiguousError(DependencyError):
    """The reply was lost. Repeat an idempotent call to find out whether it succeeded."""


class SystemicError(DependencyError):
    """An error that affects all rows and lasts: wrong credentials, a full disk."""


class RefusedError(SystemicError):
    """The server refuses a statement, whatever its values: a missing column, a missing right.

    Waiting hardly ever helps, so the run ends soon instead of after ROGO_OUTAGE_LIMIT.
    """


def reason_of(error: BaseException) -> str:
    """The reason of a failed connection for the log, without addresses and the server's text."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(getattr(error, "os_error", error), socket.gaierror):
        return "the host name cannot be resolved"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return f"the connection failed ({os.strerror(error.errno)})"
    return f"the connection failed ({type(error).__name__})"
