"""A rollback also uses the journals of shards that were not collected (specification §7)."""

from pathlib import Path

from rogo_async.commands.rollback.selection import OfRun
from rogo_async.common.data_dir import DataDir

RUN = "20260301T010000Z-0000000a"


def test_lines_of_shards_follow_those_that_were_collected(tmp_path: Path) -> None:
    """The collected journal also has the later refreshes of another machine."""
    lines = [b'{"kind":"refresh","attempt":%d}\n' % attempt for attempt in range(4)]
    shard = tmp_path / "shards" / RUN / "0-of-2"
    collected = tmp_path / "runs" / f"{RUN}.journal.jsonl"
    for path, content in (
        (collected, lines[:2]),
        (shard / "runs" / collected.name, [lines[0], lines[3], b'{"torn']),
        (shard.with_name("1-of-2") / "runs" / collected.name, [lines[2]]),
    ):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(content))
    for _ in range(2):
        assert sorted(OfRun(RUN).refreshes(DataDir(tmp_path)).attempts) == [0, 1, 2, 3]
        assert collected.read_bytes().splitlines(keepends=True) == [*lines[:2], lines[3], lines[2]]
