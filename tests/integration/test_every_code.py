"""Two thousand generated rows in which every outcome occurs, against the known answer."""

from pathlib import Path

import pytest
from operating import FAILED, Ended, operate, summary, table

from rogo_async.devstack.dataset import Dataset
from rogo_async.devstack.demo_checks import check
from rogo_async.devstack.load import generate_for, load
from rogo_async.devstack.stack import Place, Stack
from rogo_async.errors import FailureCode, SkipCode
from rogo_async.model import Status

ROWS = 2_000
SEED = 7
EVERY_CODE = {*FailureCode, *SkipCode} - {FailureCode.TARGET_CONFLICT}
"""A conflict takes a race, which no data can bring about: test_target_conflict has it."""


@pytest.fixture
async def dataset(stack: Stack, place: Place) -> Dataset:
    made = generate_for(stack, place, ROWS, SEED)
    await load(made, stack, place)
    return made


async def test_every_row_ends_as_it_must_and_again_when_it_is_run_again(
    dataset: Dataset, stack: Stack, place: Place, site: dict[str, str]
) -> None:
    first = await _first_run(dataset, stack, place, site)
    second = await _second_run(place, site, first)
    await _run_of_the_failed_rows(place, site, second)


async def _first_run(
    dataset: Dataset, stack: Stack, place: Place, site: dict[str, str]
) -> dict[str, object]:
    ended = await operate(site)
    found = summary(place.data_dir)
    assert ended.code == found["exit_code"] == 1
    assert set(found["by_code"]) == EVERY_CODE
    assert found["by_code"] == dict(dataset.by_code())
    assert found["rows_total"] == ROWS
    assert found["not_reached"] == 0
    assert found["failed_new"] == found["failed"] == dataset.counts()[Status.FAILED]
    assert found["migrated"] == dataset.counts()[Status.MIGRATED] > 0
    _says_how_it_ended(ended, found)
    results = await check(dataset, stack, place)
    assert len(results) > 5
    assert [result for result in results if not result.ok] == []
    return found


def _says_how_it_ended(ended: Ended, found: dict[str, object]) -> None:
    assert f"{found['failed']:,} failed" in ended.stdout
    assert FAILED in ended.stdout
    assert ended.said == []
    assert ended.events("a fault of this tool") == []


async def _second_run(
    place: Place, site: dict[str, str], first: dict[str, object]
) -> dict[str, object]:
    failed_file = place.data_dir / FAILED
    failed = failed_file.read_bytes()
    codes = _codes(failed_file)
    ended = await operate(site)
    found = summary(place.data_dir)
    assert ended.code == 1
    assert found["migrated"] == 0
    assert found["failed"] == first["failed"]
    assert found["failed_new"] == 0
    assert _codes(failed_file) == codes
    kept = place.data_dir / "runs" / f"{first['run_id']}.failed.csv"
    assert kept.read_bytes() == failed
    return found


async def _run_of_the_failed_rows(
    place: Place, site: dict[str, str], second: dict[str, object]
) -> None:
    failed_file = place.data_dir / FAILED
    before = failed_file.read_bytes()
    ended = await operate(site, "run", "--input", FAILED)
    found = summary(place.data_dir)
    assert ended.code == 1
    assert found["rows_total"] == found["failed"] == second["failed"]
    assert found["failed_new"] == 0
    assert failed_file.read_bytes() == before
    again = place.data_dir / "runs" / f"{found['run_id']}.failed.csv"
    assert _codes(again) == _codes(failed_file)
    assert f"runs/{found['run_id']}.failed.csv" in ended.stdout


def _codes(path: Path) -> list[tuple[tuple[str, ...], str]]:
    """Every failed row, cell by cell, with its code and without the message, in some order."""
    rows = [tuple(row.values()) for row in table(path)]
    return sorted((row[:-1], row[-1].partition(": ")[0]) for row in rows)
