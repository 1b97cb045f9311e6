"""scripts/check_docs.py: each kind of dead reference is found, and a sound tree has none."""

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
| rule 0 | `rules.py` | `test_rules.py` |
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
SOUND = {
    "README.md": "# Top\n\n[rules](docs/specification.md#rule-0-a-row), [here](#top)\n",
    "docs/specification.md": SPECIFICATION,
    "docs/codes.md": CODES,
    "docs/decisions/01-one.md": "# One\n",
    "rogo_async/common/errors.py": ERRORS,
    "rogo_async/rules.py": '"""Rule 0, invariant 1, specification §1, docs/codes.md#failed."""\n',
    "tests/test_rules.py": "# See decision 1 and rules 0 and 0.\n",
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


def test_a_sound_tree_has_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("README.md", "# Top\n\n[x](docs/none.md)\n", "README.md:3: the link docs/none.md leads"),
        ("README.md", "# Top\n\n[x](#bottom)\n", "README.md:3: the link #bottom leads to no head"),
        ("rogo_async/rules.py", "# Rule 7.\n", "rogo_async/rules.py:1: there is no rule 7"),
        ("rogo_async/rules.py", "x = 1  # rules 0 and 9\n", "there is no rule 9"),
        ("rogo_async/rules.py", "# invariant 2\n", "there is no invariant 2"),
        ("rogo_async/rules.py", "# specification §1, §5\n", "there is no specification § 5"),
        ("tests/test_rules.py", "# decision 3\n", "there is no decision 3"),
        ("tests/test_rules.py", "# docs/none.md\n", "there is no docs/none.md"),
        ("tests/test_rules.py", "# docs/codes.md#none\n", "docs/codes.md has no heading #none"),
        ("rogo_async/rules.py", "# SPEC §3\n", "a document outside the repository"),
        ("docs/codes.md", CODES.replace("row_malformed", "row_odd"), "row_malformed is missing"),
        ("docs/codes.md", CODES.replace("row_malformed", "row_odd"), "there is no code row_odd"),
        (
            "docs/specification.md",
            SPECIFICATION.replace("| rule 0 | `rules.py`", "| rule 0 | `gone.py`"),
            "there is no rogo_async/gone.py",
        ),
        (
            "docs/specification.md",
            SPECIFICATION.replace("| rule 0 | `rules.py` | `test_rules.py` |\n", ""),
            "rule 0 is missing from the table",
        ),
        (
            "docs/specification.md",
            SPECIFICATION.replace("| invariant 1 | `rules.py` | `test_rules.py` |", ""),
            "invariant 1 is missing from the table",
        ),
        (
            "docs/specification.md",
            SPECIFICATION.replace(
                "| rule 0 | `rules.py` | `test_rules.py` |", "| rule 0 | a | b |"
            ),
            "rule 0 names no file in tests/",
        ),
    ],
)
def test_a_dead_reference_is_found(tmp_path: Path, file: str, text: str, problem: str) -> None:
    assert any(problem in each for each in problems(tmp_path, **{file.replace("/", "__"): text}))
