"""Durable, private files: append, replace, sync (invariant 8)."""

import asyncio
import csv
import errno
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import aiofiles

PRIVATE_MODE: Final = 0o600
MAX_CELL_CHARS: Final = 1024 * 1024
"""A longer quoted cell of a CSV file counts as an unclosed quote."""


def sync_directory(directory: Path) -> None:
    """Make renames and new files in a directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private_directory(directory: Path) -> None:
    """Create a directory durably, if it does not exist. Raises OSError."""
    if not directory.is_dir():
        directory.mkdir(mode=0o700, exist_ok=True)
        sync_directory(directory.parent)


def append_durably(path: Path, data: bytes) -> None:
    """Append to a private file, which may be new; the data are on disk when this returns.

    Raises OSError; then the file has no part of the data.
    """
    is_new = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_MODE)
    try:
        size_bytes = os.fstat(descriptor).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size_bytes)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        sync_directory(path.parent)


def csv_of(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV. Quotes any line break, including a lone CR, which ``csv`` does not quote."""
    text = io.StringIO()
    plain = csv.writer(text, lineterminator="\n")
    quoting = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoting if any("\r" in str(cell) for cell in row) else plain).writerow(row)
    return text.getvalue()


class AppendFile:
    """A CSV file to which rows are appended durably. Only its owner can read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self._size_bytes = 0

    async def open(self, header: Sequence[str] | None) -> None:
        """Start a new file with ``header``, or append to the existing one if ``header`` is None."""
        if header is not None:
            await self.start(csv_of([header]).encode())
        else:
            await self._open(0)

    async def start(self, header: bytes) -> None:
        """Start a new file with this header. Raises OSError."""
        await self._open(os.O_TRUNC)
        await self.append_bytes(header)

    async def _open(self, flags: int) -> None:
        flags |= os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = await asyncio.to_thread(os.open, self.path, flags, PRIVATE_MODE)
        await asyncio.to_thread(sync_directory, self.path.parent)
        self._size_bytes = os.fstat(descriptor).st_size
        self._file = await aiofiles.open(descriptor, "wb", buffering=0)

    async def append(self, rows: Iterable[Sequence[object]]) -> None:
        """Write rows, as ``append_bytes`` does."""
        await self.append_bytes(csv_of(rows).encode())

    async def append_bytes(self, content: bytes) -> None:
        """Write rows; they are on disk when this returns.

        Raises OSError; in that case the file has none of these rows and is closed.
        """
        data = memoryview(content)
        if self._file is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        size_bytes = self._size_bytes + len(data)
        try:
            while data:
                data = data[await self._file.write(data) :]
            await asyncio.to_thread(os.fdatasync, self._file.fileno())
        except OSError:
            await asyncio.to_thread(os.ftruncate, self._file.fileno(), self._size_bytes)
            await self.close()
            raise
        self._size_bytes = size_bytes

    async def close(self) -> None:
        """Close the file. All appended rows are on disk already."""
        if self._file is not None:
            await self._file.close()
            self._file = None


def write_private(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably; only its owner can read it. Raises OSError."""
    write_private_parts(path, [data])


def write_private_parts(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file like ``write_private``, without keeping it in memory.

    After an error, also one of ``parts``, the file is unchanged and no draft remains.
    """
    draft = path.with_name(path.name + ".new")
    with discarded_on_error(draft):
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        replace_durably(draft, path)


@contextmanager
def discarded_on_error(draft: Path) -> Iterator[None]:
    """Delete an incomplete draft when an error leaves the block: a full disk needs its space."""
    try:
        yield
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def replace_durably(draft: Path, path: Path) -> None:
    """Rename ``draft`` to ``path``, durably. Raises OSError."""
    draft.replace(path)
    sync_directory(path.parent)
