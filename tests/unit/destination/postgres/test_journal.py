"""A journal line is complete on disk before its change is made; otherwise the change fails."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from rogo_async.common.errors import DataDirFull
from rogo_async.destination.postgres.journal import Journal, end_last_line

FEW_BYTES = 300
FULL = f"""
import asyncio, resource, signal, sys
from pathlib import Path
from rogo_async.common.errors import DataDirFull
from rogo_async.destination.postgres.journal import Journal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({FEW_BYTES}, {FEW_BYTES}))
journal = Journal(Path(sys.argv[1]))
asyncio.run(journal.record_original(1, "s", {{"id": "x" * 50}}))
for _ in range(2):
    try:
        asyncio.run(journal.record_original(2, "s", {{"id": "y" * {FEW_BYTES}}}))
    except DataDirFull:
        continue
    sys.exit("a line that does not fit was written")
"""


def test_a_line_that_does_not_fit_leaves_no_part_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "x.journal.jsonl"
    subprocess.run([sys.executable, "-c", FULL, str(path)], check=True, timeout=30)
    lines = path.read_bytes().splitlines()
    assert [orjson.loads(line)["attempt"] for line in lines] == [1]
    assert path.read_bytes().endswith(b"\n")
    assert path.stat().st_mode & 0o777 == 0o600


async def test_concurrent_lines_do_not_mix(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.journal.jsonl")
    await asyncio.gather(*(journal.record_original(n, "s", {"n": n}) for n in range(20)))
    lines = (tmp_path / "x.journal.jsonl").read_bytes().splitlines()
    assert sorted(orjson.loads(line)["before"]["n"] for line in lines) == list(range(20))


async def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataDirFull, match=os.strerror(2)):
        await Journal(tmp_path / "no" / "x").record_original(1, "s", {})


@pytest.mark.parametrize(
    ("before", "after"),
    [(b"", b""), (b"{}\n", b"{}\n"), (b'{}\n{"torn', b'{}\n{"torn\n')],
)
def test_a_line_that_a_power_loss_cut_is_ended_before_the_next(
    tmp_path: Path, before: bytes, after: bytes
) -> None:
    path = tmp_path / "x.journal.jsonl"
    end_last_line(path)
    assert not path.exists()
    path.write_bytes(before)
    end_last_line(path)
    assert path.read_bytes() == after
