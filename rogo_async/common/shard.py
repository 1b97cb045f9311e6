"""Shards of a distributed run: their names, and which row belongs to which (specification §7)."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final, Self

MOST_SHARDS: Final = 10_000
SHARD_FORM: Final = "i/n with 0 <= i < n, such as 0/10 for the first of ten"
_FORM: Final = re.compile(r"([0-9]{1,5})/([0-9]{1,5})")


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """One part of the rows of a run. ``index`` counts from 0 and is less than ``count``."""

    index: int
    count: int

    def __post_init__(self) -> None:
        """Check the numbers. Raises ValueError."""
        if not 0 <= self.index < self.count <= MOST_SHARDS:
            raise ValueError(f"must be {SHARD_FORM}, and n at most {MOST_SHARDS:,}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The shard of a text such as ``3/10``. Raises ValueError."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"must be {SHARD_FORM}")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def directory(self) -> str:
        """The name of its directory."""
        return f"{self.index}-of-{self.count}"

    def owns(self, attempt: int | None, line: int) -> bool:
        """Whether a row belongs to this shard.

        ``attempt`` is None for a row without a valid Attempt ID; then its line number decides.
        """
        return shard_index(attempt, line, self.count) == self.index


def shard_index(attempt: int | None, line: int, count: int) -> int:
    """The number of the shard, of ``count`` shards, to which a row belongs.

    Never change it: the shards of one run must agree, whatever their version.
    """
    key = b"line %d" % line if attempt is None else b"attempt %d" % attempt
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") % count
