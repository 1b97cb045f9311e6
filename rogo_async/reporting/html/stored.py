"""Reads the files of a run, and writes the report beside them (specification §2)."""

import re
from pathlib import Path

from rogo_async.common.data_dir import FAILED, RUN_ID
from rogo_async.common.errors import SetupError
from rogo_async.common.files import write_private
from rogo_async.reporting.html.page import render
from rogo_async.reporting.html.timeline import Point, read_points, timeline_file
from rogo_async.reporting.summary import read_summary, summary_files


def newest_run(runs: Path) -> str:
    """The id of the latest run that has a summary. Raises SetupError when there is none."""
    try:
        return summary_files(runs)[0].stem
    except (OSError, IndexError):
        raise SetupError(f"{runs}: no summary of a run found") from None


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
    page = render(summary, summary.line(failed_file), _points(timeline_file(runs, run_id)))
    output = output or runs / f"{run_id}.html"
    write_private(output, page.encode())
    return output


def _points(file: Path) -> list[Point]:
    try:
        with file.open("rb") as lines:
            return read_points(lines)
    except OSError:
        return []
