"""Decides which units a data set of a given length has, and where in the file their rows go."""

import random
from dataclasses import dataclass

from rogo_async.common.errors import FailureCode
from rogo_async.demo.dataset.failure_cases import CAUSES, MOST_FORBIDDEN, MOST_PER_CODE
from rogo_async.demo.dataset.row_groups import (
    EVERYDAY_SKIPPED,
    RIVALS,
    SKIPPED,
    Unit,
    plain,
    single,
)
from rogo_async.demo.dataset.valid_variants import (
    FLAVOURS,
    big_file,
    leading_zeros,
    malpractice,
    source_with_md5,
    source_without_md5,
)
from rogo_async.demo.dataset.valid_variants import redirected_on_the_same_host as redirected

FIRST_ATTEMPT = 100_001
SPECIAL_ATTEMPTS = (1, 7)
"""The attempts of the two oldest rows, whose launch ids a careless match confuses."""

_ONCE = (big_file, redirected, source_with_md5, source_without_md5, malpractice)
_EVERYDAY = tuple(flavour for flavour in FLAVOURS if flavour not in _ONCE)
_MOST_FAILURES = 110
_HARMLESS_RIVALS = RIVALS[:-1]
"""The last group has a row that fails, of which one is enough."""
_FEW_ROWS = 20


@dataclass(frozen=True, slots=True)
class Placed:
    """A unit with the positions (from 0) of its rows in the file and their attempt ids."""

    unit: Unit
    positions: tuple[int, ...]
    attempts: tuple[int, ...]


def is_small(rows: int) -> bool:
    """Too few rows for the special attempts at the start of the file."""
    return rows < _FEW_ROWS


def plan(rows: int, seed: int) -> list[Placed]:
    """Units whose rows add up to ``rows``, placed at random."""
    rng = random.Random(f"plan {rows} {seed}")
    pinned = [] if is_small(rows) else [plain(), single(leading_zeros)]
    units = _units(rows - len(pinned), rng)
    free = list(range(len(pinned), rows))
    rng.shuffle(free)
    attempts = list(SPECIAL_ATTEMPTS[: len(pinned)])
    attempt = FIRST_ATTEMPT
    for _ in free:
        attempts.append(attempt)
        attempt += rng.randrange(1, 6)
    placed = [Placed(unit, (n,), (attempts[n],)) for n, unit in enumerate(pinned)]
    for unit in units:
        positions = tuple(sorted(free.pop() for _ in range(unit.rows)))
        placed.append(Placed(unit, positions, tuple(attempts[n] for n in positions)))
    return placed


def _units(rows: int, rng: random.Random) -> list[Unit]:
    units = [
        *_up_to(_failures(), min(rows // 4, max(40, rows * 6 // 100), _MOST_FAILURES)),
        *_up_to(_skips(rows, rng), rows // 10),
        *_up_to([*RIVALS, *_HARMLESS_RIVALS * (rows // 1_000)], rows // 12),
    ]
    left = rows - sum(unit.rows for unit in units)
    for number in range(left):
        if number < min(len(FLAVOURS), left * 2 // 3):
            units.append(single(FLAVOURS[number]))
        elif rng.random() < 0.03:
            units.append(single(malpractice))
        elif rng.random() < 0.4:
            units.append(single(rng.choice(_EVERYDAY)))
        else:
            units.append(plain())
    return units


def _up_to(units: list[Unit] | tuple[Unit, ...], most_rows: int) -> list[Unit]:
    """The first units that fit into ``most_rows`` together."""
    chosen = []
    for unit in units:
        if unit.rows <= most_rows:
            chosen.append(unit)
            most_rows -= unit.rows
    return chosen


def _failures() -> list[Unit]:
    """Every code's first cause, then every other cause, then all of them again up to the most."""
    turns = [
        (turn // len(causes), turn, code)
        for code, causes in CAUSES.items()
        for turn in range(_most_of(code))
    ]
    turns.sort(key=lambda turn: turn[:2])
    return [single(CAUSES[code][turn % len(CAUSES[code])], code) for _, turn, code in turns]


def _most_of(code: FailureCode) -> int:
    if code is FailureCode.SOURCE_FORBIDDEN:
        return MOST_FORBIDDEN
    return max(MOST_PER_CODE, len(CAUSES[code]))


def _skips(rows: int, rng: random.Random) -> list[Unit]:
    return [*SKIPPED, *rng.choices(EVERYDAY_SKIPPED, k=rows // 12)]
