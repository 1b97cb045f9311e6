"""Charts as SVG elements, without scripts and links."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import pygal
from markupsafe import Markup
from pygal.style import Style

from rogo_async.reporting.html.timeline import Point, Timeline
from rogo_async.reporting.summary import ConsumerFigures
from rogo_async.reporting.summary_parts import Latency, OutageRecord

# pygal installs an import finder for an API that Python has removed; it is not needed.
sys.meta_path[:] = [each for each in sys.meta_path if type(each).__module__ != pygal.__name__]

MIGRATED, FAILED, SKIPPED, AMBER, BLUE = "#2f8f5b", "#c8453b", "#7d8794", "#d68a1c", "#3a73b8"
OUTAGE: Final = "#8a5fc0"
_WIDTH: Final = 520
_DRAWN_POINTS: Final = 160
_DRAWN_CODES: Final = 10
_DRAWN_BARS: Final = 64
_LEAST_MS: Final = 0.01
_DECADES: Final = 4
"""Labels of a logarithmic axis after the first."""
_TICKS_S: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 14_400, 21_600, 43_200, 86_400),
)
_TICKS: Final = 5
_REMOVED: Final = frozenset({"script", "title"})


def outcomes(counts: Mapping[str, int]) -> Markup:
    """Bar chart: number of rows for each outcome."""
    colors = {
        "migrated": MIGRATED,
        "refreshed": BLUE,
        "failed": FAILED,
        "skipped": SKIPPED,
        "not processed": AMBER,
    }
    chart = _chart(pygal.HorizontalBar, 190, [BLUE], show_legend=False)
    names = list(counts)[::-1]
    chart.x_labels = names
    chart.y_labels = _steps(max(counts.values()))
    chart.add("rows", [{"value": counts[name], "color": colors[name]} for name in names])
    return _svg(chart, "Rows by outcome")


def rows_over_time(points: Sequence[Point], started: datetime) -> Markup:
    """Line chart: rows migrated, failed and skipped over the time of day."""
    chart = _over_time(points, started, [MIGRATED, FAILED, SKIPPED])
    drawn = _thinned(points)
    for name in ("migrated", "failed", "skipped"):
        chart.add(name, [(0, 0), *((point.at_s, getattr(point, name)) for point in drawn)])
    last = drawn[-1]
    chart.y_labels = _steps(max(last.migrated, last.failed, last.skipped))
    return _svg(chart, "Progress over time")


def rate_over_time(
    points: Sequence[Point], started: datetime, outages: Sequence[OutageRecord]
) -> Markup:
    """Line chart: migrated rows per second over the time of day; outages are shaded."""
    chart = _over_time(points, started, [BLUE, *[OUTAGE] * len(outages)])
    drawn = _thinned(points)
    rates = [
        (point.at_s, (point.migrated - before.migrated) / point.seconds)
        for before, point in pairwise(drawn)
        if point.seconds > 0
    ]
    chart.add("migrated per second", rates)
    top = max((rate for _, rate in rates), default=0) or 1
    for number, outage in enumerate(outages, 1):
        begin = (outage.began_at - started).total_seconds()
        end = begin + outage.seconds
        box = [(begin, 0), (begin, top), (end, top), (end, 0)]
        # One entry of the legend is enough: the table lists the outages.
        chart.add("outage" if number == 1 else None, box, fill=True)
    chart.y_labels = _steps(top, least=0.1)
    return _svg(chart, "Migrated rows per second over time")


def latencies(latency_ms: Mapping[str, Latency]) -> Markup:
    """Bar chart: latency of each operation in milliseconds, on a logarithmic scale."""
    names = list(latency_ms)[::-1]
    # A logarithmic scale has no zero.
    p50 = [max(latency_ms[name].p50, _LEAST_MS) for name in names]
    p95 = [max(latency_ms[name].p95, _LEAST_MS) for name in names]
    low, high = min(p50 + p95) / 2, max(p50 + p95)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    chart = _chart(pygal.HorizontalBar, 80 + 40 * len(names), [BLUE, AMBER], logarithmic=True)
    chart.x_labels = names
    chart.y_labels = [10.0**decade for decade in decades[:: math.ceil(len(decades) / _DECADES)]]
    chart.range = (10.0 ** decades[0], 10.0 ** decades[-1])
    chart.zero = 10.0 ** decades[0]
    chart.add("p50 ms", p50)
    chart.add("p95 ms", p95)
    return _svg(chart, "Latency by operation in milliseconds")


def failures(by_code: Mapping[str, int]) -> Markup:
    """Bar chart: failed rows by code, for the most frequent codes."""
    names = sorted(by_code, key=lambda name: (by_code[name], name))[-_DRAWN_CODES:]
    chart = _chart(pygal.HorizontalBar, 50 + 26 * len(names), [FAILED], show_legend=False)
    chart.x_labels = names
    chart.y_labels = _steps(max(by_code.values()))
    chart.add("rows", [by_code[name] for name in names])
    return _svg(chart, "Failed rows by code")


def consumers(figures: Sequence[ConsumerFigures]) -> Markup:
    """Bar chart: rows by consumer. If there are many, neighbours share a bar."""
    step = math.ceil(len(figures) / _DRAWN_BARS) or 1
    groups = [figures[start : start + step] for start in range(0, len(figures), step)]
    chart = _chart(
        pygal.StackedBar,
        260,
        [MIGRATED, FAILED],
        x_labels_major_every=max(1, len(groups) // 8),
        show_minor_x_labels=False,
    )
    chart.x_labels = [str(group[0].id) for group in groups]
    for name in ("migrated", "failed"):
        chart.add(name, [sum(getattr(one, name) for one in group) for group in groups])
    chart.y_labels = _steps(max(sum(one.processed for one in group) for group in groups))
    return _svg(chart, "Rows by consumer")


def _over_time(points: Sequence[Point], started: datetime, colors: Sequence[str]) -> Any:
    end_s = points[-1].at_s if points else 0.0
    chart = _chart(
        pygal.XY,
        300,
        colors,
        show_dots=False,
        x_value_formatter=_clock(started, end_s),
        include_x_axis=True,
    )
    chart.x_labels = _ticks(started, end_s)
    chart.xrange = (0, max(end_s, 0.001))
    return chart


def _steps(top: float, least: float = 1.0) -> list[float]:
    """Axis labels: about four round values from zero to ``top``, at least ``least`` apart."""
    rough = max(top / 4, least)
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor >= rough)
    return [step * number for number in range(max(1, math.ceil(top / step)) + 1)]


def _ticks(started: datetime, end_s: float) -> list[float]:
    """Axis labels: round times of day, in seconds after the start."""
    step = next((tick for tick in _TICKS_S if end_s / tick <= _TICKS), 86_400 * 7)
    midnight = started.replace(hour=0, minute=0, second=0, microsecond=0)
    since_midnight = (started - midnight).total_seconds()
    first = math.ceil(since_midnight / step) * step - since_midnight
    count = max(0, math.floor((end_s - first) / step) + 1)
    return [first + step * number for number in range(count)] or [0.0]


def _clock(started: datetime, end_s: float) -> Callable[[float], str]:
    form = "%H:%M:%S" if end_s <= _TICKS * 60 else "%H:%M"
    return lambda at_s: (started + timedelta(seconds=at_s)).strftime(form)


def _thinned(points: Sequence[Point]) -> list[Point]:
    timeline = Timeline(_DRAWN_POINTS)
    for point in points:
        timeline.add(point)
    return timeline.points


def _amount(value: float) -> str:
    """A number of an axis, short enough to stand beside the next one."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            return f"{value / (limit if limit > 1e4 else 1e3):,.4g}{unit}"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:,.2g}"


