"""The files of a run that a report is made from, and the report beside them (specification §2)."""

import re
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import ValidationError

from rogo_async.common.data_dir import FAILED
from rogo_async.common.errors import SetupError
from rogo_async.common.files import write_private
from rogo_async.reporting.html.page import render
from rogo_async.reporting.html.summary_model import RUN_ID, Summary
from rogo_async.reporting.html.timeline import Point, read_points, timeline_file
from rogo_async.reporting.summary import headline

_SUMMARY: Final = re.compile(rf"({RUN_ID})\.json")


class StoredRun(NamedTuple):
    """What is kept of a run."""

    summary: Summary
    headline: str
    points: list[Point]


def newest_run(runs: Path) -> str:
    """The id of the latest run that has a summary. Raises SetupError when there is none."""
    found = [match[1] for file in _files(runs) if (match := _SUMMARY.fullmatch(file.name))]
    if not found:
        raise SetupError(f"{runs}: no run has left a summary here")
    return max(found)


def read_run(runs: Path, run_id: str) -> StoredRun:
    """Read what is kept of a run. Raises SetupError when there is no such run."""
    if re.fullmatch(RUN_ID, run_id) is None:
        raise SetupError(f"{run_id!r} is no run's id: they are like 20260131T011500Z-0123abcd")
    file = runs / f"{run_id}.json"
    try:
        summary = Summary.model_validate_json(file.read_bytes())
    except ValidationError:
        raise SetupError(f"{file}: is no summary of a run") from None
    except OSError as error:
        raise SetupError(f"{file}: cannot be read ({error.strerror})") from None
    selection = runs / f"{run_id}.failed.csv"
    failed_file = f"runs/{selection.name}" if selection.exists() else FAILED
    return StoredRun(
        summary, headline(summary.model_dump(), failed_file), _points(timeline_file(runs, run_id))
    )


def write_report(runs: Path, run_id: str, output: Path | None = None) -> Path:
    """Write a run's page, beside its summary if nowhere else, and tell where.

    Raises SetupError when there is no such run, and OSError.
    """
    run = read_run(runs, run_id)
    output = output or runs / f"{run_id}.html"
    write_private(output, render(run.summary, run.headline, run.points).encode())
    return output


def _files(runs: Path) -> list[Path]:
    try:
        return list(runs.iterdir())
    except OSError:
        return []


def _points(file: Path) -> list[Point]:
    try:
        with file.open("rb") as lines:
            return read_points(lines)
    except OSError:
        return []
