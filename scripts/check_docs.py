"""Check every reference in the documentation and the code: ``python scripts/check_docs.py [ROOT]``.

Prints one line for each problem (``file:line: problem``) and exits with 1 if there is any.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

SPECIFICATION: Final = "docs/specification.md"
CODES: Final = "docs/codes.md"
ERRORS: Final = "rogo_async/common/errors.py"
DECISIONS: Final = "docs/decisions"
FOLDERS: Final = ("rogo_async", "tests")

_NUMBERS: Final = r"(\d+(?:(?:, | and | or | to )\d+)*)"
_RULE: Final = re.compile(rf"\b[Rr]ules? {_NUMBERS}\b(?!\.\d)")
_INVARIANT: Final = re.compile(rf"\b[Ii]nvariants? {_NUMBERS}\b")
_DECISION: Final = re.compile(r"\bdecisions?[ /](\d+)\b")
_SECTION: Final = re.compile(r"specification (§\d+(?:(?:, | and )§\d+)*)")
_PAGE: Final = re.compile(r"\bdocs/[\w/.-]+\.md(?:#[\w-]+)?")
_FOREIGN: Final = re.compile(r"\b(?:SPEC|DESIGN)\b")
_CODE: Final = re.compile(r'^    [A-Z_]+ = "([a-z_]+)"$', re.MULTILINE)
_TABLE_CELL: Final = re.compile(r"`([\w/]+\.(?:py|sql))`")
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
    """A Markdown file: its links, and the anchors of its headings as GitHub makes them."""

    def __init__(self, text: str) -> None:
        self.tokens = MarkdownIt("commonmark").enable("table").parse(text)
        self.headings = [
            (self.tokens[n + 1].content, (token.map or [0])[0] + 1)
            for n, token in enumerate(self.tokens)
            if token.type == "heading_open"
        ]
        self.anchors = set(_anchors(heading for heading, _ in self.headings))

    def links(self) -> Iterator[tuple[str, int]]:
        """Each link's address and its line."""
        for token in self.tokens:
            for child in token.children or ():
                address = child.attrGet("href") or child.attrGet("src")
                if address is not None:
                    yield str(address), (token.map or [0])[0] + 1

    def rows(self, heading: str) -> Iterator[tuple[list[str], int]]:
        """The cells of each table row below a heading."""
        inside = False
        cells: list[str] = []
        for n, token in enumerate(self.tokens):
            if token.type == "heading_open":
                inside = self.tokens[n + 1].content == heading
            elif inside and token.type == "td_open":
                cells.append(self.tokens[n + 1].content)
            elif inside and token.type == "tr_close" and cells:
                yield cells, _line(token, self.tokens, n)
                cells = []


def _line(token: Token, tokens: list[Token], place: int) -> int:
    while token.map is None and place > 0:
        place -= 1
        token = tokens[place]
    return (token.map or [0])[0] + 1


def _anchors(headings: Iterable[str]) -> Iterator[str]:
    seen: dict[str, int] = {}
    for heading in headings:
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        seen[anchor] = seen.get(anchor, -1) + 1
        yield f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor


