"""Check every reference in the documentation and the code: ``python scripts/check_docs.py [ROOT]``.

Prints one line for each problem (``file:line: problem``) and exits with 1 if there is any.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from markdown_it import MarkdownIt

SPECIFICATION: Final = "docs/specification.md"
TABLE: Final = "Where each rule is implemented and tested"
CODES: Final = "docs/codes.md"
ERRORS: Final = "rogo_async/common/errors.py"
DECISIONS: Final = "docs/decisions"
FOLDERS: Final = ("rogo_async", "tests")
"""The folders of the files that the second and third column of the table name."""

# A reference may continue on the next line of a comment, or be part of a test's name.
_SPACE: Final = r"(?: |_|\n[ \t]*(?:# |-- )?)"
_START: Final = r"(?<![A-Za-z])"
_END: Final = r"(?![A-Za-z\d]|\.\d)"
_NUMBERS: Final = rf"(\d+(?:(?:,|{_SPACE}and|{_SPACE}or|{_SPACE}to){_SPACE}\d+)*)"
_REFERENCES: Final = {
    "rule ": re.compile(rf"{_START}[Rr]ules?{_SPACE}{_NUMBERS}{_END}"),
    "invariant ": re.compile(rf"{_START}[Ii]nvariants?{_SPACE}{_NUMBERS}{_END}"),
    "specification §": re.compile(rf"[Ss]pecification{_SPACE}(§\d+(?:(?:,| and) §\d+)*)"),
    "decision ": re.compile(rf"{_START}decisions?(?:{_SPACE}|/){_NUMBERS}{_END}"),
}
_PAGE: Final = re.compile(r"\bdocs/[\w/.-]+\.md(?:#[\w-]+)?")
_FOREIGN: Final = re.compile(r"\b(?:SPEC|DESIGN)\b")
_EXEMPT: Final = frozenset({"scripts/check_docs.py", "tests/unit/test_check_docs.py"})
_TEXT: Final = frozenset({".py", ".md", ".sql", ".toml", ".env", ".j2", ""})


@dataclass(frozen=True, slots=True)
class Problem:
    """A reference that leads nowhere."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class Page:
    """A Markdown file: its links, tables, and the anchors of its headings as GitHub makes them."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self._tokens = MarkdownIt("commonmark").enable("table").parse(text)
        self.anchors = set(
            _anchors(
                self._tokens[n + 1].content
                for n, token in enumerate(self._tokens)
                if token.type == "heading_open"
            )
        )

    def links(self) -> Iterator[tuple[str, int]]:
        """Each link's address and its line."""
        for token in self._tokens:
            start, end = token.map or (0, 0)
            for child in token.children or ():
                address = child.attrGet("href") or child.attrGet("src")
                if address is not None:
                    lines = (n for n in range(start, end) if str(address) in self._lines[n])
                    yield str(address), next(lines, start) + 1

    def rows(self, heading: str) -> Iterator[tuple[list[str], int]]:
        """The cells and the line of each table row below a heading."""
        inside, line, cells = False, 0, list[str]()
        for n, token in enumerate(self._tokens):
            if token.type == "heading_open":
                inside = self._tokens[n + 1].content == heading
            elif token.type == "tr_open":
                line, cells = (token.map or [0])[0] + 1, []
            elif token.type == "td_open":
                cells.append(self._tokens[n + 1].content)
            elif token.type == "tr_close" and inside and cells:
                yield cells, line


