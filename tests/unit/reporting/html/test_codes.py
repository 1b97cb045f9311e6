"""docs/codes.md and the report say the same of every code."""

from pathlib import Path

from rogo_async.common.errors import FailureCode, SkipCode
from rogo_async.reporting.html.codes import FAILED, SKIPPED

DOCS = Path(__file__).parents[4] / "docs" / "codes.md"


def cells(heading: str) -> dict[str, list[str]]:
    """The cells of a section's table after the code, by code."""
    section = DOCS.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0].strip("`"): row[1:] for row in rows}


def test_every_failure_reads_alike_in_both() -> None:
    assert {code.value: list(advice) for code, advice in FAILED.items()} == cells("Failed")


def test_every_skip_reads_alike_in_both() -> None:
    assert {code.value: [meaning] for code, meaning in SKIPPED.items()} == cells("Skipped")


def test_no_code_is_left_out_and_the_order_is_that_of_the_rules() -> None:
    assert list(FAILED) == list(FailureCode)
    assert list(SKIPPED) == list(SkipCode)
