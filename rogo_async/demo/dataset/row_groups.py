"""A unit: rows of the input that are invented together because they concern each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.demo.dataset import existing_rows
from rogo_async.demo.dataset.builder import World
from rogo_async.demo.dataset.failure_cases import both, cell, cells_missing, mapped, unmapped
from rogo_async.demo.dataset.reference_data import COURSES
from rogo_async.demo.dataset.submission import Case
from rogo_async.demo.dataset.valid_variants import MALPRACTICE_WORDINGS, Alter, find_malpractice


@dataclass(frozen=True, slots=True)
class Unit:
    """``make`` gets an attempt id for each of ``rows`` rows, in the order of the file."""

    rows: int
    make: Callable[[World, Sequence[int]], list[Case]]


def plain() -> Unit:
    """One submission that migrates, with nothing special about it."""
    return Unit(1, lambda world, attempts: [world.sound(attempts[0])])


def single(alter: Alter, code: FailureCode | SkipCode | None = None) -> Unit:
    """One altered submission; with a code it must end with that, else migrate."""

    def make(world: World, attempts: Sequence[int]) -> list[Case]:
        case = world.sound(attempts[0])
        alter(case, world)
        _settle(case, code)
        return [case]

    return Unit(1, make)


def _settle(case: Case, code: FailureCode | SkipCode | None) -> None:
    match code:
        case FailureCode():
            case.fail(code)
        case SkipCode():
            case.skip(code)


def _moved_before(case: Case, world: World) -> None:
    suffix = f"{world.rng.getrandbits(40):010x}"
    existing_rows.submission(world, f"rogo_{case.attempt}_{suffix}", case)


def _moved_before_in_parts(case: Case, world: World) -> None:
    """The earlier tool's launch ids may have further underscores."""
    existing_rows.submission(world, f"rogo_{case.attempt}_retry_2", case)


def repeated(
    *earlier: Alter, last: Alter | None = None, code: FailureCode | SkipCode | None = None
) -> Unit:
    """An attempt that stands in the file several times: only the last row counts."""

    def make(world: World, attempts: Sequence[int]) -> list[Case]:
        case = world.sound(attempts[0])
        echoes = []
        for alter in earlier:
            echo = replace(case, cells={}, echo=True)
            alter(echo, world)
            echo.skip(SkipCode.DUPLICATE_ROW)
            echoes.append(echo)
        if last is not None:
            last(case, world)
        _settle(case, code)
        return [*echoes, case]

    return Unit(len(earlier) + 1, make)


def malformed_repetition() -> Unit:
    """A malformed line with the same Attempt ID, nearer the end, takes nothing from a row."""

    def make(world: World, attempts: Sequence[int]) -> list[Case]:
        case = world.sound(attempts[0])
        echo = replace(case, echo=True)
        cells_missing(3)(echo, world)
        echo.fail(FailureCode.ROW_MALFORMED)
        return [case, echo]

    return Unit(2, make)


SKIPPED: tuple[Unit, ...] = (
    single(mapped(version="22_01"), SkipCode.VERSION_EXCLUDED),
    single(_moved_before, SkipCode.ALREADY_MIGRATED),
    repeated(cell("Learner File Names", "older.docx")),
    single(both(mapped(version="23_02"), cell("Learner Email", "")), SkipCode.VERSION_EXCLUDED),
    single(both(_moved_before, unmapped), SkipCode.ALREADY_MIGRATED),
    repeated(cell("Attempt ID", "00{attempt}"), cell("Learner Email", "")),
    malformed_repetition(),
    single(mapped(version="23_02", submission="Submission"), SkipCode.VERSION_EXCLUDED),
    single(_moved_before_in_parts, SkipCode.ALREADY_MIGRATED),
    repeated(
        cell("Course Title", "Sound"),
        last=cell("Learner Email", " "),
        code=FailureCode.EMAIL_MISSING,
    ),
    repeated(cell("Surname", ""), last=_moved_before, code=SkipCode.ALREADY_MIGRATED),
)
"""Units with a row to be skipped, the plainest of each code first."""


EVERYDAY_SKIPPED = (SKIPPED[0], SKIPPED[0], SKIPPED[1], SKIPPED[2], SKIPPED[3])
"""What a large file has many of."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A malpractice submission of a group: attempt number, level, and its fate."""

    attempt_number: int
    level: str
    email_missing: bool = False
    other_context: bool = False


@dataclass(frozen=True, slots=True)
class Entered:
    """An enforcement row of the platform's own: attempt number, level, limit."""

    attempt_number: int | None
    level: str
    max_attempts: int | None


def rivals(*claims: Claim, entered: tuple[Entered, ...] = ()) -> Unit:
    """Submissions of one learner that claim the same enforcement row, in random order."""

    def make(world: World, attempts: Sequence[int]) -> list[Case]:
        course = world.rng.choice(COURSES)
        learner = world.people.newcomer()
        context = str(8_000 + world.rng.randrange(900))
        cases = []
        for attempt, claim in zip(attempts, world.rng.sample(claims, len(claims)), strict=True):
            case = world.sound(attempt, course, learner)
            case.ti_section_id = f"9{context}" if claim.other_context else context
            case.attempt_number = claim.attempt_number
            mapped(submission=f"Attempt {claim.attempt_number}")(case, world)
            find_malpractice(case, _worded(claim.level), claim.level)
            if claim.email_missing:
                cell("Learner Email", "")(case, world)
                case.fail(FailureCode.EMAIL_MISSING)
            cases.append(case)
        key_of = next(c for c in cases if c.ti_section_id == context)
        for row in entered:
            existing_rows.enforcement(
                world, key_of, row.attempt_number, row.level, row.max_attempts
            )
        return cases

    return Unit(len(claims), make)


def _worded(level: str) -> str:
    return next(wording for wording, named in MALPRACTICE_WORDINGS if named == level)


RIVALS: tuple[Unit, ...] = (
    rivals(Claim(1, "Moderate"), Claim(2, "Moderate"), Claim(3, "Severe")),
    rivals(Claim(2, "Severe"), Claim(2, "Moderate")),
    rivals(Claim(2, "Moderate"), entered=(Entered(3, "Severe", 3),)),
    rivals(Claim(3, "Considerable"), entered=(Entered(1, "Moderate", 3),)),
    rivals(Claim(2, "Moderate"), Claim(2, "Considerable")),
    rivals(Claim(1, "Minor"), Claim(1, "Moderate")),
    rivals(Claim(1, "Moderate"), entered=(Entered(None, "Severe", None),)),
    rivals(Claim(2, "Severe"), entered=(Entered(None, "Minor", None), Entered(1, "Moderate", 3))),
    rivals(Claim(2, "Severe"), entered=(Entered(2, "Moderate", 3),)),
    rivals(Claim(1, "Moderate"), Claim(2, "Severe", other_context=True)),
    rivals(Claim(1, "Moderate"), Claim(3, "Severe", email_missing=True)),
)
"""Groups whose members rank differently (rule 13), the commonest first."""
