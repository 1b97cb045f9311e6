"""The run's journal: enforcement rows as they were before this run changed them (SPEC §5).

What a run inserts can be told from its ids; what it overwrites is gone unless it was kept. A line
is on disk before the change is committed: it may be there without the change, never the other
way round.
"""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import orjson

from rogo_async.errors import DataDirFull

_PRIVATE: Final = 0o600


class Journal:
    """Appends to one file, made when the first line comes. JSON, one object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()

    async def keep(self, kind: str, attempt: int, before: Mapping[str, object]) -> None:
        """Keep a row as it is before ``attempt`` changes it. Raises DataDirFull."""
        line = orjson.dumps(
            {"kind": kind, "attempt": attempt, "before": dict(before)},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        async with self._turn:
            try:
                await asyncio.to_thread(self._append, line)
            except OSError as error:
                raise DataDirFull(f"{self._path}: {error.strerror}") from None

    def _append(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _PRIVATE)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
