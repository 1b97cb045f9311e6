"""What each code means and what helps, in the words of docs/codes.md (a test holds them together).

A text in backquotes is a name to be set in a fixed-width type.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.common.shutdown import ExitCode


class Advice(NamedTuple):
    """What a code means, and what to do about its rows."""

    meaning: str
    remedy: str


FAILED: Final[Mapping[FailureCode, Advice]] = {
    FailureCode.ROW_MALFORMED: Advice(
        "the line has more or fewer cells than the header, or cannot be read",
        "mend the line in `submission_files.csv`; its cells may have shifted. In a "
        "failed-rows file, empty its `Error`, too",
    ),
    FailureCode.ATTEMPT_ID_MISSING: Advice(
        "no Attempt ID",
        "fill it in",
    ),
    FailureCode.ATTEMPT_ID_INVALID: Advice(
        "Attempt ID is not a whole number from 1 to 2,147,483,647",
        "correct it",
    ),
    FailureCode.TARGET_INCOMPLETE: Advice(
        "the target has a launch or session record of this attempt, but no submission: "
        "something else broke off",
        "ask the platform's team to remove the left-over record, then run again",
    ),
    FailureCode.MAPPING_MISSING: Advice(
        "`attempt_number_mapping.csv` has no line for the attempt",
        "add the line",
    ),
    FailureCode.VERSION_MISSING: Advice(
        "its Unit Code Version is empty",
        "fill it in",
    ),
    FailureCode.SUBMISSION_TEXT_MISSING: Advice(
        "its Submission is empty",
        "fill it in",
    ),
    FailureCode.ATTEMPT_NUMBER_MISSING: Advice(
        "its Submission has no number from 1 after the word Attempt",
        "correct it, for instance `Attempt 2`",
    ),
    FailureCode.EMAIL_MISSING: Advice(
        "no Learner Email",
        "fill it in",
    ),
    FailureCode.REPORT_MISSING: Advice(
        "the warehouse has no report for the attempt",
        "see whether its export has run; run again then",
    ),
    FailureCode.REPORT_AMBIGUOUS: Advice(
        "the warehouse has several reports for the attempt",
        "have the wrong ones removed",
    ),
    FailureCode.REPORT_FIELD_MISSING: Advice(
        "a needed column of the report is empty or unreadable; the message names it",
        "correct the report in the warehouse",
    ),
    FailureCode.SCORE_FIELD_MISSING: Advice(
        "a score has no label or no value",
        "correct the score in the warehouse",
    ),
    FailureCode.EXERCISE_INVALID: Advice(
        "Exercise has fewer than two words",
        "correct the report",
    ),
    FailureCode.ASSESSMENT_MISSING: Advice(
        "the target has no assessment of that name",
        "create it there, or correct Exercise or the version",
    ),
    FailureCode.ASSESSMENT_AMBIGUOUS: Advice(
        "several assessments match, and not one of them alone is active; the message "
        "lists their codes",
        "deactivate all but the right one",
    ),
    FailureCode.SECTION_MISSING: Advice(
        "no section of the assessment for the labels in the message",
        "add or correct the sections",
    ),
    FailureCode.SECTION_AMBIGUOUS: Advice(
        "a label fits several sections, or two scores the same one",
        "correct sections or labels",
    ),
    FailureCode.GRADE_MISSED: Advice(
        "the grade is Grade Missed",
        "nothing to migrate until it is graded",
    ),
    FailureCode.MALPRACTICE_LEVEL_MISSING: Advice(
        "the grade names no active malpractice level",
        "correct the grade, or activate the level",
    ),
    FailureCode.FILES_MISSING: Advice(
        "the row has no file at all",
        "see whether its files were exported",
    ),
    FailureCode.SOURCE_NOT_ALLOWED: Advice(
        "a file's address is not on `ROGO_SOURCE_HOSTS`",
        "add the host if it is right, else correct the address",
    ),
    FailureCode.SOURCE_FILE_MISSING: Advice(
        "the source answered 404",
        "find the file, or correct the address",
    ),
    FailureCode.SOURCE_FORBIDDEN: Advice(
        "the source answered 401 or 403 for this file",
        "grant access, renew `ROGO_SOURCE_SAS_TOKEN`",
    ),
    FailureCode.SOURCE_REFUSED: Advice(
        "the source refused in another definite way, or redirects to another host",
        "the message has the answer",
    ),
    FailureCode.FILE_CORRUPT: Advice(
        "length or MD5 of the file is not what the source states, each time it was read",
        "put the right file there",
    ),
    FailureCode.TARGET_REFUSED: Advice(
        "the target refuses the content: a NUL character in a text, a number out of range",
        "correct the value; the message has PostgreSQL's SQLSTATE",
    ),
    FailureCode.TARGET_CONFLICT: Advice(
        "a key of another table stands in the way; the message names it",
        "tell the platform's team",
    ),
}

SKIPPED: Final[Mapping[SkipCode, str]] = {
    SkipCode.DUPLICATE_ROW: "a row nearer the end of the file has the same Attempt ID; "
    "that one counts",
    SkipCode.ALREADY_MIGRATED: "the target has a submission of this attempt",
    SkipCode.VERSION_EXCLUDED: "the version begins with none of `ROGO_VERSION_PREFIXES`",
}

ENDINGS: Final[Mapping[int, str]] = {
    ExitCode.DONE: "done, nothing failed",
    ExitCode.SOME_FAILED: "done, some rows failed",
    ExitCode.STOPPED_EARLY: "stopped early, or the outcome of some rows stayed unknown",
    ExitCode.WINDOW_ENDED: "the time window ended",
    ExitCode.INTERNAL: "internal error, see the log",
    ExitCode.INTERRUPTED: "interrupted, drained cleanly",
    ExitCode.TERMINATED: "interrupted, drained cleanly",
}
"""What the exit codes of a run that has a summary mean."""
