"""scripts/mutants: a change that a test covers is killed, another is reported as a survivor."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mutants.packages import (
    EQUIVALENT,
    PACKAGES,
    Equivalent,
    Mutant,
    Package,
    load_equivalents,
    load_packages,
)
from tests.mutants.results import Result, survivors, table
from tests.mutants.stages import Run
from tests.mutants.workspace import Workspace

ROOT = Path(__file__).parents[2]

CODE = """
def is_small(number):
    return number < 10


def is_cold(degrees):
    return degrees < 0


def scaled(number):
    factor = 3
    return number * factor

"""
UNIT = """
from calc.limits import is_cold, is_small, scaled


def test_limits():
    assert is_small(-1) and not is_small(50)
    assert is_cold(-5) and not is_cold(5)
    assert scaled(2) == 6
"""
# A new interpreter, in another directory and without variables, as the tool runs in tests.
INTEGRATION = """
import subprocess
import sys

CODE = "import sys; from calc.limits import is_small; sys.exit(is_small(10))"


def test_small(tmp_path):
    subprocess.run([sys.executable, "-c", CODE], cwd=tmp_path, env={}, check=True)
"""
TABLE = """
[calc]
modules = ["calc/limits.py"]
first = ["tests/unit"]
then = ["tests/integration"]
"""
EQUIVALENTS = """
[[equivalent]]
module = "calc/*"
function = "is_cold"
line = "return degrees < 0"
text = "< 0"
by = ["< 1"]
reason = "an example"
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take a second to load
    root = tmp_path / "tiny"
    files = {
        Path("calc/__init__.py"): "",
        Path("calc/limits.py"): CODE,
        Path("tests/__init__.py"): "",
        Path("tests/mutants/__init__.py"): "",
        Path("tests/mutants/plugin.py"): "",  # importing Hypothesis takes a second,
        Path("tests/unit/test_limits.py"): UNIT,
        Path("tests/integration/test_small.py"): INTEGRATION,
        PACKAGES: TABLE,
        EQUIVALENT: EQUIVALENTS,
        Path(".gitignore"): ".mutants/\n__pycache__/\n",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    return root


def run(root: Path) -> list[str]:
    """Test the mutants; return the changed lines of the survivors."""
    workspace = Workspace(root, load_packages(root)["calc"])
    equivalents = load_equivalents(root)
    Run(workspace, equivalents, minutes=5, processes=2, report=print).work()
    found = survivors(workspace, equivalents)
    return [each.mutant.after for each in found if each.result is Result.SURVIVED]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_survivors_are_reported_until_a_test_kills_them(root: Path) -> None:
    pytest.importorskip("mutmut.configuration", reason="scripts/mutants installs mutmut")
    assert run(root) == ["return degrees <= 0"]
    counts = table(load_packages(root).values(), root, load_equivalents(root)).splitlines()[-1]
    assert counts == "| calc | 5 | 1 | 1 | 0 | 83.3% |"
    assert (root / "calc/limits.py").read_text() == CODE

    # As after SIGKILL: a mutant is left in the copy.
    (root / ".mutants/calc/tree/calc/limits.py").write_text("broken")
    test = root / "tests/unit/test_limits.py"
    test.write_text(f"{UNIT}    assert not is_cold(0)\n")
    assert run(root) == []


@pytest.mark.parametrize(
    ("change", "covered"),
    [
        ({}, True),
        ({"after": "b = f(x, 9)"}, False),
        ({"before": "a = f(x, 1)"}, False),
        ({"module": "other.py"}, False),
        ({"function": "g"}, False),
    ],
)
def test_an_entry_covers_only_its_mutants(change: dict[str, str], covered: bool) -> None:
    mutant = {"module": "calc.py", "function": "f", "before": "b = f(x, 1)", "after": "b = f(x, 2)"}
    entry = Equivalent("why", "1", ("0", "2"), module="calc.*", function="f", line="b = f(x, 1)")
    assert entry.covers(Mutant(**{**mutant, **change})) is covered


def paths(package: Package) -> list[str]:
    return [test.partition("::")[0] for test in (*package.first, *package.then)]


def test_the_packages_name_existing_modules_and_tests() -> None:
    for package in load_packages(ROOT).values():
        for module in package.modules:
            assert list(ROOT.glob(module)), module
        for test in paths(package):
            assert (ROOT / test).exists(), test


def test_each_equivalent_mutant_has_a_reason_and_a_line_that_exists() -> None:
    for entry in load_equivalents(ROOT):
        assert entry.reason
        texts = [path.read_text() for path in ROOT.glob(entry.module) if path.suffix == ".py"]
        lines = {line.strip() for text in texts for line in text.splitlines()}
        assert entry.module == "*" or set(entry.line.splitlines()) <= lines, entry
