"""Generated rows in any order and concurrency give the same target (invariant 5)."""

import asyncio
import csv
import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import BlobServiceClient

from rogo_async.demo.checks.check_files import INPUT, MAPPING
from rogo_async.demo.dataset.load import generate_for, load
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.builders import TABLES, Scenario
from tests.support.cli import run_cli, summary

ROWS = 200
SEED = 11
WRITTEN = {
    "submission_marking_assignments": {"assigned_at"},
    "malpractice_enforcements": {"rule_applied_at", "created_at", "updated_at"},
}
"""Columns that hold the time of writing."""


async def test_invariant_5_the_target_is_the_same_in_any_order(
    stack: Stack, workspace: Workspace, tmp_path: Path
) -> None:
    dataset = generate_for(stack, workspace, ROWS, SEED)
    await load(dataset, stack, workspace)
    variants = [(1, False), (1, True), (64, False), (64, True)]
    found = []
    for pair in (variants[:2], variants[2:]):
        found += await asyncio.gather(
            *(_variant(stack, workspace, tmp_path, *variant) for variant in pair)
        )
    (first, codes), *others = found
    assert len(first["assignment_submissions"]) > ROWS / 2
    assert first["malpractice_enforcements"]
    assert codes["duplicate_row"]
    for (dump, found_codes), variant in zip(others, variants[1:], strict=True):
        assert found_codes == codes, variant
        for table in TABLES:
            assert dump[table] == first[table], (table, variant)


async def _variant(
    stack: Stack, workspace: Workspace, tmp_path: Path, concurrency: int, backwards: bool
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """The results of a run in a separate target and container."""
    name = f"c{concurrency}{'back' if backwards else ''}"
    own = replace(
        workspace,
        target=f"{workspace.target}_{name}",
        container=f"{workspace.container}-{name}",
        data_dir=tmp_path / name,
    )
    own.data_dir.mkdir()
    for file in (INPUT, MAPPING):
        data = (workspace.data_dir / file).read_bytes()
        if backwards and file == INPUT:
            data = _attempts_reversed(data)
        (own.data_dir / file).write_bytes(data)
    await stack.postgres.create_database(own.target, workspace.target)
    async with BlobServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        await service.create_container(own.container)
        try:
            env = stack.environment_of(own)
            result = await run_cli(env, ROGO_CONCURRENCY=str(concurrency))
            assert result.code == 1, result.output
            dump = await _dump(Scenario(stack, own))
        finally:
            await service.delete_container(own.container)
            await stack.postgres.drop_databases(own.target)
    return dump, summary(own.data_dir)["by_code"]


def _attempts_reversed(data: bytes) -> bytes:
    """The rows from the last to the first, but those of one attempt in the order they had."""
    header, *rows = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
    workspace = header.index("Attempt ID")
    rows = [row for row in rows if row]
    by_attempt: dict[object, list[list[str]]] = defaultdict(list)
    for row in rows:
        by_attempt[_attempt(row, workspace)].append(row)
    turned = [by_attempt[_attempt(row, workspace)].pop(0) for row in reversed(rows)]
    assert turned not in (rows, rows[::-1])
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows([header, *turned])
    return text.getvalue().encode()


def _attempt(row: list[str], workspace: int) -> object:
    cell = row[workspace].strip()
    return int(cell) if cell.isascii() and cell.isdecimal() else tuple(row)


async def _dump(scenario: Scenario) -> dict[str, list[str]]:
    """Every row of every table as text, with generated ids replaced by their meaning."""
    submissions = await scenario.rows("assignment_submissions")
    records = await scenario.rows("lti_session_records")
    names = {
        scenario.workspace.container: "the container",
        **{row["id"]: row["lti_launch_id"] for row in submissions},
        **{row["id"]: row["launch_id"] for row in records},
    }
    return {
        table: sorted(str(_plain(row, names, table)) for row in await scenario.rows(table))
        for table in TABLES
    }


def _plain(row: dict[str, Any], names: dict[str, str], table: str) -> list[tuple[str, Any]]:
    made_up = {"id", *WRITTEN.get(table, ())}
    return [
        (column, _named(value, names)) for column, value in row.items() if column not in made_up
    ]


def _named(value: Any, names: dict[str, str]) -> Any:
    """A value with its known names replaced, if they are a whole segment of a path."""
    if not isinstance(value, str):
        return value
    return "/".join(names.get(part, part) for part in value.split("/"))


@pytest.fixture
def scenario(stack: Stack, workspace: Workspace) -> Scenario:
    return Scenario(stack, workspace)


async def test_rule_2_of_several_rows_of_an_attempt_the_last_counts(
    scenario: Scenario, env: dict[str, str]
) -> None:
    old, new = scenario.submission(7), scenario.submission(7)
    old.cells |= {"Attempt ID": "007", "Surname": "Earlier"}
    new.cells |= {"Surname": "Later"}
    new.report = {}
    other = scenario.submission(8)
    await scenario.load([old, new, other, replace(other, report={})])
    assert (await run_cli(env)).code == 0
    assert summary(scenario.data_dir)["by_code"] == {"duplicate_row": 2}
    assert {row["last_name"] for row in await scenario.rows("assignment_submissions")} == {
        "Later",
        "Lovelace",
    }
    assert await scenario.attempts() == [7, 8]
