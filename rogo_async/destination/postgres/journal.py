"""The journal of a run: malpractice rules as they were before the run changed them.

Inserted rows have known ids, but the content of an overwritten row is lost unless it is recorded.
A line is durable on disk before the change is committed. So a line may exist without its change,
but never the reverse. ``rollback`` reads these journals to restore malpractice rules. It records
what it restores in its own journal (specification §5).
"""

import asyncio
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import orjson

from rogo_async.common.errors import DataDirFull
from rogo_async.common.files import append_durably, write_private_parts
from rogo_async.rules.identity import submission_id

RuleContent = Mapping[str, Any]
"""All columns of a malpractice_enforcements row, as JSON values."""

_SUFFIX: Final = ".journal.jsonl"
_REFRESH: Final = b'{"kind":"refresh"'


class Journal:
    """Appends JSON lines to one file. The first line creates the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()

    async def record_original(
        self, attempt: int, submission: str, before: Mapping[str, object]
    ) -> None:
        """Record a rule as it is before the submission of ``attempt`` changes it.

        Raises DataDirFull.
        """
        await self.append(
            {
                "kind": "enforcement",
                "attempt": attempt,
                "submission": submission,
                "before": dict(before),
            }
        )

    async def append(self, entry: Mapping[str, object]) -> None:
        """Append a line; it is durable on disk when this returns. Raises DataDirFull."""
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        async with self._lock:
            try:
                await asyncio.to_thread(append_durably, self._path, line)
            except OSError as error:
                raise DataDirFull(f"{self._path}: {error.strerror}") from None


def end_last_line(path: Path) -> None:
    """End a line that a power loss has cut, so that the next one is not added to it.

    Raises OSError.
    """
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        is_ended = file.read() == b"\n"
    if not is_ended:
        append_durably(path, b"\n")


def journal_path(runs: Path, run_id: str) -> Path:
    """The path of a run's journal."""
    return runs / f"{run_id}{_SUFFIX}"


def is_journal(path: Path) -> bool:
    """Whether a file of ``runs/`` is a journal, by its name."""
    return path.name.endswith(_SUFFIX)


def complete_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines without one that a power loss has cut."""
    return (line for line in lines if line.endswith(b"\n"))


def add_lines(path: Path, *journals: Iterable[bytes]) -> None:
    """Add the lines of other journals that the one at ``path``, which may be new, does not have.

    Its own lines stay first. Raises OSError.
    """
    if not path.exists():
        write_private_parts(path, _once(journals))
        return
    with path.open("rb") as own:
        write_private_parts(path, _once((own, *journals)))


def _once(journals: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for journal in journals:
        for line in complete_lines(journal):
            digest = hashlib.sha256(line).digest()
            if digest not in seen:
                seen.add(digest)
                yield line


class Journals:
    """All journals of the data directory, and the journal of the rollback in progress (``own``).

    For each submission and row the last line is used, since a retry appends another line.
    """

    def __init__(self, own: Journal) -> None:
        self.own = own
        self._before: dict[tuple[str, str], RuleContent | None] = {}
        self._restored: set[bytes] = set()

    @classmethod
    def read(cls, runs: Path, own: Journal, *others: Path) -> Self:
        """Read every journal in ``runs/`` and in the other directories. Raises OSError."""
        journals = cls(own)
        paths = [path for each in (runs, *others) for path in each.glob(f"*{_SUFFIX}")]
        # By the run id: what a later run or rollback recorded counts.
        for path in sorted(paths, key=lambda path: path.name):
            run_id = path.name.removesuffix(_SUFFIX)
            with path.open("rb") as file:  # refreshes make it larger than memory
                for line in file:
                    if line.startswith(_REFRESH):
                        continue
                    try:
                        entry = orjson.loads(line)
                    except orjson.JSONDecodeError:  # incomplete after a power failure
                        continue
                    journals._index(run_id, entry)
        return journals

    def has_original(self, submission: str, row_id: str) -> bool:
        """Whether a journal has the row as it was before this submission changed it."""
        return (submission, row_id) in self._before

    def original(self, submission: str, row_id: str) -> RuleContent | None:
        """The row as it was before this submission changed it; None if there was no row."""
        return self._before.get((submission, row_id))

    def is_restored(self, row: RuleContent) -> bool:
        """Whether a rollback restored or replaced a row to exactly this content."""
        return _canonical(row) in self._restored

    async def record_restored(self, attempt: int, row: RuleContent) -> None:
        """Record the content that a rollback of ``attempt`` restored. Raises DataDirFull."""
        await self._add({"kind": "put_back", "attempt": attempt, "row": row})

    async def record_replaced(
        self, attempt: int, row: RuleContent, before: RuleContent | None
    ) -> None:
        """Record the content that a rollback wrote for another submission, over ``before``.

        Raises DataDirFull.
        """
        await self._add({"kind": "rebuilt", "attempt": attempt, "row": row, "before": before})

    async def record_refresh(self, entry: Mapping[str, Any]) -> None:
        """Record the rows of a submission before and after a refresh. Raises DataDirFull."""
        await self.own.append({"kind": "refresh", **entry})

    async def _add(self, entry: dict[str, Any]) -> None:
        await self.own.append(entry)
        self._index("", entry)

    def _index(self, run_id: str, entry: dict[str, Any]) -> None:
        match entry:
            case {"kind": "enforcement", "attempt": int(attempt), "before": dict(before)}:
                # Journals of version 0.4 and earlier do not name the submission.
                submission = entry.get("submission") or submission_id(run_id, attempt)
                self._before[submission, before["id"]] = before
            case {"kind": "rebuilt", "row": dict(row), "before": before}:
                self._restored.add(_canonical(row))
                self._before[row["submission_id"], row["id"]] = before
            case {"kind": "put_back", "row": dict(row)}:
                self._restored.add(_canonical(row))


def _canonical(row: RuleContent) -> bytes:
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
