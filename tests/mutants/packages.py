"""What is mutated, with which tests, and which mutants are equivalent: two TOML files."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import click

FOLDER: Final = Path("tests/mutants")
PACKAGES: Final = FOLDER / "packages.toml"
EQUIVALENT: Final = FOLDER / "equivalent.toml"


@dataclass(frozen=True, slots=True)
class Package:
    """Code to mutate (patterns of files), and the arguments of pytest for its tests.

    The tests of ``then`` run only for the mutants that survive those of ``first``.
    With ``servers``, tests of ``first`` need them, and all use the same running servers.
    """

    name: str
    modules: tuple[str, ...]
    first: tuple[str, ...]
    then: tuple[str, ...]
    servers: bool


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one function: its lines before and after, without indentation."""

    module: str
    function: str
    before: str
    after: str

    def __str__(self) -> str:
        lines = [f"{self.module}: {self.function}"]
        lines += [f"  - {line}" for line in self.before.splitlines()]
        lines += [f"  + {line}" for line in self.after.splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Equivalent:
    """Mutants without an effect: in ``line``, a ``text`` is replaced by one of ``by``.

    ``module`` and ``function`` are patterns. Without a ``line`` the entry holds for every line.
    """

    reason: str
    text: str
    by: tuple[str, ...]
    module: str = "*"
    function: str = "*"
    line: str = ""

    def covers(self, mutant: Mutant) -> bool:
        """Whether the mutant is one of these."""
        return (
            fnmatchcase(mutant.module, self.module)
            and fnmatchcase(mutant.function, self.function)
            and self.line in {"", mutant.before}
            and any(mutant.after in set(self._changed(mutant.before, by)) for by in self.by)
        )

    def _changed(self, line: str, by: str) -> Iterator[str]:
        start = line.find(self.text)
        while start >= 0:
            yield line[:start] + by + line[start + len(self.text) :]
            start = line.find(self.text, start + 1)


def load_packages(root: Path) -> dict[str, Package]:
    """The packages by name, in the order of their file."""
    table = tomllib.loads((root / PACKAGES).read_text())
    return {
        name: Package(
            name,
            tuple(entry["modules"]),
            tuple(entry["first"]),
            tuple(entry.get("then", ())),
            entry.get("servers", False),
        )
        for name, entry in table.items()
    }


def load_equivalents(root: Path) -> list[Equivalent]:
    """The mutants that are known to be equivalent. Raises ClickException for a wrong entry."""
    entries = tomllib.loads((root / EQUIVALENT).read_text()).get("equivalent", [])
    try:
        return [Equivalent(**{**entry, "by": tuple(entry["by"])}) for entry in entries]
    except (KeyError, TypeError) as error:
        raise click.ClickException(f"{EQUIVALENT}: {error}") from None
