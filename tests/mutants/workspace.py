"""The copy of the tree in which a package is mutated. The tree itself is never changed."""

import fcntl
import hashlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from tests.mutants.packages import Package

STATE: Final = Path(".mutants")
_OWN: Final = frozenset({"mutants", ".venv", "setup.cfg"})
"""Not from the tree: mutmut's folder and settings, and the interpreter of the copy."""
_TIMEOUT_FACTOR: Final = 8
_TIMEOUT_EXTRA_S: Final = 10


class Workspace:
    """A package's folder in the state directory: the copy, mutmut's results, a log."""

    def __init__(self, root: Path, package: Package) -> None:
        self.package = package
        self._root = root.resolve()
        self._folder = self._root / STATE / package.name
        self.tree = self._folder / "tree"
        self.log = self._folder / "log"
        self.further_results = self._folder / "further.json"
        self.servers = self._folder / "servers.json"
        self.python = self.tree / ".venv" / "bin" / "python"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the package's lock; its descriptor is for the processes that use the copy.

        Raises ClickException when another run of this package holds it.
        """
        self.tree.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another run mutates the package {self.package.name}"
                raise click.ClickException(message) from None
            yield lock.fileno()

    def refresh(self) -> None:
        """Make the copy equal to the tree. Files that are equal keep their mutants and results."""
        wanted = set(self._tracked())
        for path in wanted:
            self._write(path, (self._root / path).read_bytes())
        for path in set(self._copied()) - wanted:
            (self.tree / path).unlink()
            (self.tree / "mutants" / path).unlink(missing_ok=True)
        self._write_settings()
        self._make_interpreter()

    def digest(self, tests: Iterable[str]) -> str:
        """A digest of these tests and of what they share."""
        files: set[Path] = set((self.tree / "tests" / "support").rglob("*.py"))
        files.update((self.tree / "tests").glob("*.py"))
        for test in tests:
            path = self.tree / test.partition("::")[0]
            files.update(path.rglob("*.py") if path.is_dir() else [path])
        found = hashlib.sha256()
        for file in sorted(files):
            found.update(f"{file.relative_to(self.tree)}\0".encode() + file.read_bytes())
        return found.hexdigest()

    @contextmanager
    def activated(self, module: Path, mutant: str) -> Iterator[None]:
        """Put a mutant in its module of the copy, so that every process that imports it has it."""
        mutated = (self.tree / "mutants" / module).read_text()
        mutated += (
            "\nfrom mutmut.mutation.trampoline import set_mutant_under_test\n"
            f"set_mutant_under_test({mutant!r})\n"
        )
        self._write(module, mutated.encode(), keep_mutants=True)
        try:
            yield
        finally:
            self._write(module, (self._root / module).read_bytes(), keep_mutants=True)

    def _tracked(self) -> Iterator[Path]:
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=self._root, capture_output=True, check=True)
        for name in listed.stdout.decode().split("\0"):
            if name and (self._root / name).is_file():
                yield Path(name)

    def _copied(self) -> Iterator[Path]:
        for folder, folders, files in os.walk(self.tree):
            relative = Path(folder).relative_to(self.tree)
            folders[:] = [
                name
                for name in folders
                if name != "__pycache__" and not (relative == Path() and name in _OWN)
            ]
            yield from (
                relative / name
                for name in files
                if not (relative == Path() and name in _OWN) and not name.endswith(".pyc")
            )

    def _write(self, path: Path, content: bytes, *, keep_mutants: bool = False) -> None:
        copy = self.tree / path
        if copy.is_file() and copy.read_bytes() == content:
            return
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        for compiled in copy.parent.glob(f"__pycache__/{copy.stem}.*.pyc"):
            compiled.unlink()  # it could pass for the new one: same second, same size
        copy.chmod((self._root / path).stat().st_mode)
        if not keep_mutants:
            # mutmut makes the mutants of a file again that is missing in its folder.
            (self.tree / "mutants" / path).unlink(missing_ok=True)

    def _write_settings(self) -> None:
        tops = sorted({path.parts[0] for path in self._tracked()} - {"tests", "setup.cfg"})
        sources = sorted({Path(pattern).parts[0] for pattern in self.package.modules})
        lists = {
            "source_paths": sources,
            "only_mutate": self.package.modules,
            "also_copy": [top for top in tops if top not in sources],
            "pytest_add_cli_args_test_selection": self.package.first,
            "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "tests.mutants.plugin"],
        }
        lines = ["[mutmut]"]
        for name, values in lists.items():
            lines.append(f"{name} =")
            lines += [f"    {value}" for value in values]
        lines += [
            f"timeout_multiplier = {_TIMEOUT_FACTOR}",
            f"timeout_constant = {_TIMEOUT_EXTRA_S}",
            "on_dependency_change = ignore",
            "use_git_change_detection = false",
            "track_dependencies = false",
            "",
        ]
        (self.tree / "setup.cfg").write_text("\n".join(lines))

    def _make_interpreter(self) -> None:
        """An environment with the packages of this one, in which imports find the copy first.

        Tests start commands with ``sys.executable`` in other directories.
        """
        if not self.python.exists():
            command = [sys.executable, "-m", "venv", "--without-pip", str(self.tree / ".venv")]
            subprocess.run(command, check=True)
        packages = sysconfig.get_path("purelib")
        [site] = (self.tree / ".venv" / "lib").glob("python3*/site-packages")
        (site / "mutants.pth").write_text(f"{self.tree}\n{packages}\n")
