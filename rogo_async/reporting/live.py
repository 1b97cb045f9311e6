"""The state of a run under way, for ``status`` from another terminal (specification §2)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import orjson

from rogo_async.common.files import write_private
from rogo_async.reporting.progress import RunProgress
from rogo_async.reporting.summary import RunRecord

LIVE: Final = ".rogo_async.progress.json"


@contextlib.asynccontextmanager
async def published(
    path: Path, record: RunRecord, progress: RunProgress, interval_s: float
) -> AsyncIterator[None]:
    """Write the state every interval during the block; delete it at the end.

    A disk that refuses it costs the display of ``status`` only.
    """
    task = asyncio.create_task(_publish(path, record, progress.facts, interval_s), name="live")
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


async def _publish(
    path: Path, record: RunRecord, facts: Callable[[], dict[str, object]], interval_s: float
) -> None:
    while True:
        waiting = [
            {"dependency": each.dependency, "reason": each.reason}
            for each in record.call_stats.outages
            if each.ended_s is None
        ]
        state = {"run_id": record.run_id, **facts(), "waiting_for": waiting}
        with contextlib.suppress(OSError):
            await asyncio.to_thread(write_private, path, orjson.dumps(state))
        await asyncio.sleep(interval_s)
