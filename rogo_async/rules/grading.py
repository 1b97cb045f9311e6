"""Rules 12 and 13: the final grade, malpractice, and which malpractice rule wins."""

import re
from typing import Final

from rogo_async.common.errors import FailureCode, RowError
from rogo_async.common.text import listed, quoted
from rogo_async.rules.matching import Reference
from rogo_async.rules.records import EnforcementRank, Malpractice, MalpracticeLevel

REFER: Final = "Refer"

_GRADE_MISSED: Final = "grade missed"
_MALPRACTICE: Final = "malpractice"
_MODERATE_LIMIT: Final = 3
_REFERRED: Final = {"refer/fail": REFER, "refer": REFER, "fail": REFER}
_GRADES_BY_LEVEL: Final = {
    "3": _REFERRED,
    "4": _REFERRED,
    "5": _REFERRED,
    "7": {**_REFERRED, "pass": "Low Pass", "merit": "Pass", "distinction": "High Pass"},
}
_WORD: Final = re.compile(r"[^\W_]+")


def final_grade(grade: str, assessment_code: str) -> str:
    """Return the grade on the new platform (rule 12). An unchanged grade is only trimmed.

    Raises RowError grade_missed.
    """
    found = grade.strip()
    folded = found.casefold()
    if folded == _GRADE_MISSED:
        raise RowError(FailureCode.GRADE_MISSED, f"Grade is {quoted(found)}")
    grades = _GRADES_BY_LEVEL.get(assessment_code.strip()[:1], {})
    return grades.get(folded, found)


def malpractice(grade: str, attempt_number: int, reference: Reference) -> Malpractice | None:
    """Read malpractice from the grade (rule 13); None when there is none.

    With malpractice the final grade is REFER, regardless of rule 12.

    Raises RowError malpractice_level_missing.
    """
    found = grade.strip()
    folded = found.casefold()
    if not folded.startswith(_MALPRACTICE):
        return None
    words = _WORD.findall(folded)
    named = words[1] if len(words) > 1 else None
    for level in reference.levels:
        if named is not None and level.level_text.strip().casefold() == named:
            return Malpractice(level, _limit(level, attempt_number), notes=found)
    known = listed(level.level_text.strip() for level in reference.levels) or "none"
    raise RowError(
        FailureCode.MALPRACTICE_LEVEL_MISSING,
        f"Grade {quoted(found)} names no active malpractice level (known: {known})",
    )


def outranks(new: EnforcementRank, existing: EnforcementRank) -> bool:
    """Whether the new malpractice rule replaces the existing one (rule 13).

    The order of ranks is strict and total, so the final row does not depend on the order of
    arrival (invariant 5). Of two equal rows, a row of the platform (without an attempt) ranks
    above a row of this tool. It has the same content, so it is never replaced.
    """
    return _sort_key(new) > _sort_key(existing)


def _sort_key(rank: EnforcementRank) -> tuple[tuple[bool, int], tuple[bool, int], tuple[bool, int]]:
    number, limit, attempt = rank.attempt_number, rank.max_attempts, rank.attempt
    return (
        (False, 0) if number is None else (True, number),
        (False, 0) if limit is None else (True, -limit),
        (True, 0) if attempt is None else (False, -attempt),
    )


def _limit(level: MalpracticeLevel, attempt_number: int) -> int | None:
    text = level.level_text.casefold()
    if "moderate" in text:
        return _MODERATE_LIMIT
    if "considerable" in text:
        return attempt_number + 1
    if "severe" in text:
        return attempt_number
    return None
