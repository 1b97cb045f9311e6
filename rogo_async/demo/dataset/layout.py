"""Chooses the row groups of a data set and the positions of their rows in the file."""

import random
from dataclasses import dataclass

from rogo_async.common.errors import FailureCode
from rogo_async.demo.dataset.failure_cases import FAILURE_CASES, MAX_FORBIDDEN, MAX_PER_CODE
from rogo_async.demo.dataset.row_groups import (
    COMMON_SKIPPED_GROUPS,
    MALPRACTICE_GROUPS,
    SKIPPED_GROUPS,
    RowGroup,
    plain_row,
    single_row,
)
from rogo_async.demo.dataset.valid_variants import (
    VALID_VARIANTS,
    large_file,
    leading_zeros_in_attempt_id,
    malpractice,
    redirect_to_same_host,
    source_with_md5,
    source_without_md5,
)

FIRST_ATTEMPT = 100_001
SPECIAL_ATTEMPTS = (1, 7)
"""Attempts of the first two rows: their launch ids resemble existing ones."""

_RARE_VARIANTS = (
    large_file,
    redirect_to_same_host,
    source_with_md5,
    source_without_md5,
    malpractice,
)
_COMMON_VARIANTS = tuple(variant for variant in VALID_VARIANTS if variant not in _RARE_VARIANTS)
_MAX_FAILURES = 110
_REPEATABLE_MALPRACTICE_GROUPS = MALPRACTICE_GROUPS[:-1]
"""Without the last group: one of its rows fails, and one such failure is enough."""
_MIN_ROWS_FOR_SPECIAL_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class PlacedGroup:
    """A group with the positions (from 0) of its rows in the file and their attempt ids."""

    group: RowGroup
    positions: tuple[int, ...]
    attempts: tuple[int, ...]


def is_small(rows: int) -> bool:
    """Whether the data set has too few rows for SPECIAL_ATTEMPTS."""
    return rows < _MIN_ROWS_FOR_SPECIAL_ATTEMPTS


def plan_layout(rows: int, seed: int) -> list[PlacedGroup]:
    """Groups with ``rows`` rows in total, at random positions."""
    rng = random.Random(f"plan {rows} {seed}")
    pinned = [] if is_small(rows) else [plain_row(), single_row(leading_zeros_in_attempt_id)]
    groups = _groups(rows - len(pinned), rng)
    free = list(range(len(pinned), rows))
    rng.shuffle(free)
    attempts = list(SPECIAL_ATTEMPTS[: len(pinned)])
    attempt = FIRST_ATTEMPT
    for _ in free:
        attempts.append(attempt)
        attempt += rng.randrange(1, 6)
    placed = [PlacedGroup(group, (n,), (attempts[n],)) for n, group in enumerate(pinned)]
    for group in groups:
        positions = tuple(sorted(free.pop() for _ in range(group.rows)))
        placed.append(PlacedGroup(group, positions, tuple(attempts[n] for n in positions)))
    return placed


def _groups(rows: int, rng: random.Random) -> list[RowGroup]:
    groups = [
        *_up_to(_failures(), min(rows // 4, max(40, rows * 6 // 100), _MAX_FAILURES)),
        *_up_to(_skips(rows, rng), rows // 10),
        *_up_to(
            [*MALPRACTICE_GROUPS, *_REPEATABLE_MALPRACTICE_GROUPS * (rows // 1_000)], rows // 12
        ),
    ]
    left = rows - sum(group.rows for group in groups)
    for number in range(left):
        if number < min(len(VALID_VARIANTS), left * 2 // 3):
            groups.append(single_row(VALID_VARIANTS[number]))
        elif rng.random() < 0.03:
            groups.append(single_row(malpractice))
        elif rng.random() < 0.4:
            groups.append(single_row(rng.choice(_COMMON_VARIANTS)))
        else:
            groups.append(plain_row())
    return groups


def _up_to(groups: list[RowGroup] | tuple[RowGroup, ...], max_rows: int) -> list[RowGroup]:
    """The first groups that fit into ``max_rows`` together."""
    chosen = []
    for group in groups:
        if group.rows <= max_rows:
            chosen.append(group)
            max_rows -= group.rows
    return chosen


def _failures() -> list[RowGroup]:
    """The first cause of each code, then the other causes, then all again up to the maximum."""
    turns = [
        (turn // len(causes), turn, code)
        for code, causes in FAILURE_CASES.items()
        for turn in range(_max_of(code))
    ]
    turns.sort(key=lambda turn: turn[:2])
    return [
        single_row(FAILURE_CASES[code][turn % len(FAILURE_CASES[code])], code)
        for _, turn, code in turns
    ]


def _max_of(code: FailureCode) -> int:
    if code is FailureCode.SOURCE_FORBIDDEN:
        return MAX_FORBIDDEN
    return max(MAX_PER_CODE, len(FAILURE_CASES[code]))


def _skips(rows: int, rng: random.Random) -> list[RowGroup]:
    return [*SKIPPED_GROUPS, *rng.choices(COMMON_SKIPPED_GROUPS, k=rows // 12)]
