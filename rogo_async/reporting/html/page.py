"""The page: one HTML file that loads nothing. It has figures only, so nobody is named in it."""

import re
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from rogo_async.reporting.html import charts
from rogo_async.reporting.html.codes import ENDINGS, FAILED, SKIPPED
from rogo_async.reporting.html.summary_model import Consumer, Summary
from rogo_async.reporting.html.timeline import Point

_MORE: Final = ("a code of another version of this tool", "see docs/codes.md of that version")


class Row(NamedTuple):
    """What the page says of a code."""

    code: str
    rows: int
    meaning: str
    remedy: str = ""


def render(summary: Summary, headline: str, points: Sequence[Point]) -> str:
    """The page of a run."""
    failed = _failed_rows(summary.by_code)
    skipped = _skipped_rows(summary.by_code)
    counts = {
        "migrated": summary.migrated,
        "failed": summary.failed,
        "skipped": summary.skipped,
        "not reached": summary.not_reached,
    }
    return _template().render(
        run=summary,
        headline=headline,
        ending=ENDINGS.get(summary.exit_code, "another version's exit code"),
        counts=counts,
        failed=failed,
        skipped=skipped,
        spread=_spread(summary.consumers),
        outcome_chart=charts.outcomes(counts) if summary.rows_total else None,
        rows_chart=charts.rows_over_time(points, summary.started_at) if points else None,
        rate_chart=charts.rate_over_time(points, summary.started_at, summary.outages)
        if points
        else None,
        latency_chart=charts.latencies(summary.latency_ms) if summary.latency_ms else None,
        failure_chart=charts.failures({row.code: row.rows for row in failed}) if failed else None,
        consumer_chart=charts.consumers(summary.consumers) if summary.consumers else None,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("rogo_async.reporting.html", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=lambda value: f"{value:,}",
        amount=lambda value: f"{value:,.1f}",
        moment=lambda value: f"{value:%Y-%m-%d %H:%M:%S}",
        duration=_duration,
        names=_names,
    )
    return environment.get_template("page.html.j2")


def _failed_rows(by_code: Mapping[str, int]) -> list[Row]:
    known = {code.value: advice for code, advice in FAILED.items()}
    rows = [
        Row(code, count, *known.get(code, _MORE))
        for code, count in by_code.items()
        if code not in SKIPPED
    ]
    return sorted(rows, key=lambda row: (-row.rows, row.code))


def _skipped_rows(by_code: Mapping[str, int]) -> list[Row]:
    return [
        Row(code.value, by_code[code.value], meaning)
        for code, meaning in SKIPPED.items()
        if code.value in by_code
    ]


def _spread(consumers: Sequence[Consumer]) -> str:
    if not consumers:
        return "none began"
    processed = [each.processed for each in consumers]
    return (
        f"{len(processed):,} consumers gave {min(processed):,} to {max(processed):,} rows an "
        f"outcome, the median {statistics.median(processed):,.0f}"
    )


def _duration(run: Summary) -> str:
    return seconds_text((run.finished_at - run.started_at).total_seconds())


def seconds_text(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _names(text: str) -> Markup:
    """A text whose names in backquotes are set in a fixed-width type."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704
