"""Reads attempt_number_mapping.csv.

Source: specification §1.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rogo_async.common.errors import InputChanged, RowError, SetupError
from rogo_async.common.text import cell_text
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.records import MappingRow
from rogo_async.sources.csv_reader import Record, column_indexes, fingerprint, open_input, scan

MAPPING_COLUMNS: Final = ("Attempt ID", "Unit Code Version", "Submission")


@dataclass(frozen=True, slots=True)
class Mapping:
    """attempt_number_mapping.csv by attempt, and counts of its irregular lines."""

    rows: dict[int, MappingRow]
    lines: int
    without_attempt: int
    disagreeing: int
    malformed: int

    def get(self, attempt: int) -> MappingRow | None:
        """The last row of this attempt, or None."""
        return self.rows.get(attempt)


async def load_mapping(path: Path) -> Mapping:
    """Read the mapping file. Irregular lines are counted and never stop the run."""
    return await asyncio.to_thread(_load_mapping, path)


def _load_mapping(path: Path) -> Mapping:
    with open_input(path) as handle:
        mark = fingerprint(handle)
        reader = scan(path, handle)
        header = next(reader, None)
        if header is None:
            raise SetupError(f"{path}: no header. Export it again")
        indexes = column_indexes(path, header.cells, MAPPING_COLUMNS)
        used = [indexes[name] for name in MAPPING_COLUMNS]
        width = len(header.cells)
        rows: dict[int, MappingRow] = {}
        shared: dict[MappingRow, MappingRow] = {}
        lines = without_attempt = malformed = 0
        disagreeing: set[int] = set()
        for record in reader:
            lines += 1
            text, version, submission = _cells(record.cells, used)
            defect = record.defect or _wrong_width(record, width)
            malformed += defect is not None
            try:
                attempt = parse_attempt_id(text.strip('"') if defect else text)
            except RowError:
                without_attempt += 1
                continue
            if defect:
                row = MappingRow("", "", f"line {record.line}: {defect}")
            else:
                row = MappingRow(version, submission)
            row = shared.setdefault(row, row)
            if rows.get(attempt, row) != row:
                disagreeing.add(attempt)
            rows[attempt] = row
        if fingerprint(handle) != mark:
            raise InputChanged(path)
    return Mapping(rows, lines, without_attempt, len(disagreeing), malformed)


def _cells(cells: list[str], indexes: list[int]) -> tuple[str, ...]:
    return tuple(cell_text(cells[index]) if index < len(cells) else "" for index in indexes)


def _wrong_width(record: Record, width: int) -> str | None:
    """The values of such a line may be shifted, and then mean something else."""
    cells = len(record.cells)
    return None if cells == width else f"{cells} cells, the header has {width}"
