"""The options that select rows, applied to real files (specification §5)."""

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rogo_async.common.errors import SetupError
from rogo_async.pipeline.selection import Selection, open_selection
from rogo_async.reporting.progress import Stages
from tests.support.builders import COLUMNS, MAPPING_COLUMNS

ROWS = [
    # Attempt ID, Unit Code, Assessment ID
    ("1", "U1", "A1"),
    ("2", "U1", "A2"),
    ("2", "U2", "A2"),  # the newest row of attempt 2, which is the one that counts
    ("3", " u1 ", "a1"),
    ("", "U1", "A1"),
    ("4", "U3", "A1"),
    ("5", "U2", "A1"),
    ("5", "U1", "A1"),
]


def write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def line(attempt: str, unit: str, assessment: str, error: str = "") -> list[str]:
    cells = {"Attempt ID": attempt, "Unit Code": unit, "Assessment ID": assessment, "Error": error}
    return [cells.get(name, "") for name in COLUMNS]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The inputs, and a failed-rows file in which attempts 2 and 4 failed in the same way."""
    write(tmp_path / "submission_files.csv", COLUMNS, [line(*row) for row in ROWS])
    write(tmp_path / "attempt_number_mapping.csv", MAPPING_COLUMNS, [])
    failed = [
        line("2", "U2", "A2", "email_missing: none"),
        line("3", "U1", "A1", "report_missing: none"),
        line("4", "U3", "A1", "email_missing: none"),
        line("9", "U3", "A1", "email_missing: no longer in the input"),
        line("", "U1", "A1", "attempt_id_missing: none"),
    ]
    write(tmp_path / "submissions_failed_migration.csv", COLUMNS, failed)
    return tmp_path


async def selected(directory: Path, selection: Selection) -> list[tuple[str, str]]:
    async with AsyncExitStack() as stack:
        file, _ = await open_selection(selection, directory, stack, Stages(None, 60.0))
        rows = [row async for chunk in file.chunks_from_end() for row in chunk]
        assert len(rows) == len(file)
    return [(row.attempt_id, row.cells[COLUMNS.index("Unit Code")].strip()) for row in rows]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (
            Selection(units=("U1",)),
            [("5", "U1"), ("5", "U2"), ("", "U1"), ("3", "u1"), ("1", "U1")],
        ),
        (Selection(units=("u3", "U2")), [("4", "U3"), ("2", "U2"), ("2", "U1")]),
        (Selection(assessments=("A2",)), [("2", "U2"), ("2", "U1")]),
        (Selection(units=("U1",), assessments=("A1",), newest=1), [("5", "U1")]),
        (Selection(units=("U1",), attempts=(1, 3, 4)), [("3", "u1"), ("1", "U1")]),
        (Selection(codes=("email_missing",)), [("4", "U3"), ("2", "U2"), ("2", "U1")]),
        (
            Selection(codes=("email_missing", "report_missing"), units=("U1", "U3")),
            [("4", "U3"), ("3", "u1")],
        ),
        (Selection(attempts=(4,), units=("U1",)), []),
        (Selection(newest=2), [("5", "U1"), ("5", "U2")]),
    ],
)
async def test_rows_match_all_options(
    directory: Path, selection: Selection, expected: list[tuple[str, str]]
) -> None:
    assert await selected(directory, selection) == expected


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (Selection(attempts=(1, 99)), "no row for attempt 99. Check --attempt"),
        (Selection(units=("U1", "U9")), "no row for Unit Code U9. Check --unit"),
        (Selection(assessments=("A9",)), "no row for Assessment ID A9. Check --assessment"),
        (
            Selection(codes=("files_missing",)),
            "submissions_failed_migration.csv: no attempt failed with files_missing. Check --code",
        ),
        (Selection(codes=("attempt_id_missing",)), "no attempt failed with attempt_id_missing"),
    ],
)
async def test_a_value_that_no_row_has_is_refused(
    directory: Path, selection: Selection, text: str
) -> None:
    with pytest.raises(SetupError) as caught:
        await selected(directory, selection)
    assert text in str(caught.value)


async def test_a_file_without_the_column_is_refused(directory: Path) -> None:
    columns = [name for name in COLUMNS if name != "Unit Code"]
    write(directory / "submission_files.csv", columns, [[""] * len(columns)])
    with pytest.raises(SetupError, match="no column Unit Code"):
        await selected(directory, Selection(units=("U1",)))


async def test_a_code_needs_the_failed_rows_file(directory: Path) -> None:
    (directory / "submissions_failed_migration.csv").unlink()
    with pytest.raises(SetupError, match=r"cannot be read .No such file"):
        await selected(directory, Selection(codes=("email_missing",)))


def test_each_option_makes_a_selection_and_is_named() -> None:
    assert Selection().is_full
    assert Selection().facts() is None
    every = Selection(10, (1, 2), Path("some.csv"), ("U1",), ("A1",), ("email_missing",))
    facts = {
        "limit": 10,
        "attempt": [1, 2],
        "input": "some.csv",
        "unit": ["U1"],
        "assessment": ["A1"],
        "code": ["email_missing"],
    }
    assert json.loads(json.dumps(every.facts())) == facts
    for one in (
        Selection(newest=1),
        Selection(attempts=(1,)),
        Selection(input=Path("x")),
        Selection(units=("U1",)),
        Selection(assessments=("A1",)),
        Selection(codes=("email_missing",)),
    ):
        assert not one.is_full
        assert one.facts() is not None
