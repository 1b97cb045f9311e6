"""The report of a real run, opened in a real browser (specification §5)."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from rogo_async.demo.servers.scripted_source import Answer
from rogo_async.demo.servers.stack import Stack, Workspace
from tests.support.browser import Page, browser
from tests.support.builders import Scenario
from tests.support.cli import CliResult, run_cli, summary

ROWS = 40
CANARY = "Canary"
CHARTS = 6


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run, and the directory of its files."""

    result: CliResult
    data_dir: Path

    @property
    def report(self) -> Path:
        return self.data_dir / "runs" / f"{summary(self.data_dir)['run_id']}.html"


@pytest.fixture(scope="module")
async def run(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Finished]:
    """A run with a report: an outage, failures of three codes, a row that is skipped."""
    workspace = await stack.new_workspace("report", tmp_path_factory.mktemp("data"))
    scenario = Scenario(stack, workspace)
    submissions = [scenario.submission(attempt) for attempt in range(1, ROWS + 1)]
    for each in submissions:
        scenario.serve_file(f"{each.attempt}.txt", b"text %d" % each.attempt, delay_s=0.15)
        each.cells.update({"First Name": CANARY, "Learner File Names": f"{CANARY}.txt"})
    for each in submissions[-4:]:
        served = Answer(body=b"at last")
        scenario.serve_file(f"{each.attempt}.txt", status=503, times=6, then=served)
    submissions[3].cells["Learner Email"] = ""
    submissions[4].report["Grade"] = f"Malpractice {CANARY}"
    submissions[5].cells["Learner Azure Blob URLs"] = scenario.serve_file("missing", status=404)
    await scenario.load(submissions)
    scenario.write_lines(each.line() for each in [submissions[0], *submissions])
    env = stack.environment_of(workspace)
    result = await run_cli(
        env, "run", "--report", ROGO_CONCURRENCY="4", ROGO_PROGRESS_INTERVAL="0.2"
    )
    yield Finished(result, workspace.data_dir)
    await stack.remove_workspace(workspace)


@pytest.fixture
async def page(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Page]:
    async with browser(tmp_path_factory.mktemp("profile")) as shown:
        yield shown


def _points(run: Finished) -> list[dict[str, float]]:
    (series,) = (run.data_dir / "runs").glob("*.timeline.jsonl")
    return [json.loads(line) for line in series.read_text(encoding="utf-8").splitlines()]


async def test_a_report_contains_no_personal_data(run: Finished) -> None:
    assert run.result.code == 1, run.result.output
    report = run.report
    assert run.result.events("report written")[0]["file"] == str(report)
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    html = report.read_text(encoding="utf-8")
    assert CANARY.lower() not in html.lower()
    assert "@college.example" not in html
    found = summary(run.data_dir)
    assert (found["migrated"], found["failed"], found["skipped"]) == (ROWS - 3, 3, 1)
    for code in ("email_missing", "malpractice_level_missing", "source_file_missing"):
        assert code in html


async def test_the_timeline_ends_with_the_run(run: Finished) -> None:
    found = summary(run.data_dir)
    series = run.data_dir / "runs" / f"{found['run_id']}.timeline.jsonl"
    assert stat.S_IMODE(series.stat().st_mode) == 0o600
    points = _points(run)
    assert len(points) >= 5
    assert points[0]["done"] < points[2]["done"] < points[-1]["done"] == found["rows_total"]
    assert [points[-1][name] for name in ("migrated", "failed", "skipped")] == [
        found["migrated"],
        found["failed"],
        found["skipped"],
    ]
    rows = sum(point["rate_per_s"] * point["seconds"] for point in points[1:])
    assert rows + points[0]["done"] == pytest.approx(found["rows_total"], rel=0.02)


