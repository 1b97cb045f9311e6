"""Rules 4 to 7: the mapping row of an attempt, its attempt number, and the e-mail address."""

import re
from typing import Final

from rogo_async.common.errors import FailureCode, RowError, RowSkip, SkipCode
from rogo_async.common.text import quoted
from rogo_async.rules.identity import SQL_INT_MAX, sql_int
from rogo_async.rules.records import MappingRow, SourceRow, Submission

_ATTEMPT: Final = re.compile("attempt", re.IGNORECASE)
# A minus is a sign only after a space and directly before the digits: `Attempt -2` is minus two,
# `Attempt-2` and `Attempt - 2` are two.
_INTEGER: Final = re.compile(r"(?P<minus>(?<=\s)[-\N{MINUS SIGN}])?(?P<digits>\d+)")


def attempt_number(mapping: MappingRow | None, prefixes: tuple[str, ...]) -> int:
    """Return the attempt number (rules 4, 5, 6).

    Raises RowError mapping_missing, version_missing, submission_text_missing or
    attempt_number_missing, and RowSkip version_excluded.
    """
    if mapping is None:
        raise RowError(FailureCode.MAPPING_MISSING, "no line in the mapping has this Attempt ID")
    if mapping.defect is not None:
        raise RowError(
            FailureCode.MAPPING_MISSING,
            f"the mapping's line for this Attempt ID is malformed ({mapping.defect})",
        )
    version, submission = mapping.version.strip(), mapping.submission.strip()
    if not version:
        raise RowError(FailureCode.VERSION_MISSING, "the mapping's Unit Code Version is empty")
    if not submission:
        raise RowError(FailureCode.SUBMISSION_TEXT_MISSING, "the mapping's Submission is empty")
    if not version.startswith(prefixes):
        raise RowSkip(
            SkipCode.VERSION_EXCLUDED,
            f"version {quoted(version)} does not begin with any of {', '.join(prefixes)}",
        )
    number = _number_after_attempt(submission)
    if not number:
        raise RowError(
            FailureCode.ATTEMPT_NUMBER_MISSING,
            f"Submission {quoted(submission)} has no number from 1 to {SQL_INT_MAX} "
            "after the word Attempt",
        )
    return number


def complete_row(
    row: SourceRow, attempt: int, mapping: MappingRow | None, prefixes: tuple[str, ...]
) -> Submission:
    """Apply rules 4 to 7. Raises RowError and RowSkip."""
    number = attempt_number(mapping, prefixes)
    require_email(row)
    return Submission(row, attempt, number, mapping.version if mapping else "")


def require_email(row: SourceRow) -> None:
    """Check rule 7. Raises RowError email_missing."""
    if not row.email.strip():
        raise RowError(FailureCode.EMAIL_MISSING, "Learner Email is empty")


def _number_after_attempt(submission: str) -> int | None:
    """Read the first integer after the first whole word Attempt; None if it is not a SQL int."""
    for word in _ATTEMPT.finditer(submission):
        start, end = word.span()
        if submission[start - 1 : start].isalpha() or submission[end : end + 1].isalpha():
            continue
        integer = _INTEGER.search(submission, end)
        # Digits of other scripts are neither read nor skipped: a later number would
        # mean something else.
        if integer is None or integer["minus"] or not integer["digits"].isascii():
            return None
        return sql_int(integer["digits"])
    return None
