"""The page: one HTML file with counts. It loads nothing and contains no personal data."""

import re
import statistics
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from rogo_async.common.errors import SkipCode
from rogo_async.common.shutdown import ExitCode
from rogo_async.common.text import size_shown
from rogo_async.reporting.failed_rows import FailureGroup
from rogo_async.reporting.html import charts
from rogo_async.reporting.html.codes import Advice, advice
from rogo_async.reporting.html.timeline import Point
from rogo_async.reporting.summary import ConsumerFigures, RunSummary
from rogo_async.reporting.verification import VerificationRecord

_UNKNOWN: Final = Advice("a code of another version", "see docs/codes.md of that version")
_SKIPPED: Final = frozenset(code.value for code in SkipCode)
_ENDINGS: Final[Mapping[int, str]] = {
    ExitCode.DONE: "all rows done, none failed",
    ExitCode.SOME_FAILED: "all rows done, some failed",
    ExitCode.STOPPED_EARLY: "stopped early, or the outcome of some rows is unknown",
    ExitCode.WINDOW_ENDED: "the time window ended",
    ExitCode.INTERNAL: "internal error, see the log",
    ExitCode.INTERRUPTED: "interrupted; the work in progress was finished",
    ExitCode.TERMINATED: "terminated; the work in progress was finished",
    ExitCode.HUNG_UP: "its terminal was closed; the work in progress was finished",
}


_LISTED_GROUPS: Final = 200


class Context(NamedTuple):
    """What the files beside a run's summary add to its page.

    ``nights`` are the latest full runs, newest first; ``groups`` the failures of this run.
    """

    nights: Sequence[RunSummary] = ()
    groups: Sequence[FailureGroup] = ()
    verification: VerificationRecord | None = None


class CodeRow(NamedTuple):
    """A code in a table of the page."""

    code: str
    rows: int
    meaning: str
    remedy: str


def render(
    summary: RunSummary,
    summary_line: str,
    points: Sequence[Point],
    context: Context = Context(),  # noqa: B008 - immutable
) -> str:
    """The page of a run."""
    failed = _code_rows(summary.by_code, skipped=False)
    counts = {
        "migrated": summary.migrated,
        **({"refreshed": summary.refreshed} if summary.refreshed else {}),
        "failed": summary.failed,
        "skipped": summary.skipped,
        "not processed": summary.not_reached,
    }
    return _template().render(
        run=summary,
        summary_line=summary_line,
        ending=ending_of(summary),
        nights=[(night, ending_of(night)) for night in context.nights],
        groups=context.groups[:_LISTED_GROUPS],
        more_groups=len(context.groups) - _LISTED_GROUPS,
        verification=context.verification,
        counts=counts,
        failed=failed,
        skipped=_code_rows(summary.by_code, skipped=True),
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


def ending_of(summary: RunSummary) -> str:
    """How a run ended, in words."""
    return _ENDINGS.get(summary.exit_code, "an exit code of another version")


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
        day=lambda value: f"{value:%Y-%m-%d}",
        moment=lambda value: f"{value:%Y-%m-%d %H:%M:%S}",
        duration=_duration,
        size=size_shown,
        names=_names,
    )
    return environment.get_template("page.html.j2")


def _code_rows(by_code: Mapping[str, int], *, skipped: bool) -> list[CodeRow]:
    """The codes of the skipped or failed rows, most frequent first."""
    rows = [
        CodeRow(code, count, *advice().get(code, _UNKNOWN))
        for code, count in by_code.items()
        if (code in _SKIPPED) is skipped
    ]
    return sorted(rows, key=lambda row: (-row.rows, row.code))


def _spread(consumers: Sequence[ConsumerFigures]) -> str:
    if not consumers:
        return "No consumer started."
    processed = [each.processed for each in consumers]
    return (
        f"Each of {len(processed):,} consumers processed {min(processed):,} to "
        f"{max(processed):,} rows (median {statistics.median(processed):,.0f})."
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _names(text: str) -> Markup:
    """Text as HTML, with the names in backquotes in a fixed-width font."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704