def _anchors(headings: Iterable[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in headings:
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        seen[anchor] = seen.get(anchor, -1) + 1
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor


def _references(kind: str, text: str) -> Iterator[tuple[int, int]]:
    """The number and the line of each reference of a kind. ``rules 0 to 7`` has eight numbers."""
    for found in _REFERENCES[kind].finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        for first, last in re.findall(rf"(\d+)(?:{_SPACE}to{_SPACE}(\d+))?", found[1]):
            for number in range(int(first), int(last or first) + 1):
                yield number, line


def _numbers(pattern: str, text: str) -> dict[int, int]:
    """The numbers that a text defines, with their lines."""
    found = re.finditer(pattern, text, re.MULTILINE)
    return {int(each[1]): text.count("\n", 0, each.start()) + 1 for each in found}


class Checker:
    """All checks of one tree. ``paths`` are its files, relative to ``root``."""

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self._root = root.resolve()
        files = [Path(path) for path in paths if (root / path).is_file()]
        self._known = {each.as_posix() for file in files for each in (file, *file.parents)}
        self._texts = {
            file.as_posix(): (root / file).read_text("utf-8")
            for file in files
            if file.suffix in _TEXT
        }
        self._pages = {path: Page(text) for path, text in self._texts.items() if path[-3:] == ".md"}
        specification = self._texts.get(SPECIFICATION, "")
        self._defined = {
            "rule ": _numbers(r"^### Rule (\d+):", specification),
            "invariant ": _numbers(r"^(\d+)\. \*\*", specification),
            "specification §": _numbers(r"^## (\d+)\. ", specification),
            "decision ": _numbers(rf"^{DECISIONS}/(\d+)-", "\n".join(self._texts)),
        }
        # The invariants have rows of their own.
        self._without_row = _numbers(r"^## (\d+)\. Invariants$", specification)

    def problems(self) -> Iterator[Problem]:
        """Every problem, file by file."""
        for path, page in sorted(self._pages.items()):
            yield from self._links(path, page)
        for path, text in sorted(self._texts.items()):
            if path not in _EXEMPT:
                yield from self._references(path, text)
        yield from self._table()
        yield from self._codes()

    def _page(self, path: str) -> Page:
        return self._pages.get(path, Page(""))

    def _links(self, path: str, page: Page) -> Iterator[Problem]:
        for address, line in page.links():
            file, _, anchor = unquote(address).partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            target = ((self._root / path).parent / file if file else self._root / path).resolve()
            inside = target.is_relative_to(self._root)
            name = target.relative_to(self._root).as_posix() if inside else ""
            if name not in self._known:
                yield Problem(path, line, f"the link {address} leads to no file of the repository")
            elif anchor and name in self._pages and anchor not in self._pages[name].anchors:
                yield Problem(path, line, f"the link {address} leads to no heading")

    def _references(self, path: str, text: str) -> Iterator[Problem]:
        for kind, defined in self._defined.items():
            for number, line in _references(kind, text):
                if number not in defined:
                    yield Problem(path, line, f"there is no {kind}{number}")
        for line, content in enumerate(text.splitlines(), start=1):
            for page in _PAGE.findall(content):
                file, _, anchor = page.partition("#")
                if file not in self._pages:
                    yield Problem(path, line, f"there is no {file}")
                elif anchor and anchor not in self._pages[file].anchors:
                    yield Problem(path, line, f"{file} has no heading #{anchor}")
            if _FOREIGN.search(content):
                yield Problem(path, line, "a reference to a document outside the repository")

    def _table(self) -> Iterator[Problem]:
        rows = [
            (cells[0], cells[1:], line) for cells, line in self._page(SPECIFICATION).rows(TABLE)
        ]
        named = {name for name, _, _ in rows} | {f"specification §{n}" for n in self._without_row}
        for kind in ("rule ", "invariant ", "specification §"):
            for number, line in self._defined[kind].items():
                if f"{kind}{number}" not in named:
                    yield Problem(SPECIFICATION, line, f"{kind}{number} is missing in the table")
        for name, cells, line in rows:
            for folder, cell in zip(FOLDERS, cells, strict=False):
                files = re.findall(r"`([^`]+)`", cell)
                if not files:
                    yield Problem(SPECIFICATION, line, f"{name} names no file in {folder}/")
                for each in files:
                    problem = self._entry(name, f"{folder}/{each}")
                    if problem:
                        yield Problem(SPECIFICATION, line, problem)

    def _entry(self, name: str, entry: str) -> str | None:
        """Why an entry (``path`` or ``path::test``) of the row ``name`` is wrong, or None."""
        path, _, test = entry.partition("::")
        text = self._texts.get(path)
        if text is None:
            return f"there is no {path}"
        if test and not re.search(rf"^ *(?:async )?def {re.escape(test)}\(", text, re.MULTILINE):
            return f"{path} has no test {test}"
        kind = next((each for each in self._defined if name.startswith(each)), None)
        if kind is None:
            return f"{name} is neither a rule nor an invariant nor a section"
        if name not in {f"{kind}{number}" for number, _ in _references(kind, text)}:
            return f"{path} does not mention {name}"
        return None

    def _codes(self) -> Iterator[Problem]:
        known = {
            str(value.value): value.lineno
            for item in ast.parse(self._texts.get(ERRORS, "")).body
            if isinstance(item, ast.ClassDef) and item.name in {"FailureCode", "SkipCode"}
            for value in (each.value for each in item.body if isinstance(each, ast.Assign))
            if isinstance(value, ast.Constant)
        }
        written = {
            code: line
            for heading in ("Failed", "Skipped")
            for cells, line in self._page(CODES).rows(heading)
            for code in re.findall(r"`([^`]+)`", cells[0])
        }
        for code in sorted(known.keys() - written.keys()):
            yield Problem(ERRORS, known[code], f"the code {code} is missing in {CODES}")
        for code in sorted(written.keys() - known.keys()):
            yield Problem(CODES, written[code], f"there is no code {code} in {ERRORS}")


def main() -> int:
    """Check the tree; the exit code."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    problems = list(Checker(root, listed.stdout.splitlines()).problems())
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
