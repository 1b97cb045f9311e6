"""Merges the files of shards: failed rows in the order of the input, journals, timelines."""

import contextlib
import csv
import hashlib
import heapq
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from rogo_async.commands.collect.shards import ShardResult
from rogo_async.common.errors import SetupError
from rogo_async.common.files import write_private, write_private_parts
from rogo_async.destination.postgres.journal import complete_lines, journal_path
from rogo_async.pipeline.failed_rows_file import RowIndex
from rogo_async.reporting.failed_rows import FailedRowsFile
from rogo_async.reporting.html.timeline import merged, read_points, timeline_file


def failed_rows_in_order(results: Sequence[ShardResult], stack: ExitStack) -> Iterator[bytes]:
    """The header and the failed rows of all shards, the newest first, without ``Line``.

    The stack closes the files. Raises SetupError at once if a file does not fit its summary, and
    OSError.
    """
    begun = [each for each in results if each.has_begun]
    if not begun:
        raise SetupError("no shard has begun its migration: there is nothing to collect")
    files = [stack.enter_context(each.data.failed_rows.open("rb")) for each in begun]
    header = files[0].readline()
    rows = [_rows(file, _index(file, each)) for file, each in zip(files, begun, strict=True)]
    in_order = (row for _, row in heapq.merge(*rows, reverse=True))
    return _without_first_cell(header, in_order)


def _index(file: BinaryIO, result: ShardResult) -> RowIndex:
    """Where the rows of a shard's file are."""
    file.seek(0)
    lines, starts = [], []
    with contextlib.suppress(ValueError, csv.Error):  # it is damaged, and has too few rows
        for row in FailedRowsFile(file):
            lines.append(int(row.cells[0]))
            starts.append(row.offset)
    starts.append(file.seek(0, os.SEEK_END))
    index = RowIndex(starts[0])
    for line, next_start in zip(lines, starts[1:], strict=True):
        index.add(line, next_start)
    if len(index) != result.summary.failed:
        raise SetupError(
            f"{result.data.failed_rows}: has {len(index)} rows, but the summary of shard "
            f"{result.shard} has {result.summary.failed} failed rows. Run this shard again"
        )
    return index


def _rows(file: BinaryIO, index: RowIndex) -> Iterator[tuple[int, bytes]]:
    for line, start, size in index.newest_first():
        file.seek(start)
        yield line, file.read(size)


def _without_first_cell(header: bytes, rows: Iterator[bytes]) -> Iterator[bytes]:
    """The line number, and the name of its column, have no comma, quoted or not."""
    for row in chain((header,), rows):
        yield row.partition(b",")[2]


def merge_journals(runs: Path, run_id: str, journals: Sequence[Path]) -> None:
    """Write each line of these journals once, where it occurs last.

    None is lost that was collected earlier, if that journal is the first one. Raises OSError.
    """
    if journals:
        write_private_parts(journal_path(runs, run_id), _latest_lines(journals))


def _latest_lines(journals: Sequence[Path]) -> Iterator[bytes]:
    left = Counter(hashlib.sha256(line).digest() for line in _lines(journals))
    for line in _lines(journals):
        digest = hashlib.sha256(line).digest()
        left[digest] -= 1
        if not left[digest]:
            yield line


def _lines(journals: Sequence[Path]) -> Iterator[bytes]:
    for journal in journals:
        with journal.open("rb") as file:
            yield from complete_lines(file)


def merge_timelines(target: Path, results: Sequence[ShardResult]) -> None:
    """Write the sum of the timelines. Raises OSError."""
    first = min(each.summary.started_at for each in results)
    parts = []
    for each in results:
        path = timeline_file(each.data.runs, each.summary.run_id)
        if path.exists():
            with path.open("rb") as lines:
                offset_s = (each.summary.started_at - first).total_seconds()
                parts.append((offset_s, read_points(lines)))
    write_private(target, merged(parts).json_lines())
