"""The rows that a run or a plan selects."""

import asyncio
import csv
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from pyroaring import BitMap

from rogo_async.common.data_dir import FAILED, MAPPING, SUBMISSIONS
from rogo_async.common.errors import SetupError
from rogo_async.common.shard import Shard
from rogo_async.common.text import cell_text
from rogo_async.reporting.failed_rows import read_failed_rows
from rogo_async.reporting.progress import Stages
from rogo_async.rules.records import SourceRow
from rogo_async.sources.mapping_csv import Mapping
from rogo_async.sources.submissions_csv import SubmissionsFile, attempt_of, open_inputs

log = structlog.get_logger()


_UNIT: Final = "Unit Code"
_ASSESSMENT: Final = "Assessment ID"


@dataclass(frozen=True, slots=True)
class Selection:
    """The options that select rows. In a full run none of them is set.

    A row must match every option that is set, and one of the values of each. ``newest`` counts the
    rows that match.
    """

    newest: int | None = None
    attempts: tuple[int, ...] = ()
    input: Path | None = None
    units: tuple[str, ...] = ()
    assessments: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    @property
    def is_full(self) -> bool:
        """Whether the run takes every row of submission_files.csv."""
        return self.facts() is None

    def expected_skips(self, migrated: BitMap, file: SubmissionsFile) -> BitMap:
        """The attempts of the file that a run will probably skip: only a full run reads them all.

        The target may have attempts that are not in the file.
        """
        return migrated & file.attempts if self.is_full else BitMap()

    def facts(self) -> dict[str, object] | None:
        """What was selected, by option, in values that JSON has; None for a full run."""
        path = None if self.input is None else os.fsencode(self.input).decode(errors="replace")
        options: dict[str, object] = {
            "limit": self.newest,
            "attempt": list(self.attempts),
            "input": path,
            "unit": list(self.units),
            "assessment": list(self.assessments),
            "code": list(self.codes),
        }
        return {name: value for name, value in options.items() if value} or None


class _Filter:
    """One option: keeps the rows whose value is wanted, and knows which values no row has."""

    def __init__(self, wanted: Iterable[str | int], value: Callable[[SourceRow], object]) -> None:
        self._value = value
        self._wanted = set(wanted)
        self._found: set[object] = set()

    def matches(self, row: SourceRow) -> bool:
        value = self._value(row)
        if value not in self._wanted:
            return False
        self._found.add(value)
        return True

    def missing(self, values: Iterable[str | int]) -> list[str]:
        """The wanted values that no row has."""
        return [str(value) for value in values if _folded(value) not in self._found]


async def _apply(selection: Selection, file: SubmissionsFile, directory: Path) -> None:
    """Select the rows. Raises SetupError for a value that no row has."""
    options: list[tuple[str, str, Sequence[str | int], Callable[[SourceRow], object]]] = []
    if selection.attempts:
        options.append(("--attempt", "attempt", sorted(set(selection.attempts)), attempt_of))
    if selection.units:
        options.append(("--unit", _UNIT, selection.units, _cell_reader(file, _UNIT)))
    if selection.assessments:
        reader = _cell_reader(file, _ASSESSMENT)
        options.append(("--assessment", _ASSESSMENT, selection.assessments, reader))
    filters = [_Filter(map(_folded, values), value) for _, _, values, value in options]
    every = list(filters)
    if selection.codes:
        failed = await asyncio.to_thread(_failed_attempts, directory / FAILED, selection.codes)
        every.append(_Filter(failed, attempt_of))
    if every:
        await file.select(lambda row: _matches_all(every, row))
    problems = [
        f"{file.path}: no row for {what} {', '.join(missing)}. Check {option}"
        for (option, what, values, _), each in zip(options, filters, strict=True)
        if (missing := each.missing(values))
    ]
    if problems:
        raise SetupError(*problems)
    if selection.newest is not None:
        file.select_newest(selection.newest)


def _matches_all(filters: Sequence[_Filter], row: SourceRow) -> bool:
    # Every filter sees every row, so that each knows which of its values are missing.
    found = [each.matches(row) for each in filters]
    return all(found)


def _folded(value: str | int) -> str | int:
    return value if isinstance(value, int) else cell_text(value).casefold()


def _cell_reader(file: SubmissionsFile, column: str) -> Callable[[SourceRow], object]:
    names = [name.strip() for name in file.columns]
    if column not in names:
        raise SetupError(f"{file.path}: no column {column}. Select the rows in another way")
    index = names.index(column)
    return lambda row: _folded(row.cells[index])


def _failed_attempts(path: Path, codes: Sequence[str]) -> set[int]:
    """The attempts that failed with one of the codes in the latest full run. Raises SetupError."""
    try:
        found = {
            row.attempt
            for row in read_failed_rows(path)
            if row.code in codes and row.attempt is not None
        }
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "no CSV file"
        raise SetupError(
            f"{path}: cannot be read ({reason}). --code selects from the failed-rows file of the "
            "latest full run"
        ) from None
    if not found:
        raise SetupError(
            f"{path}: no attempt failed with {', '.join(codes)}. Check --code. Rows without a "
            "valid Attempt ID have no attempt: use --input with a file of these rows"
        )
    return found


async def open_selection(
    selection: Selection,
    directory: Path,
    stack: AsyncExitStack,
    stages: Stages,
    shard: Shard | None = None,
) -> tuple[SubmissionsFile, Mapping]:
    """Open both input files and select rows of the first, which the stack closes.

    Of the selected rows those of ``shard``, so that all shards select the same ones.

    Raises SetupError.
    """
    path = selection.input or directory / SUBMISSIONS
    size_bytes = path.stat().st_size if path.is_file() else None
    async with stages.stage(f"reading {path.name}", "bytes", size_bytes) as stage:
        file, mapping = await open_inputs(path, directory / MAPPING, stage.set_done, shard)
    stack.callback(file.close)
    await _apply(selection, file, directory)
    file.select_shard()
    log.info(
        "inputs read",
        rows=len(file),
        mapping_lines=mapping.lines,
        mapping_lines_without_attempt=mapping.without_attempt,
        mapping_lines_malformed=mapping.malformed,
        mapping_attempts_that_disagree=mapping.disagreeing,
    )
    if file.rows_with_null_name:
        log.warning(
            "people's names that are the text NULL are migrated as they are",
            rows=file.rows_with_null_name,
            remedy="check the export, and empty these cells if they have no name",
        )
    if not len(file):
        if shard is not None:
            log.info("nothing to do: no selected row belongs to this shard")
        elif selection.is_full:
            log.warning("nothing to do: the file has a header and no rows")
        else:
            log.warning("nothing to do: no row matches all options")
    return file, mapping
