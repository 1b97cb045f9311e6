"""run_summary.json: every reader gets the written values, also from older files."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rogo_async.common.call_stats import Outage
from rogo_async.common.shutdown import StopReason, StopSignal
from rogo_async.reporting.summary import (
    RunRecord,
    RunSummary,
    read_summary,
    readable_summaries,
    summary_files,
)
from rogo_async.rules.records import Status

RUN = "20260131T011500Z-0123abcd"
OLDEST = {
    "run_id": RUN,
    "started_at": "2026-01-31T01:15:00.000Z",
    "finished_at": "2026-01-31T01:17:05.250Z",
    "exit_code": 1,
    "rows_total": 100,
    "migrated": 70,
    "failed": 12,
    "skipped": 10,
    "not_reached": 8,
}


def finished_run() -> RunSummary:
    record = RunRecord.begin(RUN, 4)
    record.tally.total = 5
    record.tally.by_status.update([Status.MIGRATED, Status.MIGRATED, Status.FAILED])
    record.tally.by_code["email_missing"] = 1
    record.call_stats.outages.append(
        Outage("store", datetime(2026, 1, 31, 1, 15, 20, tzinfo=UTC), 0.0, "down", 900.0)
    )
    stop_signal = StopSignal()
    stop_signal.stop(StopReason.OUTAGE, "store was down")
    return record.summary(stop_signal)


def test_a_summary_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = finished_run()
    file = tmp_path / f"{RUN}.json"
    file.write_bytes(written.to_json())
    read = read_summary(file)
    assert read.to_json() == written.to_json()
    assert read.line("failed.csv") == written.line("failed.csv")


def test_the_fields_have_their_forms() -> None:
    fields = json.loads(finished_run().to_json())
    assert fields["started_at"].endswith("Z")
    assert len(fields["started_at"]) == len("2026-01-31T01:15:00.000Z")
    assert fields["outages"][0]["began_at"] == "2026-01-31T01:15:20.000Z"
    assert fields["not_reached"] == 2
    assert fields["exit_code"] == 3
    assert fields["stopped_by"] == {"outage": "store was down"}


@pytest.mark.parametrize(("failed", "code"), [(2, 0), (3, 1)])
def test_the_exit_code_is_0_when_every_failure_is_accepted(failed: int, code: int) -> None:
    record = RunRecord.begin(RUN, 4)
    record.tally.total = record.tally.by_status[Status.FAILED] = failed
    record.tally.failed_accepted = 2
    summary = record.summary(StopSignal())
    assert (summary.exit_code, summary.failed, summary.failed_accepted) == (code, failed, 2)


def test_an_older_file_without_later_fields_is_read(tmp_path: Path) -> None:
    (tmp_path / f"{RUN}.json").write_text(json.dumps({**OLDEST, "unknown": 1}))
    (read,) = readable_summaries(tmp_path)
    assert read.is_complete
    assert read.duration_s == 125.25
    assert read.outages == []
    assert read.consumers == []


def test_the_newest_readable_summary_comes_first(tmp_path: Path) -> None:
    later = "20260201T011500Z-00000000"
    for run_id in (RUN, later):
        (tmp_path / f"{run_id}.json").write_text(json.dumps({**OLDEST, "run_id": run_id}))
    (tmp_path / "20270101T000000Z-00000000.json").write_text("{")
    (tmp_path / f"{RUN}.timeline.jsonl").touch()
    assert [each.run_id for each in readable_summaries(tmp_path)] == [later, RUN]
    assert len(summary_files(tmp_path)) == 3
    assert list(readable_summaries(tmp_path / "none")) == []


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (
            {"failed_new": 1, "failed_accepted": 9},
            "70 migrated, 12 failed (1 new, 9 accepted), 10 skipped, 8 not processed; ",
        ),
        ({}, "70 migrated, 12 failed (0 new), 10 skipped, 8 not processed; 100 rows at 0.0/s"),
        ({}, "; exit 1; failed rows: failed.csv"),
        ({"stopped_by": {"outage": "target was down"}}, "; stopped: target was down"),
        ({"exit_code": 70}, "; internal error, see the log"),
    ],
)
def test_the_summary_line(changes: dict[str, object], part: str) -> None:
    assert part in RunSummary.model_validate({**OLDEST, **changes}).line("failed.csv")
