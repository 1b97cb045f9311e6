"""The rows that a run or a plan selects."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from rogo_async.common.data_dir import MAPPING, SUBMISSIONS
from rogo_async.sources.submissions_csv import Mapping, SubmissionsFile, open_inputs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Selection:
    """The options that select rows. In a full run none of them is set."""

    newest: int | None = None
    attempts: tuple[int, ...] = ()
    input: Path | None = None

    @property
    def is_full(self) -> bool:
        """Whether the run takes every row of submission_files.csv."""
        return self.newest is None and not self.attempts and self.input is None


async def open_selection(
    selection: Selection, directory: Path, stack: AsyncExitStack
) -> tuple[SubmissionsFile, Mapping]:
    """Open both input files and select rows of the first, which the stack closes.

    Raises SetupError.
    """
    file, mapping = await open_inputs(
        selection.input or directory / SUBMISSIONS, directory / MAPPING
    )
    stack.callback(file.close)
    if selection.newest is not None:
        file.select_newest(selection.newest)
    if selection.attempts:
        await file.select_attempts(selection.attempts)
    log.info(
        "inputs read",
        rows=len(file),
        mapping_lines=mapping.lines,
        mapping_lines_without_attempt=mapping.without_attempt,
        mapping_attempts_that_disagree=mapping.disagreeing,
    )
    if not len(file):
        log.warning("nothing to do: the file has a header and no rows")
    return file, mapping
