"""The state of a run under way, for ``status`` from another terminal (specification §2)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from rogo_async.common.files import write_private
from rogo_async.reporting.progress import RunProgress
from rogo_async.reporting.summary import RunRecord

LIVE: Final = ".rogo_async.progress.json"


@contextlib.asynccontextmanager
async def published(
    path: Path, state: Callable[[], Mapping[str, object]], interval_s: float
) -> AsyncIterator[None]:
    """Write the current state every interval during the block; delete it at the end.

    A disk that refuses it costs the display of ``status`` only.
    """
    task = asyncio.create_task(_publish(path, state, interval_s), name="live")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        with contextlib.suppress(OSError):
            await asyncio.to_thread(path.unlink, missing_ok=True)


def read_live(data_dir: Path) -> dict[str, Any] | None:
    """The state that a run wrote last; None without one. The run may have been killed since."""
    try:
        found = orjson.loads((data_dir / LIVE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def state_of(record: RunRecord, progress: RunProgress) -> dict[str, object]:
    """The state of a run in this process: its id, its progress, and the outages under way."""
    waiting = [
        {"dependency": each.dependency, "reason": each.reason}
        for each in record.call_stats.outages
        if each.ended_s is None
    ]
    return {"run_id": record.run_id, **progress.facts(), "waiting_for": waiting}


async def _publish(
    path: Path, state: Callable[[], Mapping[str, object]], interval_s: float
) -> None:
    while True:
        with contextlib.suppress(OSError):
            await asyncio.to_thread(write_private, path, orjson.dumps(state()))
        await asyncio.sleep(interval_s)
