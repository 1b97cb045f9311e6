"""The latest known failure of each row, read from the failed-rows files that are kept.

Source: specification §2, ``failed_new``.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import structlog
from pyroaring import BitMap64

from rogo_async.reporting.failed_rows import read_failed_rows

_ABOVE_ALL_ATTEMPTS: Final = 1 << 48
log = structlog.get_logger()


class KnownFailures:
    """The code of each row's latest known failure, in one compressed bitmap for each code.

    A row is identified by its attempt or, without a valid one, by its cells.
    """

    def __init__(self) -> None:
        self._known = BitMap64()
        self._by_code: defaultdict[str, BitMap64] = defaultdict(BitMap64)

    @classmethod
    def read(cls, files: Iterable[Path]) -> Self:
        """Read the failed-rows files of earlier runs, the newest first.

        Call this before a file is moved, replaced or deleted. A file that cannot be read is named
        in the log; its failures count as new.
        """
        known = cls()
        for path in files:
            try:
                for row in read_failed_rows(path):
                    known.add(row.attempt, row.cells, row.code)
            except (OSError, UnicodeDecodeError, csv.Error) as error:
                reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "no CSV"
                log.warning(
                    "failures of an earlier run cannot be read; they may count as new",
                    file=str(path),
                    reason=reason,
                )
        return known

    def is_new(self, attempt: int | None, cells: Sequence[str], code: str) -> bool:
        """Whether the row's latest known failure had another code, or there is none."""
        return _key(attempt, cells) not in self._by_code.get(code, ())

    def add(self, attempt: int | None, cells: Sequence[str], code: str) -> None:
        """Add a failure, unless a newer one of this row is known."""
        key = _key(attempt, cells)
        if key not in self._known:
            self._known.add(key)
            self._by_code[code].add(key)


def _key(attempt: int | None, cells: Sequence[str]) -> int:
    if attempt is not None:
        return attempt
    return _ABOVE_ALL_ATTEMPTS | (hash(tuple(cells)) & (_ABOVE_ALL_ATTEMPTS - 1))
