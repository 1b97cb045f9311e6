"""The charts of runs of any size, opened in a real browser: no labels collide."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rogo_async.reporting.html.page import render
from rogo_async.reporting.html.timeline import Point
from rogo_async.reporting.summary import ConsumerFigures, RunSummary
from rogo_async.reporting.summary_parts import Latency, OutageRecord
from tests.support.browser import Page, browser

STARTED = datetime(2026, 1, 31, 1, 15, 7, tzinfo=UTC)
SIZES = [(1, 0.2), (60, 3.0), (30_000, 299.0), (8_800, 420.0), (1_250_000, 50_000.0)]
"""Rows and seconds of the runs."""

OVERLAPS = """
[...document.querySelectorAll('svg[role=img]')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].filter(text => text.textContent.trim())
    .filter(text => getComputedStyle(text).opacity > 0 && text.closest('.axis, .legends'))
    .map(text => [text.textContent, text.getBoundingClientRect()]);
  const edge = svg.getBoundingClientRect();
  const found = boxes.filter(([, box]) => box.left < edge.left - 1 || box.right > edge.right + 1)
    .map(([text]) => [svg.getAttribute('aria-label'), text, 'is cut']);
  boxes.forEach(([text, a], number) => boxes.slice(number + 1).forEach(([other, b]) => {
    const isApart = a.right + 3 <= b.left || b.right + 3 <= a.left
      || a.bottom - 3 <= b.top || b.bottom - 3 <= a.top;
    if (!isApart) found.push([svg.getAttribute('aria-label'), text, other]);
  }));
  return found;
})
"""


@pytest.fixture
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    async with browser(tmp_path_factory.mktemp("profile")) as shown:
        yield shown


def report(rows: int, seconds: float) -> str:
    """The report of a run with an outage in its middle."""
    points = []
    for number in range(1, 101):
        done = rows * number // 100
        failed = done // 3
        at_s = seconds * number / 100
        points.append(Point(at_s, seconds / 100, done, done - failed, failed, 0, 1.0, 0))
    names = ("source.get", "store.put_blob", "target.insert_submission", "warehouse.reports")
    summary = RunSummary(
        run_id="20260131T011507Z-0123abcd",
        started_at=STARTED,
        finished_at=STARTED + timedelta(seconds=seconds),
        exit_code=1,
        rows_total=rows,
        migrated=rows - rows // 3,
        failed=rows // 3,
        skipped=0,
        not_reached=0,
        by_code={"malpractice_level_missing": rows - rows // 3, "file_corrupt": rows // 3},
        rate_per_s=1.0,
        consumers=[ConsumerFigures(n, rows, rows, 0) for n in range(min(rows, 4_096))],
        latency_ms={
            name: Latency(p50=0.02 * 30**number, p95=min(rows * 30**number, 9e5), count=rows)
            for number, name in enumerate(names)
        },
        concurrency=64,
        outages=[
            OutageRecord(
                dependency=name,
                began_at=STARTED + timedelta(seconds=seconds / 2),
                seconds=seconds / 10,
                ended=True,
                reason="no answer in time",
            )
            for name in ("store", "target", "warehouse")
        ],
    )
    return render(summary, summary.line("failed.csv"), points)


@pytest.mark.parametrize(("rows", "seconds"), SIZES)
async def test_no_labels_collide(page: Page, tmp_path: Path, rows: int, seconds: float) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(rows, seconds), encoding="utf-8")
    for width in (1280, 390):
        await page.open(file, width)
        found: list[Any] = await page.evaluate(OVERLAPS)
        assert found == []
