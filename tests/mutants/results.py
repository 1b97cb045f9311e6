"""The result of each mutant, from mutmut's files and from the further tests.

mutmut is imported when it is needed: it is installed by ``scripts/mutants`` only.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from tests.mutants.packages import Equivalent, Mutant, Package
from tests.mutants.workspace import Workspace

_SURVIVED: Final = frozenset({"survived", "no tests"})
_KILLED: Final = frozenset({"killed", "timeout", "segfault"})


class Result(StrEnum):
    """The columns of the table."""

    KILLED = "killed"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that the first tests do not kill. ``name`` is mutmut's; it changes with the code."""

    name: str
    mutant: Mutant
    result: Result


class FurtherResults:
    """Which survivors of the first tests the further tests kill, in a file.

    A kill stays valid. A survivor is tested again when the tests have changed.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._file = workspace.further_results
        self._killed: dict[str, bool] = {}
        self._digest = ""
        if self._file.exists():
            stored = json.loads(self._file.read_text())
            self._killed, self._digest = stored["killed"], stored["digest"]

    def begin(self, digest: str) -> None:
        """Forget the survivors of other tests."""
        if digest != self._digest:
            self._killed = {mutant: True for mutant, killed in self._killed.items() if killed}
            self._digest = digest

    def killed(self, mutant: Mutant) -> bool | None:
        """Whether the tests kill it; None when they have not run."""
        return self._killed.get(str(mutant))

    def record(self, mutant: Mutant, *, killed: bool) -> None:
        """Store a result at once."""
        self._killed[str(mutant)] = killed
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps({"digest": self._digest, "killed": self._killed}, indent=1))
        new.replace(self._file)


def forget_survivors(workspace: Workspace) -> None:
    """Make mutmut test the survivors again, and find again which test covers which function."""
    _forget_all_but(_KILLED, workspace)
    (workspace.tree / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def forget_interrupted(workspace: Workspace) -> None:
    """Make mutmut test the mutants again whose tests were interrupted."""
    for path in (workspace.tree / "mutants").rglob("*.py.meta"):
        if _read(path) is None:  # mutmut was killed while it wrote the file
            path.unlink()
            path.with_suffix("").unlink(missing_ok=True)
    _forget_all_but(_KILLED | _SURVIVED, workspace)


def survivors(workspace: Workspace, equivalents: Sequence[Equivalent]) -> Iterator[Survivor]:
    """The mutants that the first tests do not kill, with their result so far."""
    further = FurtherResults(workspace)
    for path, meta in _metas(workspace):
        module = path.relative_to(workspace.tree / "mutants").with_suffix("")
        for name, code in meta["exit_code_by_key"].items():
            if _status(code) in _SURVIVED:
                mutant = _read_mutant(workspace, module, name)
                yield Survivor(name, mutant, _result(mutant, further, equivalents))


def count(workspace: Workspace, equivalents: Sequence[Equivalent]) -> Counter[Result]:
    """The number of mutants with each result."""
    found = Counter(survivor.result for survivor in survivors(workspace, equivalents))
    for _, meta in _metas(workspace):
        for code in meta["exit_code_by_key"].values():
            if _status(code) in _KILLED:
                found[Result.KILLED] += 1
            elif _status(code) not in _SURVIVED:
                found[Result.NOT_RUN] += 1
    return found


def table(packages: Iterable[Package], root: Path, equivalents: Sequence[Equivalent]) -> str:
    """The results by package as a Markdown table. The score leaves out equivalent mutants."""
    lines = [f"| package | {' | '.join(Result)} | score |", "|---|---|---|---|---|---|"]
    for package in packages:
        found = count(Workspace(root, package), equivalents)
        ended = found[Result.KILLED] + found[Result.SURVIVED]
        score = f"{found[Result.KILLED] / ended:.1%}" if ended else ""
        counts = " | ".join(str(found[result]) for result in Result)
        lines.append(f"| {package.name} | {counts} | {score} |")
    return "\n".join(lines)


def _metas(workspace: Workspace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The file of mutmut for each module that exists."""
    mutants = workspace.tree / "mutants"
    for path in sorted(mutants.rglob("*.py.meta")):
        if (workspace.tree / path.relative_to(mutants).with_suffix("")).exists():
            meta = _read(path)
            if meta is not None:
                yield path, meta


def _read(path: Path) -> dict[str, Any] | None:
    """The content of a file of mutmut; None while mutmut writes it."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError:
        return None
    return content


def _forget_all_but(kept: frozenset[str], workspace: Workspace) -> None:
    for path, meta in _metas(workspace):
        codes = meta["exit_code_by_key"]
        meta["exit_code_by_key"] = {
            name: code if _status(code) in kept else None for name, code in codes.items()
        }
        path.write_text(json.dumps(meta, indent=4))


def _status(code: int | None) -> str:
    status: str = import_module("mutmut.stats").status_by_exit_code[code]
    return status


def _result(mutant: Mutant, further: FurtherResults, equivalents: Sequence[Equivalent]) -> Result:
    if further.killed(mutant):
        return Result.KILLED
    covered = any(entry.covers(mutant) for entry in equivalents)
    return Result.EQUIVALENT if covered else Result.SURVIVED


def _read_mutant(workspace: Workspace, module: Path, name: str) -> Mutant:
    diff_of = import_module("mutmut.mutation.diff_apply").get_diff_for_mutant
    with chdir(workspace.tree):
        diff = diff_of(name, path=module).splitlines()[2:]
    before, after = (
        "\n".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+"
    )
    return Mutant(str(module), _function_of(name), before, after)


def _function_of(name: str) -> str:
    names = import_module("mutmut.utils.format_utils")
    function, class_name = names.orig_function_and_class_names_from_key(name)
    return f"{class_name}.{function}" if class_name else function
