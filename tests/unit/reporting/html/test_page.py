"""The report page shows any summary, and escapes all text in it."""

import json
import re
import stat
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rogo_async.common.errors import FailureCode, SetupError
from rogo_async.reporting.html.codes import advice
from rogo_async.reporting.html.page import render
from rogo_async.reporting.html.stored import newest_run, write_report
from rogo_async.reporting.html.timeline import Point, Timeline, timeline_file
from rogo_async.reporting.summary import RunSummary
from rogo_async.reporting.verification import (
    SourceDifferences,
    VerificationRecord,
    write_verification,
)

RUN = "20260131T011500Z-0123abcd"
STARTED = datetime(2026, 1, 31, 1, 15, tzinfo=UTC)
OUTAGE, FAILED = "#8a5fc0", "#c8453b"
VOID = {"meta", "br", "hr", "img", "input", "link"}


def figures(**changes: Any) -> dict[str, Any]:
    """A summary as a run writes it."""
    return {
        "run_id": RUN,
        "started_at": "2026-01-31T01:15:00.000Z",
        "finished_at": "2026-01-31T01:17:05.250Z",
        "exit_code": 1,
        "stopped_by": {},
        "rows_total": 100,
        "migrated": 70,
        "failed": 12,
        "skipped": 10,
        "not_reached": 8,
        "by_code": {"file_corrupt": 9, "email_missing": 3, "already_migrated": 10},
        "failed_new": 2,
        "rate_per_s": 0.74,
        "consumers": [{"id": n, "processed": 40, "migrated": 35, "failed": 5} for n in (1, 2)],
        "latency_ms": {"target.insert": {"p50": 4.2, "p95": 0.0, "count": 70}},
        "concurrency": 2,
        "retries": {"target.insert": 1},
        "outages": [
            {
                "dependency": "store",
                "began_at": "2026-01-31T01:15:20+00:00",
                "seconds": 31.5,
                "ended": True,
                "reason": "no answer in time",
            }
        ],
        **changes,
    }


def points(number: int) -> list[Point]:
    return [Point(float(n), 1.0, 2 * n, n, n, 0, 2.0, 0) for n in range(number)]


def page(*, at: int = 90, **changes: Any) -> str:
    return render(RunSummary.model_validate(figures(**changes)), "the summary line", points(at))


class Elements(HTMLParser):
    """Names, attributes and texts of a page whose elements must all be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def harmless(html: str) -> Elements:
    """The page's elements, none of which runs a script or loads anything."""
    found = Elements(html)
    assert not {"script", "img", "link", "iframe", "object", "embed", "form", "base", "a"} & set(
        found.names
    )
    for name, value in found.attributes:
        assert not name.startswith("on")
        assert name not in {"href", "src", "xlink:href", "action"}
        assert name.startswith("xmlns") or "://" not in (value or "")
    for style in re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL):
        assert "url(" not in style
        assert "@import" not in style
    return found


def test_the_page_shows_the_summary() -> None:
    found = harmless(page())
    text = " ".join(found.text.split())
    for expected in (
        "the summary line",
        "2 min 5 s",
        "Exit code 1: all rows done, some failed.",
        "failed (2 new)",
        advice()["file_corrupt"].meaning,
        advice()["file_corrupt"].remedy,
        "the target has a submission of this attempt",
        "no answer in time",
        "Each of 2 consumers processed 40 to 40 rows (median 40).",
    ):
        assert expected in text, expected
    assert found.names.count("svg") == 6
    assert "`" not in text


def test_the_page_shows_how_many_files_were_copied_by_the_service_and_why_others_were_not() -> None:
    """A summary of an older version has no such counts, and its page no such section."""
    html = page(
        copied_files=1_200,
        copied_bytes=5_000_000,
        streamed_files=3,
        streamed_bytes=2_000_000,
        streamed_because={"no MD5 stated": 3},
    )
    rows = re.sub(r"<[^>]*>|\s", " ", html[html.index("<h2>Files</h2>") :]).split()
    text = " ".join(rows)
    assert "copied by the service 1,200 4.8 MB" in text
    assert "streamed through this machine 3 1.9 MB" in text
    assert "streamed: no MD5 stated 3" in text
    assert "<h2>Files</h2>" not in page()


