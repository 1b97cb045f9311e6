"""The run's journal: enforcement rows as they were before this run changed them (specification §5).

What a run inserts can be told from its ids; what it overwrites is gone unless it was kept. A line
is on disk before the change is committed: it may be there without the change, never the other
way round. What a rollback makes of such a row is kept in the same way, in a journal of its own.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import orjson

from rogo_async.common.errors import DataDirFull
from rogo_async.common.files import sync_directory
from rogo_async.rules.identity import submission_id

RuleContent = Mapping[str, Any]
"""A row, as JSON."""

_SUFFIX: Final = ".journal.jsonl"
_PRIVATE: Final = 0o600


class Journal:
    """Appends to one file, made when the first line comes. JSON, one object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()

    async def record_original(self, kind: str, attempt: int, before: Mapping[str, object]) -> None:
        """Keep a row as it is before ``attempt`` changes it. Raises DataDirFull."""
        await self.add({"kind": kind, "attempt": attempt, "before": dict(before)})

    async def add(self, entry: Mapping[str, object]) -> None:
        """Append a line, on disk when this returns. Raises DataDirFull."""
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        async with self._turn:
            try:
                await asyncio.to_thread(self._append, line)
            except OSError as error:
                raise DataDirFull(f"{self._path}: {error.strerror}") from None

    def _append(self, line: bytes) -> None:
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE)
        try:
            size_bytes = os.fstat(descriptor).st_size
            try:
                left = memoryview(line)
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size_bytes)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            sync_directory(self._path.parent)


def journal_path(runs: Path, run_id: str) -> Path:
    """Where a run keeps its journal."""
    return runs / f"{run_id}{_SUFFIX}"


class Journals:
    """All journals that are kept, read once, and the one of a rollback that goes on.

    Of the lines about one submission the last holds: a try that was repeated left its own.
    """

    def __init__(self, own: Journal) -> None:
        self._own = own
        self._before: dict[tuple[str, str], RuleContent | None] = {}
        self._under_rebuilt: dict[tuple[str, str], RuleContent | None] = {}
        self._put_back: set[bytes] = set()

    @classmethod
    def read(cls, runs: Path, own: Journal) -> Self:
        """Read every journal in ``runs/``. Raises OSError."""
        journals = cls(own)
        for path in sorted(runs.glob(f"*{_SUFFIX}")):
            run_id = path.name.removesuffix(_SUFFIX)
            for line in path.read_bytes().splitlines():
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError:  # power went while it was written
                    continue
                journals._take(run_id, entry)
        return journals

    def knows(self, submission: str, row_id: str) -> bool:
        """Whether it is known what the row was before this submission claimed it."""
        place = submission, row_id
        return place in self._under_rebuilt or place in self._before

    def before(self, submission: str, row_id: str) -> RuleContent | None:
        """The row as it was before this submission claimed it; None when there was none."""
        place = submission, row_id
        known = self._under_rebuilt if place in self._under_rebuilt else self._before
        return known.get(place)

    def is_put_back(self, row: RuleContent) -> bool:
        """Whether a rollback has made a row just this."""
        return _canonical(row) in self._put_back

    async def put_back(self, attempt: int, row: RuleContent) -> None:
        """Keep that a rollback of ``attempt`` makes a row what it was. Raises DataDirFull."""
        await self._add({"kind": "put_back", "attempt": attempt, "row": row})

    async def rebuilt(self, attempt: int, row: RuleContent, before: RuleContent | None) -> None:
        """The same of a row that is made anew; ``before`` is what is under its claim."""
        await self._add({"kind": "rebuilt", "attempt": attempt, "row": row, "before": before})

    async def _add(self, entry: dict[str, Any]) -> None:
        await self._own.add(entry)
        self._take("", entry)

    def _take(self, run_id: str, entry: dict[str, Any]) -> None:
        match entry:
            case {"kind": "enforcement", "attempt": int(attempt), "before": dict(before)}:
                self._before[submission_id(run_id, attempt), before["id"]] = before
            case {"kind": "rebuilt", "row": dict(row), "before": before}:
                self._put_back.add(_canonical(row))
                self._under_rebuilt[row["submission_id"], row["id"]] = before
            case {"kind": "put_back", "row": dict(row)}:
                self._put_back.add(_canonical(row))


def _canonical(row: RuleContent) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
