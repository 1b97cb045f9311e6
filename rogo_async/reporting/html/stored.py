"""Reads the files of a run, and writes the report beside them (specification §2)."""

import contextlib
import csv
import re
from pathlib import Path

from rogo_async.common.data_dir import FAILED, LATEST_FULL, RUN_ID
from rogo_async.common.errors import SetupError
from rogo_async.common.files import write_private
from rogo_async.reporting.failed_rows import FailureGroup, group_failures, read_failed_rows
from rogo_async.reporting.html.page import Context, render
from rogo_async.reporting.html.timeline import Point, read_points, timeline_file
from rogo_async.reporting.summary import (
    latest_nights,
    latest_of_the_nights,
    read_summary,
    readable_summaries,
)
from rogo_async.reporting.verification import read_verification


def newest_run(runs: Path) -> str:
    """The id of the latest full run, else of the latest of all. Raises SetupError without any."""
    latest = latest_of_the_nights(readable_summaries(runs))
    if latest is None:
        raise SetupError(f"{runs}: no summary of a run found")
    return latest.run_id


def write_report(runs: Path, run_id: str, output: Path | None = None) -> Path:
    """Write the HTML page of a run, by default beside its summary. Returns its path.

    Raises SetupError if there is no such run, and OSError.
    """
    if re.fullmatch(RUN_ID, run_id) is None:
        raise SetupError(f"{run_id!r} is not a run id (expected 20260131T011500Z-0123abcd)")
    file = runs / f"{run_id}.json"
    try:
        summary = read_summary(file)
    except ValueError:
        raise SetupError(f"{file}: not a valid run summary") from None
    except OSError as error:
        raise SetupError(f"{file}: cannot be read ({error.strerror})") from None
    of_selection = runs / f"{run_id}.failed.csv"
    failed_file = f"runs/{of_selection.name}" if of_selection.exists() else FAILED
    context = Context(
        nights=latest_nights(readable_summaries(runs)),
        groups=_groups(runs, run_id),
        verification=read_verification(runs.parent),
    )
    points = _points(timeline_file(runs, run_id))
    page = render(summary, summary.line(failed_file), points, context)
    output = output or runs / f"{run_id}.html"
    write_private(output, page.encode())
    return output


def _groups(runs: Path, run_id: str) -> list[FailureGroup]:
    """The failures of a run; empty if its failed-rows file is gone or cannot be read."""
    file = runs / f"{run_id}.failed.csv"
    with contextlib.suppress(OSError, ValueError, csv.Error):
        if not file.exists() and run_id == (runs / LATEST_FULL).read_text().strip():
            file = runs.parent / FAILED
        return group_failures(read_failed_rows(file))
    return []


def _points(file: Path) -> list[Point]:
    try:
        with file.open("rb") as lines:
            return read_points(lines)
    except OSError:
        return []
