"""The runs that ``status`` shows, also those of an earlier version (specification §5)."""

import json
from pathlib import Path
from typing import Any

import pytest

from rogo_async.reporting.html.stored import newest_run, write_report
from rogo_async.reporting.run_history import RunHistory
from rogo_async.reporting.summary import RunSummary, latest_of_the_nights

OLD_RUN = "20250310T010000Z-1a2b3c4d"
WRITTEN_BY_0_3_0 = {
    "run_id": OLD_RUN,
    "started_at": "2025-03-10T01:00:00.120Z",
    "finished_at": "2025-03-10T01:20:00.345Z",
    "exit_code": 1,
    "stopped_by": {},
    "rows_total": 30_000,
    "migrated": 29_000,
    "failed": 12,
    "skipped": 988,
    "not_reached": 0,
    "by_code": {"email_missing": 12, "duplicate_row": 988},
    "failed_new": 3,
    "rate_per_s": 25.0,
    "consumers": [{"id": 1, "processed": 30_000, "migrated": 29_000, "failed": 12}],
    "latency_ms": {"store.put": {"p50": 20.0, "p95": 60.5, "count": 29_000}},
    "concurrency": 64,
    "retries": {"store.put": 2},
    "outages": [],
}
"""Without version, target, selection, files, file_bytes and failed_accepted."""


def write_old(data_dir: Path) -> None:
    runs = data_dir / "runs"
    runs.mkdir()
    (runs / f"{OLD_RUN}.json").write_text(json.dumps(WRITTEN_BY_0_3_0))


def test_a_summary_of_an_earlier_version_is_shown_with_what_is_unknown(tmp_path: Path) -> None:
    write_old(tmp_path)
    history = RunHistory.read(tmp_path)
    assert history.problem is None
    lines = list(history.lines())
    assert lines[1].endswith(
        "exit 1: 29,000 migrated, 12 failed (3 new), 988 skipped, 0 not processed"
        "; by a version that did not record whether rows were selected"
    )
    assert lines[-1].split() == ["2025-03-10", "29,000", "12", "3", "1"]
    facts = history.facts()
    assert (facts["runs"][0]["selection"], facts["runs"][0]["failed_accepted"]) == (None, 0)
    assert facts["nights"][0]["run_id"] == OLD_RUN


def test_a_summary_of_an_earlier_version_has_a_report(tmp_path: Path) -> None:
    write_old(tmp_path)
    page = write_report(tmp_path / "runs", newest_run(tmp_path / "runs")).read_text()
    assert "did not record whether rows were selected" in page
    assert "29,000" in page


@pytest.mark.parametrize(
    ("selections", "latest"),
    [
        ([{"limit": 1}, None, None], 1),
        ([None, {"attempt": [7]}], 0),
        ([{"limit": 1}, {"limit": 2}], 0),
        ([], None),
    ],
)
def test_a_run_of_selected_rows_is_the_latest_only_without_a_full_one(
    selections: list[dict[str, Any] | None], latest: int | None
) -> None:
    """The newest run comes first."""
    runs = [
        RunSummary.model_validate({**WRITTEN_BY_0_3_0, "selection": each}) for each in selections
    ]
    found = latest_of_the_nights(runs)
    assert found is (None if latest is None else runs[latest])
