"""Where the shards of a run are processed, and with which options (specification §7)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rogo_async.common.errors import SetupError
from rogo_async.pipeline.selection import Selection

SHARDS_PER_WORKER: Final = 4
"""More shards than workers: a fast worker does more of them, and less is repeated after a loss."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Where the shards run: ``local`` processes on this machine, or the workers of a scheduler.

    ``env_file`` is read by local processes, as by this one.
    """

    local: int | None
    scheduler: str | None
    shards: int | None
    env_file: Path | None = None


def shards_for(workers: Workers, count: int) -> int:
    """The number of shards for ``count`` workers. Raises SetupError if the last one has left."""
    if not count:
        raise SetupError(
            f"--scheduler {workers.scheduler}: its last worker has just left. Start the workers "
            "again, and run again"
        )
    return workers.shards or count * SHARDS_PER_WORKER


def options_of(selection: Selection) -> list[str]:
    """The options of the command line that give this selection, whose ``input`` is absolute."""
    pairs: list[tuple[str, object]] = []
    if selection.newest is not None:
        pairs.append(("--limit", selection.newest))
    if selection.input is not None:
        pairs.append(("--input", selection.input))
    for name, values in (
        ("--attempt", selection.attempts),
        ("--unit", selection.units),
        ("--assessment", selection.assessments),
        ("--code", selection.codes),
    ):
        pairs += [(name, value) for value in values]
    return [f"{name}={value}" for name, value in pairs]
