"""What a power loss leaves of a directory: only what the kernel was asked to put on disk.

It records the system calls fsync, fdatasync, rename and unlink of this process. Bytes of a file
survive once the file is synced, a name in a directory once the directory is synced (POSIX fsync).
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Everything below ``root``; what exists at first is on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.torn: list[str] = []
        """Files that were renamed before their bytes were on disk: a reader may find them empty."""
        self._bytes: dict[int, bytes] = {}
        self._names: dict[Path, dict[str, int]] = {}
        self._first: dict[int, tuple[str, bytes]] = {}
        self._held: dict[int, int] = {}
        """An open descriptor of each known file, so that no other file gets its inode."""
        for folder, _, names in os.walk(root):
            self._sync_names(Path(folder))
            for name in names:
                path = Path(folder, name)
                self._sync_bytes(path)
                self._first[path.stat().st_ino] = name, path.read_bytes()

    def overwritten(self) -> list[str]:
        """The files of the beginning that have lost bytes in place: no crash may happen then."""
        return [
            name
            for inode, (name, before) in self._first.items()
            if not Path(f"/proc/self/fd/{self._held[inode]}").read_bytes().startswith(before)
        ]

    def at_risk(self) -> dict[str, str]:
        """The files and directories that a power loss would harm now, each with the damage."""
        found: dict[str, str] = {}
        for folder, folders, files in os.walk(self.root):
            on_disk = self._names.get(Path(folder), {})
            for name in [*folders, *files]:
                path = Path(folder, name)
                if on_disk.get(name) != path.stat().st_ino:
                    found[str(path.relative_to(self.root))] = "its name is not on disk"
                elif name in files and not self._is_synced(path):
                    found[str(path.relative_to(self.root))] = "its bytes are not on disk"
        return found

    def synced(self, descriptor: int) -> None:
        """The kernel has put this file or directory on disk."""
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path.is_relative_to(self.root):
            (self._sync_names if path.is_dir() else self._sync_bytes)(path)

    def about_to_rename(self, path: Path) -> None:
        """Record a file whose bytes are not on disk yet."""
        if path.is_relative_to(self.root) and not self._is_synced(path):
            self.torn.append(path.name)

    def close(self) -> None:
        """Close the held files."""
        for descriptor in self._held.values():
            os.close(descriptor)

    def _is_synced(self, path: Path) -> bool:
        return self._bytes.get(path.stat().st_ino) == path.read_bytes()

    def _sync_bytes(self, path: Path) -> None:
        inode = path.stat().st_ino
        self._bytes[inode] = path.read_bytes()
        if inode not in self._held:
            self._held[inode] = os.open(path, os.O_RDONLY)

    def _sync_names(self, folder: Path) -> None:
        self._names[folder] = {entry.name: entry.inode() for entry in os.scandir(folder)}


@contextlib.contextmanager
def recorded(root: Path) -> Iterator[Disk]:
    """Record what this process puts on disk below ``root``."""
    disk = Disk(root.resolve())

    def after(call: Callable[[int], None]) -> Callable[[int], None]:
        def wrapped(descriptor: int) -> None:
            call(descriptor)
            disk.synced(descriptor)

        return wrapped

    def before(call: Callable[..., None]) -> Callable[..., None]:
        def wrapped(source: Any, target: Any, **options: Any) -> None:
            disk.about_to_rename(Path(source).absolute())
            call(source, target, **options)

        return wrapped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", after(os.fsync))
        patch.setattr(os, "fdatasync", after(os.fdatasync))
        patch.setattr(os, "rename", before(os.rename))
        patch.setattr(os, "replace", before(os.replace))
        try:
            yield disk
        finally:
            disk.close()