async def test_an_outage_is_on_the_timeline(run: Finished, page: Page) -> None:
    outage = max(summary(run.data_dir)["outages"], key=lambda each: each["seconds"])
    await page.open(run.report, 1280)
    text = await page.evaluate("document.body.innerText")
    assert outage["reason"] in text
    assert outage["dependency"] in text
    box, chart = await page.evaluate(
        "(() => { const svg = document.querySelector('svg[aria-label^=\"Migrated rows\"]');"
        "return ['.serie-1 path.line', '.plot .background'].map("
        "name => { const box = svg.querySelector(name).getBoundingClientRect();"
        "return [box.left, box.width, box.height] }) })()"
    )
    seconds = _points(run)[-1]["at_s"]
    if len(summary(run.data_dir)["outages"]) == 1:  # a busy machine has a second one
        assert box[1] / chart[1] == pytest.approx(outage["seconds"] / seconds, abs=0.15)
    assert box[2] > chart[2] / 2
    assert box[0] < chart[0] + chart[1] / 2
    assert max(point["outages"] for point in _points(run)) >= 1


async def test_the_browser_shows_every_chart_at_any_width(run: Finished, page: Page) -> None:
    for width in (1280, 390):
        await page.open(run.report, width)
        boxes = await page.evaluate(
            "[...document.querySelectorAll('svg[role=img]')].map(svg => {"
            "const box = svg.getBoundingClientRect();"
            "return [svg.getAttribute('aria-label'), box.width, box.height, box.right,"
            "svg.querySelectorAll('rect.rect, path.line').length]})"
        )
        assert len(boxes) == CHARTS, boxes
        for label, box_width, height, right, drawn in boxes:
            assert box_width > 250, label
            assert height > 80, label
            assert right <= width, label
            assert drawn > 0, label
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.console_messages == []
        assert page.requested_urls == [run.report.as_uri()]
        assert (await page.screenshot()).startswith(b"\x89PNG")
    assert (await page.print()).startswith(b"%PDF")


async def test_text_is_readable_on_a_phone(run: Finished, page: Page) -> None:
    await page.open(run.report, 390)
    smallest = await page.evaluate(
        "Math.min(...[...document.querySelectorAll('svg[role=img] text')]"
        ".filter(text => text.textContent.trim())"
        ".map(text => text.getBoundingClientRect().height))"
    )
    assert smallest >= 9


async def test_the_content_security_policy_blocks_an_injected_url(
    run: Finished, tmp_path: Path, page: Page
) -> None:
    """Without the policy the same page sends requests, so the test can detect them."""
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        image = f'<img src="http://127.0.0.1:{port}/x"><script>fetch("/y")</script></body>'
        html = run.report.read_text(encoding="utf-8").replace("</body>", image)
        for name, text in (
            ("with.html", html),
            ("without.html", html.replace("Content-Security-Policy", "X-Nothing")),
        ):
            file = tmp_path / name
            file.write_text(text, encoding="utf-8")
            await page.open(file, 1280)
            await page.call(
                "Network.emulateNetworkConditions",
                offline=False,
                latency=0,
                downloadThroughput=-1,
                uploadThroughput=-1,
            )
            await page.call("Page.reload")
            await asyncio.sleep(1)
            if name == "with.html":
                assert asked == []
                assert any("Content Security Policy" in text for text in page.console_messages)
        assert asked == ["/x"]
    finally:
        await runner.cleanup()


async def test_a_report_can_be_written_later_without_servers(run: Finished, tmp_path: Path) -> None:
    alone = {"ROGO_DATA_DIR": str(run.data_dir)}
    run.report.unlink()
    again = await run_cli(alone, "report")
    assert again.code == 0, again.output
    assert again.stdout == f"rogo_async: {run.report}\n"
    run_id = summary(run.data_dir)["run_id"]
    elsewhere = tmp_path / "elsewhere.html"
    named = await run_cli(alone, "report", run_id, "--output", str(elsewhere))
    assert named.code == 0, named.output
    assert elsewhere.read_text().count('role="img"') == CHARTS
    nothing = await run_cli(alone, "report", "20200101T000000Z-00000000")
    assert nothing.code == 2
    assert "cannot be read (No such file or directory)" in nothing.messages[0]


async def test_a_run_writes_no_report_by_default(
    stack: Stack, workspace: Workspace, env: dict[str, str]
) -> None:
    scenario = Scenario(stack, workspace)
    await scenario.load([scenario.submission(1)])
    runs = workspace.data_dir / "runs"
    assert (await run_cli(env)).code == 0
    assert not list(runs.glob("*.html"))
    assert (await run_cli(env, ROGO_REPORT="true")).code == 0
    assert [path.stem for path in runs.glob("*.html")] == [summary(workspace.data_dir)["run_id"]]
