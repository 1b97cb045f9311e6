"""scripts/check_docs.py: each kind of dead reference is found, and a correct tree has none."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_docs.py"
SPECIFICATION = """# Specification

## 1. What goes in

### Rule 0: a row

## 6. Invariants

1. **Once.** Never twice.

## Where each rule is implemented and tested

| rule | module | test |
|---|---|---|
| specification §1 | `rules.py` | `test_rules.py` |
| rule 0 | `rules.py` | `test_rules.py::test_a_row` |
| invariant 1 | `rules.py` | `test_rules.py` |
"""
ERRORS = """class FailureCode(StrEnum):
    ROW_MALFORMED = "row_malformed"


class RogoError(Exception):
    DOWN = "down"
"""
CODES = """# Codes

## Failed

| code | meaning |
|---|---|
| `row_malformed` | too few cells |

## Skipped
"""
TEST = '''"""Specification §1 and decision 1; every invariant, above all invariant
1.
"""

def test_a_row() -> None:
    ...

def test_rule_0() -> None:
    # See docs/decisions/01-one.md.
    ...
'''
SOUND = {
    "README.md": "# Top\n\n[rules](docs/specification.md#rule-0-a-row), [here](#top)\n",
    "docs/specification.md": SPECIFICATION,
    "docs/codes.md": CODES,
    "docs/decisions/01-one.md": "# One\n",
    "rogo_async/common/errors.py": ERRORS,
    "rogo_async/other.py": "# a rule without a number\n",
    "rogo_async/rules.py": '"""Rule 0, invariant 1, specification §1, docs/codes.md#failed."""\n',
    "tests/test_rules.py": TEST,
}


def problems(root: Path, **changes: str) -> list[str]:
    spec = importlib.util.spec_from_file_location("check_docs", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check_docs"] = module
    spec.loader.exec_module(module)
    files = {**SOUND, **{name.replace("__", "/"): text for name, text in changes.items()}}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return [str(each) for each in module.Checker(root, files).problems()]


def test_a_correct_tree_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("README.md", "# Top\n\n[x](docs/none.md)\n", "README.md:3: the link docs/none.md leads"),
        ("README.md", "# Top\n\nSee\n[x](#bottom).\n", "README.md:4: the link #bottom leads to no"),
        ("README.md", "# Top\n\n[x](../..)\n", "README.md:3: the link ../.. leads to no file"),
        ("rogo_async/rules.py", "# Rule 7.\n", "rogo_async/rules.py:1: there is no rule 7"),
        (
            "rogo_async/rules.py",
            "x = 1\ny = 1  # rules 0 and 9\n",
            "rules.py:2: there is no rule 9",
        ),
        ("rogo_async/rules.py", "# rules 0, 4\n", "there is no rule 4"),
        ("rogo_async/rules.py", "# rules 0 to 2\n", "there is no rule 1"),
        (
            "rogo_async/rules.py",
            "# a long line with a rule\n# 8\n",
            "rules.py:1: there is no rule 8",
        ),
        ("tests/test_rules.py", "def test_rule_5_holds(): ...\n", "there is no rule 5"),
        ("rogo_async/rules.py", "# invariant 2\n", "there is no invariant 2"),
        ("rogo_async/rules.py", "# specification §1, §5\n", "there is no specification §5"),
        ("tests/test_rules.py", "# decision 3\n", "there is no decision 3"),
        ("tests/test_rules.py", "# docs/none.md\n", "there is no docs/none.md"),
        ("tests/test_rules.py", "# docs/codes.md#none\n", "docs/codes.md has no heading #none"),
        (
            "tests/test_rules.py",
            "# docs/decisions/02-two.md\n",
            "there is no docs/decisions/02-two.md",
        ),
        ("rogo_async/rules.py", f"# {'SPEC'} §3\n", "a document outside the repository"),
        ("rogo_async/rules.py", f"# {'DESIGN'} 3\n", "a document outside the repository"),
        (
            "docs/codes.md",
            CODES.replace("row_malformed", "row_odd"),
            "rogo_async/common/errors.py:2: the code row_malformed is missing in docs/codes.md",
        ),
        (
            "docs/codes.md",
            CODES.replace("row_malformed", "row_odd"),
            "docs/codes.md:7: there is no code row_odd",
        ),
        *(
            ("docs/specification.md", SPECIFICATION.replace(old, new), problem)
            for old, new, problem in (
                (
                    "| rule 0 | `rules.py` | `test_rules.py::test_a_row` |\n",
                    "",
                    "docs/specification.md:5: rule 0 is missing in the table",
                ),
                (
                    "| invariant 1 | `rules.py` | `test_rules.py` |\n",
                    "",
                    "docs/specification.md:9: invariant 1 is missing in the table",
                ),
                (
                    "| specification §1 | `rules.py` | `test_rules.py` |\n",
                    "",
                    "docs/specification.md:3: specification §1 is missing in the table",
                ),
                (
                    "| rule 0 | `rules.py`",
                    "| rule 0 | `gone.py`",
                    "docs/specification.md:16: there is no rogo_async/gone.py",
                ),
                ("::test_a_row", "::test_gone", "tests/test_rules.py has no test test_gone"),
                ("`test_rules.py::test_a_row`", "none", "rule 0 names no file in tests/"),
                ("| rule 0 | `rules.py`", "| rule 0 | `other.py`", "does not mention rule 0"),
                ("| rule 0 |", "| row 0 |", "row 0 is neither"),
            )
        ),
    ],
)
def test_a_dead_reference_is_found(tmp_path: Path, file: str, text: str, problem: str) -> None:
    assert any(problem in each for each in problems(tmp_path, **{file.replace("/", "__"): text}))
