"""The record of every start of ``run`` never harms a run (specification §2)."""

import json
import os
from pathlib import Path

from rogo_async.common.data_dir import DataDir
from rogo_async.reporting.starts import STARTS, Starts, read_starts

FIRST = "20250310T010000Z-1a2b3c4d"
SECOND = "20250311T010000Z-1a2b3c4d"


def test_a_start_and_its_end(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "runs")
    starts.began(FIRST)
    (running,) = read_starts(tmp_path / "runs")
    assert (running.in_progress, running.exit_code) == (True, None)
    starts.ended(FIRST, 2, ["one", "two"])
    (ended,) = read_starts(tmp_path / "runs")
    assert (ended.in_progress, ended.exit_code, ended.message) == (False, 2, "one; two")
    assert (tmp_path / "runs" / STARTS).stat().st_mode & 0o777 == 0o600


def test_half_a_line_costs_only_itself(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "runs")
    starts.began(FIRST)
    with (tmp_path / "runs" / STARTS).open("ab") as file:
        file.write(b'{"run_id":"2025031')
    starts.began(SECOND)
    assert [start.run_id for start in read_starts(tmp_path / "runs")] == [SECOND, FIRST]


def test_a_process_that_has_ended_is_not_in_progress(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "runs")
    child = os.fork()
    if child == 0:
        starts.began(FIRST)
        os._exit(0)
    os.waitpid(child, 0)
    (start,) = read_starts(tmp_path / "runs")
    assert (start.in_progress, start.exit_code) == (False, None)


def test_a_name_that_is_not_utf8_is_recorded_with_question_marks(tmp_path: Path) -> None:
    starts = Starts(tmp_path / "runs")
    starts.ended(FIRST, 2, [os.fsdecode(b"K\xf6ln.csv: no such file")])
    (start,) = read_starts(tmp_path / "runs")
    assert start.message == "K?ln.csv: no such file"


def test_a_directory_that_cannot_be_seen_counts_as_unused() -> None:
    assert not DataDir(Path("x" * 300)).is_used
    Starts(Path("x" * 300)).ended(FIRST, 2, [])


def test_a_large_file_keeps_its_newest_lines(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    line = b'{"run_id":"%s","at":"2025-03-10T01:00:00Z","exit_code":4}\n' % FIRST.encode()
    (tmp_path / STARTS).write_bytes(line * 20_000)
    starts.began(SECOND)
    starts.shorten()
    assert (tmp_path / STARTS).stat().st_size < 100_000
    assert read_starts(tmp_path)[0].run_id == SECOND


def test_no_start_is_lost_while_another_process_shortens_the_file(tmp_path: Path) -> None:
    starts, refused = Starts(tmp_path), 60
    old = {"run_id": FIRST, "at": "2025-03-10T01:00:00Z", "exit_code": 4, "message": "x" * 2_000}
    # Larger than the limit also after it is shortened, so each call replaces it.
    (tmp_path / STARTS).write_text(f"{json.dumps(old)}\n" * 700)
    child = os.fork()
    if child == 0:
        for number in range(refused):
            starts.ended(f"20250311T010000Z-{number:08x}", 4, [])
        os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        starts.shorten()
    assert len(read_starts(tmp_path)) == refused + 1
