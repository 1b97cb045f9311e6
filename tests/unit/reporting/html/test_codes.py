"""The report takes the text of every code from docs/codes.md."""

from importlib.resources import files
from pathlib import Path

import pytest

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.reporting.html.codes import advice

DOCS = Path(__file__).parents[4] / "docs" / "codes.md"


def codes_of(heading: str) -> list[str]:
    """The codes of a section's table, in their order."""
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]


def test_the_package_contains_the_document() -> None:
    packaged = files("rogo_async.reporting.html") / "codes.md"
    assert packaged.read_text(encoding="utf-8") == DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_has_a_meaning_and_a_remedy(code: FailureCode) -> None:
    meaning, remedy = advice()[code.value]
    row = next(
        line
        for line in DOCS.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| `{code.value}` |")
    )
    assert meaning
    assert remedy
    assert f"| {meaning} |" in row
    assert row.endswith(f"| {remedy} |")


@pytest.mark.parametrize("code", SkipCode)
def test_every_skip_has_a_meaning(code: SkipCode) -> None:
    assert advice()[code.value].meaning
    assert not advice()[code.value].remedy


def test_no_code_is_left_out_and_the_order_is_that_of_the_rules() -> None:
    assert codes_of("Failed") == [code.value for code in FailureCode]
    assert codes_of("Skipped") == [code.value for code in SkipCode]
