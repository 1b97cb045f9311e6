"""The shards of a run that were not begun, or left no summary: their rows were not processed.

``collect`` needs a summary of each shard, so that every row of the input is counted.
"""

from collections import Counter
from collections.abc import Collection
from datetime import datetime

from rogo_async.common.data_dir import DataDir, shards_of
from rogo_async.common.errors import RowError
from rogo_async.common.files import make_private_directory
from rogo_async.common.settings import Settings
from rogo_async.common.shard import Shard, shard_index
from rogo_async.common.shutdown import StopSignal
from rogo_async.pipeline.selection import Selection
from rogo_async.reporting.summary import RunRecord, read_summary
from rogo_async.reporting.summary_parts import ShardFacts
from rogo_async.rules.identity import parse_attempt_id
from rogo_async.rules.records import SourceRow
from rogo_async.sources.submissions_csv import SubmissionsFile


async def record_unreached(
    settings: Settings,
    selection: Selection,
    run_id: str,
    began_at: datetime,
    shards: Collection[Shard],
    file: SubmissionsFile,
    inputs: dict[str, str],
    stop_signal: StopSignal,
) -> None:
    """Write the summary of these shards.

    A shard that has left a result in the data directory keeps it: it had ended, and only the news
    of it was lost.

    ``file`` has the selected rows of the whole run; ``inputs`` the SHA-256 of the input files.
    Raises OSError, and InputChanged.
    """
    rows = await _rows_by_shard(file, next(iter(shards)).count)
    for shard in shards:
        data = DataDir(shards_of(settings.rogo_data_dir, run_id) / shard.directory)
        if _has_result(data, run_id):
            continue
        for each in (data.path.parents[1], data.path.parent, data.path, data.runs):
            make_private_directory(each)
        record = RunRecord.begin(run_id, 0, settings.target_names, selection.facts())
        record.started_at = began_at
        record.tally.total = rows[shard.index]
        facts = ShardFacts(
            shard=str(shard), settings=settings.rules_digest, inputs=inputs, is_placeholder=True
        )
        summary = record.summary(stop_signal).model_copy(update={"shard": facts})
        data.write_summary(run_id, summary.to_json(), is_full=False)


def _has_result(data: DataDir, run_id: str) -> bool:
    try:
        return read_summary(data.summary_of(run_id)).is_result_of_shard
    except (FileNotFoundError, ValueError):
        return False


async def _rows_by_shard(file: SubmissionsFile, count: int) -> Counter[int]:
    found: Counter[int] = Counter()
    async for rows in file.chunks_from_end():
        found.update(shard_index(_attempt_of(row), row.line, count) for row in rows)
    return found


def _attempt_of(row: SourceRow) -> int | None:
    """The attempt that decides to which shard a row belongs, also if the row is malformed."""
    try:
        return parse_attempt_id(row.attempt_id)
    except RowError:
        return None
