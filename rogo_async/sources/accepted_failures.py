"""Reads accepted_failures.csv: failures that need no repair (specification §1)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rogo_async.common.errors import FailureCode, RowError, SetupError
from rogo_async.common.text import cell_text
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.sources.csv_reader import Record, column_indexes, open_input, scan

_COLUMNS: Final = ("Attempt ID", "Code", "Who", "Why")
_WITHOUT_ATTEMPT: Final = frozenset(
    {
        FailureCode.ROW_MALFORMED,
        FailureCode.ATTEMPT_ID_MISSING,
        FailureCode.ATTEMPT_ID_INVALID,
    }
)
_CODES: Final = frozenset(FailureCode)


@dataclass(frozen=True, slots=True)
class AcceptedFailures:
    """The accepted failures, by attempt and code. ``problems`` names what is not used, and why."""

    entries: frozenset[tuple[int, str]] = frozenset()
    problems: tuple[str, ...] = ()

    def has(self, attempt: int | None, code: str) -> bool:
        """Whether a failure of this attempt with this code is accepted."""
        return (attempt, code) in self.entries


def read_accepted_failures(path: Path) -> AcceptedFailures:
    """Read the file; without one, nothing is accepted.

    A malformed line accepts nothing, and neither does a file that cannot be used as a whole: in
    doubt, a failure stays a failure.
    """
    if not os.path.lexists(path):
        return AcceptedFailures()
    try:
        return _read(path)
    except SetupError as error:
        return AcceptedFailures(problems=tuple(error.problems))
    except OSError as error:
        return AcceptedFailures(problems=(f"{path}: cannot read the file: {error.strerror}",))


def _read(path: Path) -> AcceptedFailures:
    entries: set[tuple[int, str]] = set()
    problems: list[str] = []
    with open_input(path) as handle:
        reader = scan(path, handle)
        header = next(reader, None)
        if header is None:
            raise SetupError(f"{path}: no header. The columns are {', '.join(_COLUMNS)}")
        indexes = column_indexes(path, header.cells, _COLUMNS)
        for record in reader:
            try:
                entries.add(_entry(record, indexes, len(header.cells)))
            except ValueError as error:
                problems.append(
                    f"{path}, line {record.line}: {error}. Correct the line; it accepts nothing"
                )
    return AcceptedFailures(frozenset(entries), tuple(problems))


def _entry(record: Record, indexes: dict[str, int], width: int) -> tuple[int, str]:
    """Attempt and code of a line. Raises ValueError, without the text of any cell."""
    if record.defect is not None:
        raise ValueError(record.defect)
    if len(record.cells) != width:
        raise ValueError(f"{len(record.cells)} cells, the header has {width}")
    attempt, code, who, why = (cell_text(record.cells[indexes[name]]) for name in _COLUMNS)
    if code not in _CODES:
        raise ValueError("Code is not a code of docs/codes.md for failed rows")
    if code in _WITHOUT_ATTEMPT:
        raise ValueError(f"rows with {code} have no valid Attempt ID and cannot be accepted")
    if not who or not why:
        raise ValueError("Who or Why is empty")
    try:
        return parse_attempt_id(attempt), code
    except RowError:
        raise ValueError("Attempt ID is not a whole number above 0") from None