def _chart(kind: Callable[..., Any], height: int, colors: Sequence[str], **more: Any) -> Any:
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="#444",
        foreground_strong="#222",
        foreground_subtle="#bbb",
        font_family="system-ui, sans-serif",
        label_font_size=15,
        major_label_font_size=15,
        value_font_size=15,
        legend_font_size=15,
        value_colors=("#222",) * len(colors),
        opacity=".85",
        colors=tuple(colors),
        guide_stroke_color="#ccc",
        major_guide_stroke_color="#ccc",
        transition="none",
    )
    options: dict[str, Any] = {
        "width": _WIDTH,
        "height": height,
        "style": style,
        "js": [],
        "legend_at_bottom": True,
        "legend_box_size": 12,
        "margin": 6,
        "margin_right": 30,
        "truncate_label": -1,
        "truncate_legend": -1,
        "value_formatter": _amount,
    }
    return kind(**options | more)


def _svg(chart: Any, title: str) -> Markup:
    chart.add_xml_filter(lambda root: _bare(root, title))
    # pygal escapes the names; all other markup is generated by pygal.
    return Markup(chart.render(disable_xml_declaration=True, is_unicode=True))  # noqa: S704


def _bare(root: Any, title: str) -> Any:
    """Remove pygal's scripts, comments and tooltips, and add a label for screen readers."""
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag.rpartition("}")[2] in _REMOVED:
                parent.remove(child)
    root.set("role", "img")
    root.set("aria-label", title)
    return root