def test_the_page_of_a_distributed_run_has_a_line_for_each_shard() -> None:
    shard = {
        "shard": "1/2",
        "started_at": "2026-01-31T01:15:00Z",
        "finished_at": "2026-01-31T01:16:30Z",
        "exit_code": 5,
        "rows_total": 1_050,
        "migrated": 1_041,
        "refreshed": 0,
        "failed": 2,
        "skipped": 3,
        "not_reached": 4,
    }
    shown = "".join(harmless(page(shards=[shard])).text.split())
    assert "1/22026-01-3101:15:001min30s1,0501,041245" in shown
    assert "Shards" not in harmless(page()).text


def test_only_its_own_style_is_allowed() -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page())
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script" not in policy[1]
    assert "http" not in policy[1]


@settings(max_examples=10, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_text_stays_text(text: str) -> None:
    hostile = f"<script>x</script><img src=//h.example onerror=x>\"'&{{{{ 7*7 }}}}</svg>{text}"
    outage = {**figures()["outages"][0], "dependency": hostile, "reason": hostile}
    found = harmless(
        page(
            at=3,
            by_code={hostile: 3, "file_corrupt": 1},
            stopped_by={"outage": hostile},
            latency_ms={hostile: {"p50": 1, "p95": 2, "count": 3}},
            retries={hostile: 1},
            outages=[outage],
        )
    )
    assert "{{ 7*7 }}" in found.text


@pytest.mark.parametrize(
    "changes",
    [
        {"by_code": {}, "failed": 0, "failed_new": 0},
        {"consumers": [], "latency_ms": {}, "outages": [], "retries": {}},
        {"rows_total": 0, "migrated": 0, "failed": 0, "skipped": 0, "not_reached": 0},
        {"exit_code": 70},
        {"exit_code": 99},
        {"by_code": {code.value: 10**9 for code in FailureCode}},
        {"consumers": [{"id": n, "processed": n, "migrated": n, "failed": 0} for n in range(4096)]},
        {"consumers": [{"id": 1, "processed": 0, "migrated": 0, "failed": 0}]},
        {"latency_ms": {"a.b": {"p50": 0, "p95": 0, "count": 0}}},
        {"latency_ms": {"a.b": {"p50": 0.01, "p95": 9e6, "count": 1}}},
        {"finished_at": "2026-01-31T01:15:00Z"},
        {"finished_at": "2026-02-09T01:15:00Z"},
    ],
)
@pytest.mark.parametrize("at", [0, 1, 3000])
def test_any_run_can_be_drawn(changes: dict[str, Any], at: int) -> None:
    html = page(at=at, **changes)
    harmless(html)
    assert len(html) < 500_000


@pytest.mark.parametrize("seconds", [0.001, 3, 59, 3_600, 86_399, 8 * 86_400])
def test_the_clock_is_readable_over_any_length(seconds: float) -> None:
    last = Point(seconds, 1.0, 9, 9, 0, 0, 1.0, 0)
    finished = (STARTED + timedelta(seconds=seconds)).isoformat()
    html = render(
        RunSummary.model_validate(figures(finished_at=finished)), "", [points(1)[0], last]
    )
    shown = set(re.findall(r">(\d\d:\d\d(?::\d\d)?)</text>", html))
    assert len(shown) <= 7
    assert shown or seconds < 1


def laid_down(runs: Path, run_id: str = RUN, **changes: Any) -> None:
    runs.mkdir(exist_ok=True)
    (runs / f"{run_id}.json").write_text(json.dumps(figures(run_id=run_id, **changes)))


def test_a_report_is_written_beside_the_summary_with_private_mode(tmp_path: Path) -> None:
    laid_down(tmp_path)
    timeline = Timeline()
    for point in points(3):
        timeline.add(point)
    timeline_file(tmp_path, RUN).write_bytes(timeline.json_lines())
    written = write_report(tmp_path, RUN)
    assert written == tmp_path / f"{RUN}.html"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "Migrated rows per second" in written.read_text(encoding="utf-8")
    elsewhere = write_report(tmp_path, RUN, tmp_path / "mine.html")
    assert elsewhere.read_bytes()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600


def test_a_run_without_a_timeline_has_a_report(tmp_path: Path) -> None:
    laid_down(tmp_path)
    assert "No timeline was recorded" in write_report(tmp_path, RUN).read_text(encoding="utf-8")


def test_the_latest_run_is_the_last_with_a_summary(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no summary of a run found"):
        newest_run(tmp_path / "runs")
    for run_id in (RUN, "20260201T011500Z-00000000", "20250131T011500Z-ffffffff"):
        laid_down(tmp_path, run_id)
    (tmp_path / "20270101T000000Z-00000000.timeline.jsonl").touch()
    (tmp_path / "20270101T000000Z-00000000.failed.csv").touch()
    (tmp_path / "zzz.json").touch()
    assert newest_run(tmp_path) == "20260201T011500Z-00000000"


@pytest.mark.parametrize("run_id", ["../../etc/passwd", "", RUN + "\n", RUN.upper(), f"x{RUN}"])
def test_an_invalid_run_id_is_rejected(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(SetupError, match="is not a run id"):
        write_report(tmp_path, run_id)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run_id": "x"}', "\xff", "{"])
def test_a_file_that_is_not_a_summary_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / f"{RUN}.json").write_text(text, encoding="latin-1")
    with pytest.raises(SetupError, match="not a valid run summary"):
        write_report(tmp_path, RUN)


def test_an_unknown_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"{RUN}.json: cannot be read \(No such file"):
        write_report(tmp_path, RUN)


def test_charts_have_no_tooltips_of_the_library_and_outages_a_colour_of_their_own() -> None:
    html = page()
    assert re.findall(r"<title[^>]*>([^<]*)", html) == [f"rogo_async: run {RUN}"]
    (chart,) = re.findall(
        r'<svg[^>]*aria-label="Migrated rows per second.*?</svg>', html, re.DOTALL
    )
    assert OUTAGE in chart
    assert FAILED not in chart
    two = page(outages=figures()["outages"] * 2)
    assert len(re.findall(">outage<", two)) == 1


def test_a_report_opens_with_the_end_the_latest_runs_the_failures_and_verify(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    earlier = "20260130T011500Z-00000000"
    laid_down(runs, earlier, exit_code=3, migrated=17_017, rows_total=17_047)
    laid_down(runs, "20260130T101500Z-00000000", selection={"limit": 1}, migrated=19_019)
    laid_down(runs, version="9.8.7", target={"host": "db.example", "database": "marking"})
    (runs / "latest_full_run").write_text(RUN)
    (tmp_path / "submissions_failed_migration.csv").write_text(
        "First Name,Attempt ID,Unit Code,Assessment ID,Error\n"
        "Canary,71,5AB01,9,file_corrupt: Canary\nCanary,72,5AB01,9,file_corrupt: Canary\n"
    )
    differences = SourceDifferences(
        compared=13,
        differing=4,
        by_verdict={"source_changed": 4},
        by_column={"submission_grades.final_grade": 3, ".": 1},
    )
    record = VerificationRecord(
        finished_at=STARTED, exit_code=1, result="9 ok, 4 wrong", source=differences
    )
    write_verification(tmp_path, record)
    html = write_report(runs, RUN).read_text(encoding="utf-8")
    assert "<h1>2026-01-31: all rows done, some failed</h1>" in html
    text = " ".join(re.sub("<[^>]+>", " ", html).split())
    assert f"Run {RUN}" in text
    assert "Latest verify: 2026-01-31 01:15:00 UTC, exit code 1: 9 ok, 4 wrong." in text
    assert "4 of 13 compared submissions differ, source_changed 4." in text
    assert "submission_grades.final_grade 3 whole submission 1" in text
    assert "17,017 12 (2) 8 3 : stopped early" in text
    assert "5AB01, 9 2 file_corrupt 71, 72" in text
    assert "Canary" not in html
    assert "host db.example ; database marking ; version 9.8.7." in text
    assert "19,019" not in text
    of_earlier = write_report(runs, earlier).read_text(encoding="utf-8")
    assert "5AB01" not in of_earlier
    (tmp_path / "verification.json").unlink()
    assert "not recorded" in write_report(runs, RUN).read_text(encoding="utf-8")