class Checker:
    """All checks of one tree. ``texts`` are the tracked text files by their path."""

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self._root = root
        self._texts = {
            path: (root / path).read_text("utf-8")
            for path in paths
            if Path(path).suffix in _TEXT and (root / path).is_file()
        }
        self._pages = {
            path: Page(text) for path, text in self._texts.items() if path.endswith(".md")
        }
        headings = [heading for heading, _ in self._page(SPECIFICATION).headings]
        self.rules = {int(n) for h in headings for n in re.findall(r"^Rule (\d+):", h)}
        self.sections = {int(n) for h in headings for n in re.findall(r"^(\d+)\. ", h)}
        invariants = self._texts.get(SPECIFICATION, "").partition("Invariants\n")[2]
        self.invariants = {int(n) for n in re.findall(r"^(\d+)\. \*\*", invariants, re.MULTILINE)}
        self.decisions = {
            int(Path(path).name[:2])
            for path in self._texts
            if path.startswith(f"{DECISIONS}/") and Path(path).name[:2].isdigit()
        }

    def problems(self) -> Iterator[Problem]:
        """Every problem, file by file."""
        for path, page in sorted(self._pages.items()):
            yield from self._links(path, page)
        for path, text in sorted(self._texts.items()):
            if path not in {"scripts/check_docs.py", "tests/unit/test_check_docs.py"}:
                yield from self._references(path, text)
        yield from self._traceability()
        yield from self._codes()

    def _page(self, path: str) -> Page:
        return self._pages.get(path, Page(""))

    def _links(self, path: str, page: Page) -> Iterator[Problem]:
        for address, line in page.links():
            file, _, anchor = unquote(address).partition("#")
            if re.match(r"[a-z]+:", file):
                continue
            target = (self._root / path).parent / file if file else self._root / path
            if not target.exists():
                yield Problem(path, line, f"the link {address} leads to no file")
                continue
            name = target.resolve().relative_to(self._root.resolve()).as_posix()
            if anchor and name in self._pages and anchor not in self._pages[name].anchors:
                yield Problem(path, line, f"the link {address} leads to no heading")

    def _references(self, path: str, text: str) -> Iterator[Problem]:
        kinds = (
            (_RULE, "rule", self.rules),
            (_INVARIANT, "invariant", self.invariants),
            (_DECISION, "decision", self.decisions),
            (_SECTION, "specification §", self.sections),
        )
        for number, line in enumerate(text.splitlines(), start=1):
            for pattern, name, known in kinds:
                for found in pattern.findall(line):
                    for each in map(int, re.findall(r"\d+", found)):
                        if each not in known:
                            yield Problem(path, number, f"there is no {name} {each}")
            for page in _PAGE.findall(line):
                file, _, anchor = page.partition("#")
                if file not in self._pages:
                    yield Problem(path, number, f"there is no {file}")
                elif anchor and anchor not in self._pages[file].anchors:
                    yield Problem(path, number, f"{file} has no heading #{anchor}")
            if _FOREIGN.search(line):
                yield Problem(path, number, "a reference to a document outside the repository")

    def _traceability(self) -> Iterator[Problem]:
        heading = "Where each rule is implemented and tested"
        rows = list(self._page(SPECIFICATION).rows(heading))
        named = {cells[0] for cells, _ in rows}
        wanted = [f"rule {n}" for n in sorted(self.rules)]
        wanted += [f"invariant {n}" for n in sorted(self.invariants)]
        for name in wanted:
            if name not in named:
                yield Problem(SPECIFICATION, 1, f"{name} is missing from the table at the end")
        for cells, line in rows:
            for folder, cell in zip(FOLDERS, cells[1:], strict=False):
                paths = _TABLE_CELL.findall(cell)
                if not paths:
                    yield Problem(SPECIFICATION, line, f"{cells[0]} names no file in {folder}/")
                for each in paths:
                    if not (self._root / folder / each).is_file():
                        yield Problem(SPECIFICATION, line, f"there is no {folder}/{each}")

    def _codes(self) -> Iterator[Problem]:
        enums = self._texts.get(ERRORS, "").partition("class FailureCode")[2]
        known = set(_CODE.findall(enums.partition("class RogoError")[0]))
        page = self._page(CODES)
        written = {
            code
            for heading in ("Failed", "Skipped")
            for cells, _ in page.rows(heading)
            for code in re.findall(r"`([a-z_]+)`", cells[0])
        }
        for code in sorted(known - written):
            yield Problem(CODES, 1, f"the code {code} is missing")
        for code in sorted(written - known):
            yield Problem(CODES, 1, f"there is no code {code} in {ERRORS}")


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
