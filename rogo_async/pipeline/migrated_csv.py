"""Rebuilds migrated.csv from the target, and shows the progress."""

from collections.abc import Awaitable, Callable

from rogo_async.common.data_dir import MIGRATED, DataDir
from rogo_async.destination.postgres.connections import Connections
from rogo_async.destination.postgres.migrated_attempts import export_migrated
from rogo_async.pipeline.services import ServiceFactory
from rogo_async.reporting.progress import Stages


async def rebuild_migrated_csv(
    factory: ServiceFactory, connections: Connections, data: DataDir, stages: Stages
) -> None:
    """Replace migrated.csv. Raises OSError, DataDirFull, and what ``with_retry`` raises."""
    async with stages.stage(f"rebuilding {MIGRATED}", "bytes") as stage:

        async def export(sink: Callable[[bytes], Awaitable[None]]) -> None:
            stage.done = 0

            async def counting_sink(rows: bytes) -> None:
                await sink(rows)
                stage.done += len(rows)

            await export_migrated(connections, counting_sink)

        await factory.with_retry(lambda: data.rebuild_migrated(export))
